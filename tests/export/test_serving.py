"""Real exports as servers read them: the configuration against the file, and what nvinfer would compute with it."""

import atexit
import configparser
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from conftest import Outcome
from espnet_edge.export import ExportOptions, export
from espnet_edge.export.batch import Batch, parse_batch
from espnet_edge.export.cli import main as export_main
from espnet_edge.export.parity import ParityReport, parity_inputs, prove_parity
from espnet_edge.export.progress import Progress
from espnet_edge.model.deploy import Normalise
from espnet_edge.model.registry import create_model, get_spec
from espnet_edge.model.seeded import load_seeded_weights
from espnet_edge.runtime.answers import classification, segmentation
from espnet_edge.runtime.deepstream import write_deepstream_package
from espnet_edge.runtime.images import to_input
from espnet_edge.runtime.runner import open_runner
from espnet_edge.runtime.triton_repository import TritonOptions, write_triton_repository
from served import read, triton_messages

SIZE = (64, 96)
WORDS = "".join(f"word{i}\n" for i in range(20))


@cache
def exported(model: str, io: Any, batch: str = "1") -> Path:
    """A whole export with seeded weights; each is made once for all tests."""
    out = Path(tempfile.mkdtemp(prefix="espnet-edge-tests-"))
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    of_pictures: dict[str, Any] = {"size": SIZE, "width_mult": 0.5}
    if model == "lm":
        vocabulary = out / "words.txt"
        vocabulary.write_text(WORDS)
        of_pictures = {"vocabulary": vocabulary}
    options = ExportOptions(model, out, weights="random", io=io, batch=parse_batch(batch), engine="none", **of_pictures)
    export(options, Progress())
    return out / f"{model}.onnx"


def pixels(count: int = 1) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, *SIZE, 3), dtype=np.uint8)


