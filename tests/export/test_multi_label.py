"""Multi-label classification from export to photo: the file, its manifest, its proof, its engine, and the runtimes."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from PIL import Image
from torch import Tensor, nn

from conftest import Outcome
from espnet_edge.export import engine_from_onnx as seam
from espnet_edge.export.batch import Batch
from espnet_edge.export.cli import main
from espnet_edge.export.operator_support import check_portable
from espnet_edge.export.parity import ParityReport, parity_inputs, prove_parity
from espnet_edge.model.espnetv2_names import official_name
from espnet_edge.model.registry import create_model, get_spec
from espnet_edge.model.seeded import load_seeded_weights
from espnet_edge.runtime.answers import multi_label as answers_of
from espnet_edge.runtime.cli_bench import main as bench_main
from espnet_edge.runtime.cli_run import main as run_main
from espnet_edge.runtime.manifest import Manifest, load_manifest
from espnet_edge.runtime.runner import open_runner
from networks import MULTI_LABEL_SIZE, ONE, multi_label, multi_label_folder

COCO = ("cls", "--width", "0.5", "--dataset", "coco", "--size", "64x64", "--engine", "none")
Command = Callable[..., Outcome]


def manifest_of(io: str = "deploy") -> Manifest:
    manifest = load_manifest(multi_label_folder(io) / "cls.onnx")
    assert manifest is not None
    return manifest


def pixels(count: int = 1) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, *MULTI_LABEL_SIZE, 3), dtype=np.uint8)


def proof(reference: nn.Module, model: onnx.ModelProto) -> ParityReport:
    spec = get_spec("cls").for_dataset("coco")
    inputs = parity_inputs(spec, "deploy", MULTI_LABEL_SIZE, Batch(), [])
    return prove_parity(reference, model, inputs, spec=spec, io="deploy", onnx_sha256="0" * 64, on_case=lambda _: None)


def test_the_manifest_says_what_is_left_for_the_host() -> None:
    manifest = manifest_of()
    assert (manifest.name, manifest.task, manifest.network) == ("cls", "multi_label", "espnetv2_cls")
    assert (manifest.dataset, manifest.num_classes, len(manifest.classes)) == ("coco", 80, 80)
    assert (manifest.classes[0].name, manifest.classes[79].name) == ("person", "toothbrush")
    assert [(t.name, t.dtype, t.shape) for t in manifest.outputs] == [("scores", "float32", (1, 80))]
    assert (manifest.postprocessing.kind, manifest.postprocessing.score_threshold) == ("threshold", 0.5)
    assert (manifest.preprocessing.resize, manifest.preprocessing.shorter_side) == ("stretch", None)
    assert manifest.params == 298_332
    raw = manifest_of("raw")
    assert [(t.name, t.dtype, t.shape) for t in raw.outputs] == [("logits", "float32", (1, 80))]
    assert (raw.postprocessing.kind, raw.postprocessing.score_threshold) == ("sigmoid_threshold", 0.5)


def test_the_proof_compares_decisions() -> None:
    report = json.loads((multi_label_folder() / "cls.parity.json").read_text())
    assert report["passed"]
    for case in report["cases"]:
        assert 0 < case["max_abs_error"] <= 1e-5
        assert case["max_abs_error_by_output"].keys() == {"logits"}
        assert case["label_agreement_where_decided"] == 1
        assert case["outputs_follow_logits"]
        assert case["tolerance"]["max_abs_error"] == 1e-4
        assert "the logit differs from 0 by at least that" in case["tolerance"]["reason"]


def test_the_graph_is_portable_and_gives_the_sigmoids_of_the_network() -> None:
    reference, model = multi_label()
    check_portable(model)
    assert model.graph.node[-1].op_type == "Sigmoid"
    metadata = {p.key: p.value for p in model.metadata_props}
    assert (metadata["task"], json.loads(metadata["classes"])[:2]) == ("multi_label", ["person", "bicycle"])
    image = pixels()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    normalised = ((image / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
    with torch.inference_mode():
        expected = 1 / (1 + torch.exp(-reference(torch.from_numpy(normalised))))
    np.testing.assert_allclose(session.run(None, {"image": image})[0], expected.numpy(), rtol=0, atol=1e-5)


def logits_node(model: onnx.ModelProto) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == "Gemm")


def move_a_class(model: onnx.ModelProto, by: float, index: int = 7) -> None:
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == logits_node(model).input[2])
    values = numpy_helper.to_array(bias).copy()
    values[index] += by
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))


def another_curve(model: onnx.ModelProto) -> None:
    """Right logits, wrong scores: a line instead of the sigmoid."""
    model.graph.node[-1].op_type = "HardSigmoid"


def softmax_scores(model: onnx.ModelProto) -> None:
    """Right logits, wrong scores: probabilities that share one."""
    model.graph.node[-1].op_type = "Softmax"


def last_logits_twice(model: onnx.ModelProto) -> None:
    """A sigmoid too many."""
    last = model.graph.node[-1]
    output = last.output[0]
    last.output[0] = "once"
    model.graph.node.append(onnx.helper.make_node("Sigmoid", ["once"], [output]))


@pytest.mark.parametrize("damage", [another_curve, softmax_scores])
def test_scores_that_do_not_follow_from_the_logits_fail(damage: Any) -> None:
    reference, model = multi_label()
    damage(model)
    report = proof(reference, model)
    assert not report.passed
    assert not any(case.outputs_follow_logits for case in report.cases)
    assert all(case.max_abs_error < 1e-5 for case in report.cases)


@pytest.mark.parametrize("damage", [lambda model: move_a_class(model, 1e-3), last_logits_twice])
def test_other_logits_fail(damage: Any) -> None:
    reference, model = multi_label()
    damage(model)
    report = proof(reference, model)
    assert not report.passed
    assert not any(case.passed for case in report.cases)
    assert all(case.max_abs_error > 1e-4 for case in report.cases)


def test_a_decision_that_changes_counts_once_where_it_was_clear() -> None:
    reference, model = multi_label()
    image = torch.zeros(1, *MULTI_LABEL_SIZE, 3, dtype=torch.uint8).numpy()
    with open_runner(multi_label_folder("raw") / "cls.onnx", "onnxruntime", threads=1) as runner:
        mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        normalised = ((image / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
        logits = runner.infer({"image": normalised})["logits"][0]
    # Over the decision for one class: one label in 80 changes, and the best class need not.
    index = int(np.abs(logits).argmin())
    move_a_class(model, -2 * float(logits[index]) - 1e-3 * float(np.sign(logits[index])), index)
    spec = get_spec("cls").for_dataset("coco")
    report = prove_parity(
        reference, model, [("black", image)], spec=spec, io="deploy", onnx_sha256="0" * 64, on_case=lambda _: None
    )
    [case] = report.cases
    assert not report.passed
    assert case.label_agreement == pytest.approx(79 / 80)
    # Within the tolerance of 0 nothing is decided.
    assert case.undecided == pytest.approx((np.abs(logits) < case.tolerance.max_abs_error).mean())


def test_an_undecided_class_does_not_count() -> None:
    reference, model = multi_label()
    assert isinstance(reference.classifier, nn.Linear)
    image = pixels()
    spec = get_spec("cls").for_dataset("coco")
    with torch.inference_mode():
        # The reference's logit of class 7 becomes nearly 0, the file's crosses it within the tolerance.
        normalised = ((image / 255 - np.array(spec.mean)) / np.array(spec.std)).transpose(0, 3, 1, 2)
        logit = float(reference(torch.from_numpy(normalised.astype(np.float32)))[0, 7])
        reference.classifier.bias[7] -= logit - 3e-5
    move_a_class(model, -logit - 3e-5)
    report = prove_parity(
        reference, model, [("noise", image)], spec=spec, io="deploy", onnx_sha256="0" * 64, on_case=lambda _: None
    )
    [case] = report.cases
    assert case.passed
    assert case.label_agreement == pytest.approx(79 / 80)
    assert case.label_agreement_where_decided == 1
    assert case.undecided == pytest.approx(1 / 80)


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="no TensorRT-RTX wheel for this platform")
@pytest.mark.parametrize("io", ["deploy", "raw"])
def test_an_engine_builds(io: str) -> None:
    builder = seam.find_builder("tensorrt-rtx")
    assert isinstance(builder, seam.Builder)
    data = (multi_label_folder(io) / "cls.onnx").read_bytes()
    engine = seam.engine_from_onnx(builder, data, batch=ONE)
    assert len(engine.data) > 1_000_000


@pytest.mark.parametrize("io", ["deploy", "raw"])
@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_other_runtimes_give_the_same(runtime: str, io: str) -> None:
    pytest.importorskip(runtime)
    artefact = multi_label_folder(io) / "cls.onnx"
    image = pixels() if io == "deploy" else np.random.default_rng(0).normal(0, 1, (1, 3, 64, 64)).astype(np.float32)
    with open_runner(artefact, "onnxruntime", threads=1) as runner:
        expected = runner.infer({"image": image})
    with open_runner(artefact, runtime, threads=1) as runner:
        found = runner.infer({"image": image})
    assert list(found) == list(expected) == (["scores"] if io == "deploy" else ["logits"])
    for name, array in found.items():
        assert array.shape == (1, 80)
        # Float32 rounding in another order, of logits up to 10.
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=1e-4 if io == "raw" else 2e-5)


def test_raw_and_deploy_answer_the_same() -> None:
    image = pixels()
    spec = get_spec("cls")
    normalised = ((image / 255 - np.array(spec.mean)) / np.array(spec.std)).transpose(0, 3, 1, 2).astype(np.float32)
    answers = []
    for io, fed in (("deploy", image), ("raw", normalised)):
        with open_runner(multi_label_folder(io) / "cls.onnx", "onnxruntime", threads=1) as runner:
            [answer] = answers_of(runner.infer({"image": fed}), manifest_of(io))
            answers.append(answer)
    deployed, raw = answers
    assert [found.class_index for found in deployed] == [found.class_index for found in raw]
    np.testing.assert_allclose([found.score for found in deployed], [found.score for found in raw], atol=1e-5)
    # With these weights some classes are there and some are not.
    assert 0 < len(deployed) < 80


def official_checkpoint(path: Path, num_classes: int) -> dict[str, Tensor]:
    network = create_model("cls", width_mult=0.5, num_classes=num_classes)
    load_seeded_weights(network, salt="mine")
    state = {official_name(name): tensor for name, tensor in network.state_dict().items()}
    torch.save(state, path)
    return state


def test_a_checkpoint_of_the_user_from_export_to_photo(command: Command, tmp_path: Path) -> None:
    checkpoint, out, photo = tmp_path / "mine.pth", tmp_path / "out", tmp_path / "photo.png"
    state = official_checkpoint(checkpoint, 80)
    assert state["classifier.weight"].shape == (80, 1024)
    Image.fromarray(pixels()[0]).resize((200, 90)).save(photo)
    outcome = command(main, *COCO, "--weights", checkpoint, "--batch", "1,1,2", "--photo", photo, "--out", out)
    assert outcome.code == 0, outcome.err
    assert "WARNING" not in outcome.err
    assert "scores float32 (batch, 80)" in outcome.out
    report = json.loads((out / "cls.parity.json").read_text())
    assert [case["name"] for case in report["cases"]][-2:] == ["photo.png", "batch of 2"]
    assert report["passed"]

    expected = None
    for runtime in ("onnxruntime", "openvino", "torch"):
        outcome = command(
            run_main, "--engine", out / "cls.onnx", photo, "--runtime", runtime, "--out", tmp_path / runtime
        )
        assert outcome.code == 0, outcome.err
        found = json.loads((tmp_path / runtime / "photo.classes.json").read_text())
        expected = expected or found
        assert found["score_threshold"] == 0.5
        scores = [entry["score"] for entry in found["classes"]]
        assert scores == sorted(scores, reverse=True)
        assert all(score > 0.5 for score in scores)
        assert [entry["name"] for entry in found["classes"]] == [entry["name"] for entry in expected["classes"]]
        np.testing.assert_allclose(scores, [entry["score"] for entry in expected["classes"]], atol=1e-4)
        assert len(outcome.out.splitlines()) == 1 + len(scores)
    assert expected is not None
    assert expected["classes"]


def test_it_is_benchmarked_like_the_others(command: Command) -> None:
    engine = multi_label_folder() / "cls.onnx"
    options = ("--runtime", "onnxruntime,torch", "--threads", 1, "--rounds", 2, "--iterations", 2)
    outcome = command(bench_main, "--engine", engine, *options)
    assert outcome.code == 0, outcome.err
    assert "torch" in outcome.out


@pytest.mark.parametrize(("found", "dataset", "asked"), [(1000, "coco", 80), (80, "imagenet", 1000)])
def test_a_checkpoint_of_other_classes_is_refused(
    command: Command, tmp_path: Path, found: int, dataset: str, asked: int
) -> None:
    checkpoint = tmp_path / "other.pth"
    official_checkpoint(checkpoint, found)
    arguments = ("cls", "--width", "0.5", "--dataset", dataset, "--engine", "none", "--weights", checkpoint)
    outcome = command(main, *arguments, "--out", tmp_path / "out")
    assert outcome.code == 2
    for part in (f"width 0.5, {found} classes", f"width 0.5, {asked} classes", "or another --weights"):
        assert part in outcome.last_line
    assert not (tmp_path / "out").exists()


def test_no_weights_are_published_and_the_export_says_so(command: Command, tmp_path: Path) -> None:
    outcome = command(main, *COCO, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    [warning] = [line for line in outcome.err.replace("\n", " ").split("[") if "WARNING" in line]
    assert "RANDOM WEIGHTS" in warning
    assert "no weights are published for espnetv2_cls, width 0.5, coco" in warning
    assert manifest_of().weights.random
    photo = tmp_path / "photo.png"
    Image.fromarray(pixels()[0]).save(photo)
    outcome = command(run_main, "--engine", tmp_path / "out/cls.onnx", photo)
    assert (outcome.code, "its weights are random" in outcome.last_line) == (2, True)
