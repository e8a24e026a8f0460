"""A model repository for Triton Inference Server from an artefact and its manifest.

`REPOSITORY/NAME/config.pbtxt`, `REPOSITORY/NAME/VERSION/model.onnx` or `model.plan` with its manifest beside it, and
`labels.txt`. The fields are those of Triton's `ModelConfig` message (github.com/triton-inference-server/common,
protobuf/model_config.proto); what Triton makes of them is in its user guide, "Model Configuration".
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import InputError
from ..files import staged
from .manifest import Manifest, TensorInfo
from .pbtxt import Message, Symbol, Value, as_text
from .serving import (
    Package,
    as_comments,
    check_unedited,
    checked_name,
    copy_artefact,
    fixed_batch,
    max_batch_of,
    one_line,
    signed,
    warnings_of,
)

Device = Literal["auto", "cpu", "gpu"]

CONFIG, LABELS = "config.pbtxt", "labels.txt"
_TYPES = {
    "float32": "TYPE_FP32",
    "float16": "TYPE_FP16",
    "uint8": "TYPE_UINT8",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
}
_KINDS = {"auto": "KIND_AUTO", "cpu": "KIND_CPU", "gpu": "KIND_GPU"}
# The outputs that hold one value for each class, which Triton's classification extension can name and sort.
_CLASS_VECTORS = {
    "softmax_top5": "logits",
    "rank_top5": "probabilities",
    "threshold": "scores",
    "sigmoid_threshold": "logits",
}
# Triton ends a sequence that was idle for longer, by default after a second: too short for somebody who types.
_SEQUENCE_IDLE_US = 60_000_000


@dataclass(frozen=True)
class TritonOptions:
    """How the model is to be served. `max_batch` is for a free batch; `instances` run at the same time."""

    name: str
    max_batch: int | None = None
    device: Device = "auto"
    instances: int = 1


def write_triton_repository(
    artefact: Path,
    manifest: Manifest,
    repository: Path,
    options: TritonOptions,
    *,
    labels: Sequence[str] | None = None,
    version: int | None = None,
    overwrite: bool = False,
) -> Package:
    """Add `artefact` to `repository` as the model `options.name`; older versions of it stay.

    All files appear together, or none.

    Args:
        artefact: an ONNX file or TensorRT engine.
        manifest: of `artefact`, already compared with it.
        repository: made if missing.
        options: how it is served.
        labels: a name for each class, where they are known.
        version: the folder's number, by default one more than the highest there is.
        overwrite: replace this version, and a configuration that somebody changed.

    Raises:
        InputError: an option that does not fit the artefact, a version that is there or that Triton would not serve.
        CheckError: the file changed since `manifest` was compared with it.
        OSError: the repository cannot be written.
    """
    message, comments = triton_config(manifest, options, has_labels=labels is not None)
    folder = repository / options.name
    number = _version(folder, version, overwrite=overwrite)
    if not overwrite:
        check_unedited(folder / CONFIG)
    model = "model.onnx" if manifest.engine is None else "model.plan"
    with staged(folder) as staging:
        (staging / str(number)).mkdir()
        copy_artefact(artefact, manifest, staging / str(number) / model)
        (staging / CONFIG).write_text(signed(as_comments(comments) + as_text(message)), encoding="utf-8")
        if labels is not None:
            (staging / LABELS).write_text("".join(f"{one_line(name)}\n" for name in labels), encoding="utf-8")
        files = tuple(folder / path.relative_to(staging) for path in sorted(staging.rglob("*")) if path.is_file())
    return Package(folder, folder / CONFIG, folder / str(number) / model, files, tuple(comments))


def triton_config(manifest: Manifest, options: TritonOptions, *, has_labels: bool) -> tuple[Message, list[str]]:
    """The model's `ModelConfig`, and what cannot be seen in it, a line each.

    A batch that is free, and the first dimension of every tensor, is Triton's to form: `dims` then are without it.
    Any other file is served as it is: `max_batch_size` 0 and all dimensions.

    Raises:
        InputError: an option that does not fit the artefact.
    """
    checked_name("--name", options.name)
    if manifest.engine is not None and options.device == "cpu":
        raise InputError(
            f"--device cpu: {manifest.name} is a TensorRT engine, which needs a GPU; package the ONNX file"
        )
    if options.instances < 1:
        raise InputError(f"--instances {options.instances}: give at least 1")
    batched = _can_batch(manifest)
    stateful = _can_keep_states(manifest)
    max_batch = _max_batch_size(manifest, options.max_batch, batched)
    states = {name for state in manifest.states for name in (state.input, state.output)} if stateful else set()
    message: dict[str, Value] = {
        "name": options.name,
        **_backend(manifest),
        "max_batch_size": max_batch,
        "version_policy": {"latest": {"num_versions": 1}},
        "input": [_tensor(tensor, batched) for tensor in manifest.inputs if tensor.name not in states],
        "output": [
            _output(tensor, batched, manifest if has_labels else None)
            for tensor in manifest.outputs
            if tensor.name not in states
        ],
        "instance_group": [_instances(manifest, options)],
        **({"dynamic_batching": _dynamic_batching(manifest, max_batch)} if batched else {}),
        **({"sequence_batching": _sequence_batching(manifest)} if stateful else {}),
        **_optimization(manifest, max_batch),
        "parameters": [{"key": key, "value": {"string_value": text}} for key, text in _parameters(manifest).items()],
    }
    return message, _comments(manifest, stateful=stateful)


def _can_batch(manifest: Manifest) -> bool:
    """Whether the batch is free, and the first dimension of every tensor, as Triton needs it to form batches."""
    tensors = (*manifest.inputs, *manifest.outputs)
    return fixed_batch(manifest) is None and all(tensor.batch_axis == 0 for tensor in tensors)


def _max_batch_size(manifest: Manifest, asked: int | None, batched: bool) -> int:
    """The field of this name: 0 where Triton forms no batches."""
    if batched:
        return max_batch_of(manifest, asked)
    if fixed_batch(manifest) is not None:
        max_batch_of(manifest, asked)
    elif asked is not None:
        raise InputError(
            f"--max-batch {asked}: Triton forms no batches for {manifest.name}, whose states have the layers as their "
            "first dimension; leave it out"
        )
    return 0


def _can_keep_states(manifest: Manifest) -> bool:
    """Whether Triton can feed the states back by itself.

    Its implicit states are cut out of a batch along the first dimension, which in ours runs over the layers. With a
    batch of one, served without batching, there is nothing to cut: the whole tensor is the state of one sequence.
    """
    return bool(manifest.states) and fixed_batch(manifest) == 1


def _backend(manifest: Manifest) -> dict[str, Value]:
    if manifest.engine is None:
        return {"platform": "onnxruntime_onnx", "backend": "onnxruntime"}
    return {"platform": "tensorrt_plan", "backend": "tensorrt"}


def _tensor(tensor: TensorInfo, batched: bool) -> dict[str, Value]:
    return {"name": tensor.name, "data_type": Symbol(_TYPES[tensor.dtype]), "dims": _dims(tensor, batched)}


def _output(tensor: TensorInfo, batched: bool, labelled: Manifest | None) -> dict[str, Value]:
    described = _tensor(tensor, batched)
    if labelled is not None and _CLASS_VECTORS.get(labelled.postprocessing.kind) == tensor.name:
        described["label_filename"] = LABELS
    return described


def _dims(tensor: TensorInfo, batched: bool) -> list[int]:
    """Sizes as Triton writes them, -1 where they are free, without the batch where that is Triton's to form."""
    return [size if isinstance(size, int) else -1 for size in tensor.shape[1 if batched else 0 :]]


