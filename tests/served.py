"""Artefacts with manifests of every task, for the packages that servers read. Nothing parses the file itself."""

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from espnet_edge.files import sha256_of
from espnet_edge.runtime.manifest import Manifest, file_info, load_manifest

NAMES = ("road", 'a "quoted" name', "back\\slash", "Straße; 2\nlines", "last")
HEIGHT, WIDTH, PRIORS = 32, 64, 10
CLASSES = len(NAMES)
TRAINED = {"scale": 1 / 255, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
AS_THEY_ARE = {"scale": 1.0, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
PROFILE = {"minimum": 1, "optimum": 4, "maximum": 16}
THRESHOLDS = {"score_threshold": 0.3, "iou_threshold": 0.45, "max_per_class": 200}


def engine(builder: str = "tensorrt", profile: Any = None) -> dict[str, Any]:
    return {
        "builder": builder,
        "builder_version": "10.3.0",
        "precision": "fp32",
        "compute_capabilities": ("8.7",),
        "device": None,
        "profile": profile,
    }


def write(path: Path, kind: str, batch: int | str = 1, /, **changes: Any) -> Path:
    """A file at `path` and its manifest; `kind` is a task and a kind of inputs and outputs, "detection deploy"."""
    path.write_bytes(b"as good as a network " + kind.encode())
    task, _, io = kind.partition(" ")
    inputs, outputs, postprocessing = _tensors(task, io, batch)
    pictures = task != "language_modelling"
    fields = {
        "name": path.stem,
        "task": task,
        "network": "tiny",
        "width_mult": 1.0,
        "dataset": "custom",
        "num_classes": CLASSES,
        "classes": [{"name": name} for name in NAMES] if pictures else [],
        "io": io,
        "precision": "fp32",
        "inputs": inputs,
        "outputs": outputs,
        "preprocessing": _preprocessing(task, io) if pictures else None,
        "postprocessing": postprocessing,
        "states": [] if pictures else [{"input": s, "output": f"{s}_out"} for s in ("hidden", "cell")],
        "macs": {"conv": 0, "linear": 0},
        "params": 0,
        "weights": {"source": "none", "sha256": None, "random": False},
        "onnx": {"sha256": sha256_of(path), "opset": 17, "ir_version": 8},
        "file": file_info(path).model_dump(),
        **changes,
    }
    Manifest.model_validate(fields).write(path)
    return path


def read(path: Path) -> Manifest:
    manifest = load_manifest(path)
    assert manifest is not None
    return manifest


@cache
def triton_messages() -> Any:
    """Triton's messages as its client carries them, with protocol buffers' `text_format` in the same module.

    The client's module is loaded by itself, for the package around it wants all of gRPC.
    """
    text_format = pytest.importorskip("google.protobuf.text_format")
    package = importlib.util.find_spec("tritonclient")
    if package is None or not package.submodule_search_locations:
        pytest.skip("tritonclient is not installed")
    file = Path(package.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.text_format = text_format  # type: ignore[attr-defined]
    return module


def _tensor(name: str, dtype: str, shape: tuple[int | str, ...], layout: str) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": shape, "layout": layout, "meaning": "for tests"}


def _preprocessing(task: str, io: str) -> dict[str, Any]:
    crop = {"resize": "shorter_side_crop", "shorter_side": 73} if task == "classification" else {"resize": "stretch"}
    numbers = AS_THEY_ARE if io == "deepstream" else TRAINED
    return {**crop, "height": HEIGHT, "width": WIDTH, **numbers, "normalise_in_graph": io == "deploy"}


def _tensors(task: str, io: str, batch: int | str) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    if task == "language_modelling":
        states = [_tensor(name, "float32", (3, batch, 6), "LNU") for name in ("hidden", "cell")]
        after = [{**state, "name": f"{state['name']}_out"} for state in states]
        token, logits = _tensor("token", "int64", (batch,), "N"), _tensor("logits", "float32", (batch, CLASSES), "NC")
        return [token, *states], [logits, *after], {"kind": "next_word"}
    image = _tensor("image", "float32", (batch, 3, HEIGHT, WIDTH), "NCHW")
    if io == "deploy":
        image = _tensor("image", "uint8", (batch, HEIGHT, WIDTH, 3), "NHWC")
    maps, vector = (batch, CLASSES, HEIGHT, WIDTH), (batch, CLASSES)
    boxes = [
        _tensor("boxes", "float32", (batch, PRIORS, 4), "NPL"),
        _tensor("scores", "float32", (batch, PRIORS, CLASSES), "NPC"),
    ]
    top5 = [_tensor("classes", "int32", (batch, 5), "NC"), _tensor("scores", "float32", (batch, 5), "NC")]
    of_kind: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
        "segmentation raw": ([_tensor("logits", "float32", maps, "NCHW")], {"kind": "argmax"}),
        "segmentation deploy": ([_tensor("labels", "uint8", (batch, HEIGHT, WIDTH), "NHW")], {"kind": "labels"}),
        "segmentation deepstream": ([_tensor("probabilities", "float32", maps, "NCHW")], {"kind": "argmax"}),
        "classification raw": ([_tensor("logits", "float32", vector, "NC")], {"kind": "softmax_top5"}),
        "classification deploy": (top5, {"kind": "top5"}),
        "classification deepstream": ([_tensor("probabilities", "float32", vector, "NC")], {"kind": "rank_top5"}),
        "multi_label raw": (
            [_tensor("logits", "float32", vector, "NC")],
            {"kind": "sigmoid_threshold", "score_threshold": 0.5},
        ),
        "multi_label deploy": (
            [_tensor("scores", "float32", vector, "NC")],
            {"kind": "threshold", "score_threshold": 0.5},
        ),
        "detection deploy": (boxes, {"kind": "nms", **THRESHOLDS}),
    }
    of_kind["multi_label deepstream"] = of_kind["multi_label deploy"]
    of_kind["detection deepstream"] = of_kind["detection deploy"]
    return [image], *of_kind[f"{task} {io}"]
