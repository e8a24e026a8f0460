"""Detection from export to photo: the file, its manifest, its proof, its engine, and the runtimes that take it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image
from torch import nn

from conftest import Outcome
from espnet_edge.export.batch import Batch
from espnet_edge.export.cli import main
from espnet_edge.export.operator_support import check_portable
from espnet_edge.export.parity import ParityReport, parity_inputs, prove_parity
from espnet_edge.export.rewrite import rewritten
from espnet_edge.export.static_pyramid import ProjectOfTwo, StaticPyramidPool
from espnet_edge.model.blocks import ConvNormAct
from espnet_edge.model.deploy import BoxDecoder
from espnet_edge.model.espnetv2_det import VARIANCES, ESPNetV2Det
from espnet_edge.model.pyramid_pool import PyramidPool, upsample
from espnet_edge.model.registry import get_spec
from espnet_edge.model.seeded import load_seeded_weights
from espnet_edge.runtime.answers import detection as answers_of
from espnet_edge.runtime.boxes import CENTRE_VARIANCE, SIZE_VARIANCE, decoded, prior_boxes_in_pixels, softmax
from espnet_edge.runtime.cli_run import main as run_main
from espnet_edge.runtime.manifest import load_manifest
from espnet_edge.runtime.runner import open_runner
from networks import DETECTION_SIZE, detection, detection_folder

PRIORS, CLASSES = 11_640, 21
Command = Callable[..., Outcome]


def pixels(seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (1, *DETECTION_SIZE, 3), dtype=np.uint8)


def proof(reference: nn.Module, model: onnx.ModelProto) -> ParityReport:
    spec = get_spec("det")
    inputs = list(parity_inputs(spec, "deploy", DETECTION_SIZE, Batch(), []))[:1]
    return prove_parity(reference, model, inputs, spec=spec, io="deploy", onnx_sha256="0" * 64, on_case=lambda _: None)


def test_the_manifest_says_what_is_left_for_the_host() -> None:
    manifest = load_manifest(detection_folder() / "det.onnx")
    assert manifest is not None
    assert (manifest.name, manifest.task, manifest.network) == ("det", "detection", "espnetv2_det")
    assert [(t.name, t.dtype, t.shape) for t in manifest.inputs] == [("image", "uint8", (1, 300, 300, 3))]
    assert [(t.name, t.dtype, t.shape) for t in manifest.outputs] == [
        ("boxes", "float32", (1, PRIORS, 4)),
        ("scores", "float32", (1, PRIORS, CLASSES)),
    ]
    rule = manifest.postprocessing
    assert (rule.kind, rule.score_threshold, rule.iou_threshold, rule.max_per_class) == ("nms", 0.3, 0.45, 200)
    assert manifest.preprocessing.resize == "stretch"
    assert [c.name for c in manifest.classes if c.name not in {"person"}][15:17] == ["pottedplant", "sheep"]
    assert manifest.classes[0].name == "__background__"
    assert (manifest.macs.conv, manifest.params) == (913_440_867, 4_750_878)


def test_the_proof_covers_both_outputs() -> None:
    report = json.loads((detection_folder() / "det.parity.json").read_text())
    assert report["passed"]
    for case in report["cases"]:
        by_output = case["max_abs_error_by_output"]
        assert by_output.keys() == {"confidences", "locations"}
        assert 0 < min(by_output.values()) <= max(by_output.values()) == case["max_abs_error"] <= 5e-5
        assert case["label_agreement_where_decided"] == 1
        assert case["tolerance"]["max_abs_error"] == 1e-4


def test_the_graph_is_static_and_portable() -> None:
    _, model = detection()
    operators = [node.op_type for node in model.graph.node]
    check_portable(model)
    assert not {"NonMaxSuppression", "Shape", "Gather", "TopK"} & set(operators)
    # The official network has 564 in a default export, without decoding.
    assert len(operators) < 500
    for value in (*model.graph.input, *model.graph.output):
        assert all(dimension.dim_value > 0 for dimension in value.type.tensor_type.shape.dim)


def constant(model: onnx.ModelProto, node: onnx.NodeProto) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name in node.input)


def change(model: onnx.ModelProto, node: onnx.NodeProto, factor: float) -> None:
    tensor = constant(model, node)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), tensor.name))


def scale_a_box_head(model: onnx.ModelProto) -> None:
    heads = [node for node in model.graph.node if node.op_type == "Conv"]
    change(model, next(node for node in reversed(heads) if len(numpy_helper.to_array(bias(model, node))) == 24), 1.01)


def bias(model: onnx.ModelProto, node: onnx.NodeProto) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == node.input[-1])


def scale_box_sizes(model: onnx.ModelProto) -> None:
    """Right locations, wrong boxes."""
    after = next(node.output[0] for node in model.graph.node if node.op_type == "Exp")
    change(model, next(node for node in model.graph.node if after in node.input), 1.01)


def softmax_over_priors(model: onnx.ModelProto) -> None:
    """Right confidences, wrong scores."""
    node = next(node for node in model.graph.node if node.op_type == "Softmax")
    del node.attribute[:]
    node.attribute.append(onnx.helper.make_attribute("axis", 1))


@pytest.mark.parametrize(
    ("damage", "wrong"),
    [(scale_a_box_head, "locations"), (scale_box_sizes, "answers"), (softmax_over_priors, "answers")],
)
def test_a_wrong_file_fails(damage: Any, wrong: str) -> None:
    reference, model = detection()
    damage(model)
    report = proof(reference, model)
    assert not report.passed
    case = report.cases[0]
    assert case.outputs_follow_logits == (wrong != "answers")
    assert (case.max_abs_error_by_output["locations"] > 1e-4) == (wrong == "locations")
    assert case.max_abs_error_by_output["confidences"] < 5e-5


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_other_runtimes_give_the_same_boxes(runtime: str) -> None:
    pytest.importorskip(runtime)
    artefact = detection_folder() / "det.onnx"
    with open_runner(artefact, "onnxruntime", threads=1) as runner:
        expected = runner.infer({"image": pixels()})
    with open_runner(artefact, runtime, threads=1) as runner:
        found = runner.infer({"image": pixels()})
    assert found.keys() == expected.keys()
    np.testing.assert_allclose(found["boxes"], expected["boxes"], rtol=0, atol=5e-3)
    np.testing.assert_allclose(found["scores"], expected["scores"], rtol=0, atol=1e-5)


def test_host_decoding_gives_the_boxes_of_the_graph() -> None:
    """The answers of a raw file are those of a deployed one."""
    manifest = load_manifest(detection_folder() / "det.onnx")
    assert manifest is not None
    generator = np.random.default_rng(3)
    confidences = generator.normal(0, 2, (2, PRIORS, CLASSES)).astype(np.float32)
    locations = generator.normal(0, 1, (2, PRIORS, 4)).astype(np.float32)
    priors = prior_boxes_in_pixels(DETECTION_SIZE)
    with torch.inference_mode():
        boxes = BoxDecoder(priors)(torch.from_numpy(locations)).numpy()
    np.testing.assert_allclose(boxes, decoded(locations, priors), rtol=0, atol=1e-3)
    assert VARIANCES == (CENTRE_VARIANCE, SIZE_VARIANCE)
    raw = manifest.model_copy(
        update={"postprocessing": manifest.postprocessing.model_copy(update={"kind": "decode_nms"})}
    )
    of_raw = answers_of({"confidences": confidences, "locations": locations}, raw)
    of_deployed = answers_of({"boxes": decoded(locations, priors), "scores": softmax(confidences)}, manifest)
    assert of_raw == of_deployed
    assert len(of_raw) == 2
    assert all(of_raw)


@pytest.mark.parametrize("size", [(300, 300), (256, 320), (270, 331)])
def test_the_rewritten_network_is_the_same(size: tuple[int, int]) -> None:
    network = ESPNetV2Det(0.5, num_classes=4).eval()
    load_seeded_weights(network)
    image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = network(image), rewritten(network, size)(image)
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(b, a, rtol=0, atol=2e-5)


@pytest.mark.parametrize("scales", [(2.0, 1.0), (2.0, 1.0, 0.5), (2.0, 1.0, 0.5, 0.25)])
@pytest.mark.parametrize("side", [5, 8, 10, 16, 19, 38, 64])
def test_pyramids_at_the_sizes_of_detection(side: int, scales: tuple[float, ...]) -> None:
    pool = PyramidPool(6, 4, 8, scales=scales).eval()
    load_seeded_weights(pool)
    x = torch.randn(1, 6, side, side, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(StaticPyramidPool(pool, (side, side))(x), pool(x), rtol=0, atol=2e-6)


@pytest.mark.parametrize(("size", "to"), [((3, 3), (5, 5)), ((19, 19), (38, 38)), ((1, 2), (2, 3))])
def test_growing_and_projecting_commute(size: tuple[int, int], to: tuple[int, int]) -> None:
    project = ConvNormAct(7 + 5, 3, 1).eval()
    load_seeded_weights(project)
    generator = torch.Generator().manual_seed(2)
    above, x = torch.randn(1, 7, *size, generator=generator), torch.randn(1, 5, *to, generator=generator)
    with torch.inference_mode():
        expected = project(torch.cat([upsample(above, to), x], dim=1))
        torch.testing.assert_close(ProjectOfTwo(project, 7, size, to)(above, x), expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_raw_with_a_free_batch(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("--weights", "random", "--engine", "none", "--io", "raw", "--batch", "1,1,2", "--out", out)
    outcome = command(main, "det", *arguments)
    assert outcome.code == 0, outcome.err
    manifest = load_manifest(out / "det.onnx")
    assert manifest is not None
    assert [(t.name, t.shape) for t in manifest.outputs] == [
        ("confidences", ("batch", PRIORS, 81)),
        ("locations", ("batch", PRIORS, 4)),
    ]
    assert manifest.postprocessing.kind == "decode_nms"
    assert (manifest.macs.conv, manifest.params, manifest.dataset) == (1_164_622_947, 5_812_878, "coco")
    assert manifest.classes[1].name == "person"
    assert [case["name"] for case in json.loads((out / "det.parity.json").read_text())["cases"]][-1] == "batch of 2"
    photo = tmp_path / "photo.png"
    Image.fromarray(pixels()[0][:120]).save(photo)
    outcome = command(run_main, "--engine", out / "det.onnx", photo, "--allow-random-weights", "--out", tmp_path / "r")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "r/photo.boxes.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--size", "320x320"], ["320x320", "300x300 and 512x512 only"]),
        (["--size", "512x300"], ["512x300", "300x300 and 512x512 only"]),
        (["--width", "1.0"], ["no width 1.0", "there are 2.0"]),
        (["--dataset", "cityscapes"], ["no form for data set cityscapes", "coco, voc"]),
    ],
)
def test_what_detection_cannot_be(arguments: list[str], words: list[str], command: Command, tmp_path: Path) -> None:
    outcome = command(main, "det", *arguments, "--out", tmp_path / "out")
    assert outcome.code == 2
    assert all(word in outcome.last_line for word in words), outcome.last_line
    assert not (tmp_path / "out").exists()