def _instances(manifest: Manifest, options: TritonOptions) -> Message:
    device = "gpu" if manifest.engine is not None else options.device
    return {"count": options.instances, "kind": Symbol(_KINDS[device])}


def _dynamic_batching(manifest: Manifest, max_batch: int) -> Message:
    """The engine is fastest at its optimum; an ONNX file prefers nothing."""
    profile = manifest.engine.profile if manifest.engine else None
    if profile is None or not 1 < profile.optimum <= max_batch:
        return {}
    return {"preferred_batch_size": [profile.optimum]}


def _sequence_batching(manifest: Manifest) -> Message:
    inputs = {tensor.name: tensor for tensor in manifest.inputs}
    states: list[Value] = []
    for state in manifest.states:
        tensor = inputs[state.input]
        shape: dict[str, Value] = {"data_type": Symbol(_TYPES[tensor.dtype]), "dims": _dims(tensor, batched=False)}
        zeros = {**shape, "zero_data": True, "name": f"{state.input}_at_start"}
        states.append({"input_name": state.input, "output_name": state.output, **shape, "initial_state": zeros})
    return {"max_sequence_idle_microseconds": _SEQUENCE_IDLE_US, "direct": {}, "state": states}


def _optimization(manifest: Manifest, max_batch: int) -> dict[str, Value]:
    """CUDA graphs for engines: shapes are static, and many small kernels cost more to launch than to run.

    Not where there are states, whose buffers change from call to call.
    """
    if manifest.engine is None or manifest.states:
        return {}
    profile = manifest.engine.profile
    sizes = [0]  # what Triton wants for a file that it forms no batches for
    if max_batch > 0:
        sizes = sorted({1, min(profile.optimum, max_batch) if profile else 1, max_batch})
    inputs: list[Value] = [
        {"key": tensor.name, "value": {"dim": _dims(tensor, batched=max_batch > 0)}} for tensor in manifest.inputs
    ]
    specs: list[Value] = [{"batch_size": size, "input": inputs} for size in sizes]
    return {"optimization": {"cuda": {"graphs": True, "graph_spec": specs}}}