def reference_logits(model: str, photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    network = create_model(model, width_mult=0.5)
    load_seeded_weights(network)
    spec = get_spec(model)
    with torch.inference_mode():
        logits: NDArray[np.float32] = network.eval()(Normalise(spec.mean, spec.std)(torch.from_numpy(photo))).numpy()
    return logits


def nvinfer_settings(artefact: Path, tmp_path: Path, **options: Any) -> tuple[dict[str, str], Path]:
    package = write_deepstream_package(artefact, read(artefact), tmp_path / "out", name="net", **options)
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.read(package.config)
    return dict(parser["property"]), package.folder


def as_nvinfer(settings: dict[str, str], folder: Path, photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What nvinfer would hand to its parser: its formula for the input, then the file."""
    offsets = np.array([float(part) for part in settings["offsets"].split(";")], np.float32).reshape(1, 3, 1, 1)
    planes = np.float32(settings["net-scale-factor"]) * (photo.transpose(0, 3, 1, 2).astype(np.float32) - offsets)
    assert list(planes.shape[1:]) == [int(part) for part in settings["infer-dims"].split(";")]
    session = onnxruntime.InferenceSession(folder / settings["onnx-file"], providers=["CPUExecutionProvider"])
    (output,) = session.run(settings["output-blob-names"].split(";"), {session.get_inputs()[0].name: planes})
    return output


def test_nvinfer_finds_the_classes_of_the_published_network(tmp_path: Path) -> None:
    artefact, photo = exported("seg", "deepstream"), pixels()
    settings, folder = nvinfer_settings(artefact, tmp_path)
    values = as_nvinfer(settings, folder, photo)
    assert values.shape[1] == int(settings["num-detected-classes"])
    # nvinfer's parser: no class, then each class whose value is above the best so far, which begins at -1.
    labels, best = np.full((1, *SIZE), -1), np.full((1, *SIZE), -1.0)
    for number in range(values.shape[1]):
        better = (values[:, number] > best) & (values[:, number] > float(settings["segmentation-threshold"]))
        labels[better], best[better] = number, values[:, number][better]
    assert np.array_equal(labels, segmentation({"probabilities": values}, read(artefact)))
    logits = reference_logits("seg", photo)
    top_two = np.sort(logits, axis=1)[:, -2:]
    decided = top_two[:, 1] - top_two[:, 0] > 1e-4
    assert decided.mean() > 0.99
    assert np.array_equal(labels[decided], logits.argmax(axis=1)[decided])


def test_nvinfer_finds_the_class_of_each_picture(tmp_path: Path) -> None:
    artefact, photos = exported("cls", "deepstream", "1,2,4"), pixels(3)
    settings, folder = nvinfer_settings(artefact, tmp_path, max_batch=4)
    values = as_nvinfer(settings, folder, photos)
    np.testing.assert_allclose(values.sum(axis=1), 1, rtol=0, atol=1e-5)
    found = classification({"probabilities": values}, read(artefact))
    expected = torch.softmax(torch.from_numpy(reference_logits("cls", photos)), dim=1).numpy()
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-6)
    assert [ranks[0].class_index for ranks in found] == values.argmax(axis=1).tolist()
    assert [ranks[0].score for ranks in found] == pytest.approx(values.max(axis=1).tolist())
    assert all(len(ranks) == 5 for ranks in found)


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_every_runtime_gives_the_same(runtime: str) -> None:
    artefact = exported("seg", "deepstream")
    manifest = read(artefact)
    assert [(t.name, t.dtype, t.shape) for t in manifest.inputs] == [("image", "float32", (1, 3, *SIZE))]
    assert (manifest.io, manifest.image.std, manifest.image.normalise_in_graph) == ("deepstream", (1, 1, 1), False)
    image = to_input(pixels(), manifest)
    assert np.array_equal(image, pixels().transpose(0, 3, 1, 2))
    with open_runner(artefact, runtime, threads=1) as runner:
        (values,) = runner.infer({"image": image}).values()
    expected = torch.softmax(torch.from_numpy(reference_logits("seg", pixels())), dim=1).numpy()
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-6)


def proof(model: onnx.ModelProto) -> ParityReport:
    spec = get_spec("seg")
    network = create_model("seg", width_mult=0.5)
    load_seeded_weights(network)
    inputs = list(parity_inputs(spec, "deepstream", SIZE, Batch(), []))[:1]
    return prove_parity(
        network.eval(), model, inputs, spec=spec, io="deepstream", onnx_sha256="0" * 64, on_case=lambda _: None
    )


def test_the_proof_sees_wrong_probabilities() -> None:
    model = onnx.load(exported("seg", "deepstream"))
    assert proof(model).passed
    (node,) = [node for node in model.graph.node if node.op_type == "Softmax"]
    (axis,) = [attribute for attribute in node.attribute if attribute.name == "axis"]
    axis.i = 2
    (case,) = proof(model).cases
    assert (case.outputs_follow_logits, case.passed) == (False, False)


@pytest.mark.parametrize(("model", "batch", "max_batch"), [("seg", "1", None), ("cls", "1,2,4", 4)])
def test_an_engine_is_built_the_way_nvinfer_does(tmp_path: Path, model: str, batch: str, max_batch: int | None) -> None:
    """Whatever the file says, nvinfer sets the first dimension free and asks for batches of 1 to batch-size."""
    rtx = pytest.importorskip("tensorrt_rtx", exc_type=ImportError)
    settings, folder = nvinfer_settings(exported(model, "deepstream", batch), tmp_path, max_batch=max_batch)
    builder = rtx.Builder(rtx.Logger(rtx.Logger.ERROR))
    network, config = builder.create_network(0), builder.create_builder_config()
    parser = rtx.OnnxParser(network, rtx.Logger(rtx.Logger.ERROR))
    assert parser.parse((folder / settings["onnx-file"]).read_bytes())
    image, sizes = network.get_input(0), [int(size) for size in settings["infer-dims"].split(";")]
    assert (image.dtype, image.name, network.num_inputs) == (rtx.float32, "image", 1)
    image.shape = (-1, *sizes)
    profile = builder.create_optimization_profile()
    profile.set_shape("image", *((count, *sizes) for count in (1, *[int(settings["batch-size"])] * 2)))
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config) is not None
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    assert ";".join(output.name for output in outputs) == settings["output-blob-names"]
    # Graphs of a fixed batch keep it inside, so that of several would answer for several whatever it is given.
    assert outputs[0].shape[0] in {-1, int(batch[0])}


def test_words_are_not_for_deepstream(command: Any, tmp_path: Path) -> None:
    outcome: Outcome = command(export_main, "lm", "--io", "deepstream", "--out", tmp_path / "out")
    assert outcome.code == 2
    assert outcome.last_line == (
        "espnet-export: --io deepstream is for networks that take pictures, eru_lm takes words: leave it out"
    )


def triton_config(artefact: Path, tmp_path: Path, **options: Any) -> Any:
    messages = triton_messages()
    written = write_triton_repository(artefact, read(artefact), tmp_path, TritonOptions("net", **options))
    return messages.text_format.Parse(written.config.read_text(), messages.ModelConfig())


def described(values: Any) -> dict[str, tuple[int, list[int]]]:
    """Type and sizes of an ONNX graph's inputs or outputs, -1 where they are free."""
    return {
        value.name: (
            value.type.tensor_type.elem_type,
            [size.dim_value or -1 for size in value.type.tensor_type.shape.dim],
        )
        for value in values
    }


@pytest.mark.parametrize(
    ("model", "io", "batch", "max_batch"),
    [("seg", "deepstream", "1", None), ("cls", "deepstream", "1,2,4", 4), ("lm", "deploy", "1,2,4", None)],
)
def test_triton_is_told_what_the_file_has(
    tmp_path: Path, model: str, io: str, batch: str, max_batch: int | None
) -> None:
    artefact = exported(model, io, batch)
    config, graph = triton_config(artefact, tmp_path, max_batch=max_batch), onnx.load(artefact).graph
    types = {
        "TYPE_FP32": onnx.TensorProto.FLOAT,
        "TYPE_UINT8": onnx.TensorProto.UINT8,
        "TYPE_INT64": onnx.TensorProto.INT64,
    }
    names = triton_messages().DataType.Name
    free = [-1] if config.max_batch_size else []
    for told, there in ((config.input, graph.input), (config.output, graph.output)):
        assert {t.name: (types[names(t.data_type)], free + list(t.dims)) for t in told} == described(there)


def test_triton_can_keep_the_states(tmp_path: Path) -> None:
    """Two words as Triton's sequence batcher feeds them: zeros of the told sizes first, then what came out."""
    artefact = exported("lm", "deploy")
    config = triton_config(artefact, tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "net" / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    kept = {s.input_name: np.zeros(s.initial_state[0].dims, np.float32) for s in config.sequence_batching.state}
    with open_runner(artefact, "onnxruntime", threads=1) as runner:
        states = {tensor.name: np.zeros(tensor.shape, np.float32) for tensor in runner.inputs[1:]}
        for word in (3, 7):
            fed = {config.input[0].name: np.full(config.input[0].dims, word, np.int64), **kept}
            wanted = [config.output[0].name, *(state.output_name for state in config.sequence_batching.state)]
            logits, *after = session.run(wanted, fed)
            kept = {s.input_name: array for s, array in zip(config.sequence_batching.state, after, strict=True)}
            outputs = runner.infer({"token": np.array([word]), **states})
            states = {name: outputs[f"{name}_out"].copy() for name in states}
            np.testing.assert_allclose(logits, outputs["logits"], rtol=0, atol=1e-6)
    assert all(np.abs(state).max() > 0 for state in kept.values())