def _parameters(manifest: Manifest) -> dict[str, str]:
    """What a client needs of the manifest: Triton hands it out with the configuration."""
    preprocessing = manifest.preprocessing.model_dump(mode="json") if manifest.preprocessing else None
    return {
        "manifest.task": manifest.task,
        "manifest.network": manifest.network,
        "manifest.dataset": manifest.dataset,
        "manifest.io": manifest.io,
        "manifest.precision": manifest.precision,
        "manifest.sha256": manifest.file.sha256,
        "manifest.onnx_sha256": manifest.onnx.sha256,
        "manifest.random_weights": json.dumps(manifest.weights.random),
        "manifest.preprocessing": json.dumps(preprocessing),
        "manifest.postprocessing": json.dumps(manifest.postprocessing.model_dump(mode="json")),
    }


def _comments(manifest: Manifest, *, stateful: bool) -> list[str]:
    comments = warnings_of(manifest)
    if stateful:
        comments.append(
            "Triton keeps the states: send the words of a text in order, one in a request, with one sequence_id, "
            "sequence_start on the first and sequence_end on the last. Each instance has one text at a time."
        )
    elif manifest.states:
        comments.append(
            "The client keeps the states: feed zeros first, then what came out. Triton cannot, since the batch is not "
            "their first dimension; with --batch 1 at export it can."
        )
    return comments


def _version(folder: Path, asked: int | None, *, overwrite: bool) -> int:
    """The number of the version to write: Triton serves the highest, which the configuration must be that of."""
    there = [int(path.name) for path in folder.glob("[0-9]*") if path.is_dir() and path.name.isdecimal()]
    highest = max(there, default=0)
    if asked is None:
        return highest + 1
    if asked < 1:
        raise InputError(f"--version {asked}: give at least 1")
    if asked < highest:
        raise InputError(
            f"--version {asked}: {folder} has version {highest}, which Triton would go on serving; give {highest + 1} "
            "or more, or leave it out"
        )
    if asked == highest and not overwrite:
        raise InputError(
            f"--version {asked}: {folder / str(asked)} is there; leave the option out for version {highest + 1}, or "
            "pass --overwrite"
        )
    return asked
