"""The language model from a checkpoint to files, and from files to a text."""

import atexit
import importlib.util
import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor

from conftest import Outcome
from espnet_edge.export import ExportOptions, export
from espnet_edge.export import engine_from_onnx as seam
from espnet_edge.export.batch import Batch, parse_batch
from espnet_edge.export.build_options import BuildOptions
from espnet_edge.export.cli import main as export_main
from espnet_edge.export.half_precision import half_precision
from espnet_edge.export.onnx_from_torch import onnx_from_torch
from espnet_edge.export.parity import ParityReport
from espnet_edge.export.progress import Progress
from espnet_edge.export.rewrite import rewritten
from espnet_edge.export.sequence_parity import STEPS, prove_sequence_parity
from espnet_edge.model.eru_lm import EruCell, EruLm
from espnet_edge.model.registry import create_model
from espnet_edge.model.seeded import load_seeded_weights
from espnet_edge.runtime.cli_run import main as run_main
from espnet_edge.runtime.feeds import random_feeds
from espnet_edge.runtime.manifest import Manifest, TensorInfo, load_manifest, manifest_path
from espnet_edge.runtime.runner import open_runner

Command = Callable[..., Outcome]
WORDS = ("the", "sea", "is", "wide", "and", "deep", ".", "<unk>", "<eos>")


def trained(tied_softmax: bool = True) -> EruLm:
    """As good as trained: after each word the next one of the list is by far the most probable."""
    network = EruLm(1.0, len(WORDS), tied_softmax)
    load_seeded_weights(network)
    return network.eval()


def exported(folder: Path, *options: str, tied_softmax: bool = True) -> Path:
    """The ONNX file in `folder`, with what belongs to it: a copy of an export that is made once for all tests."""
    shutil.copytree(_exported(options, tied_softmax), folder / "out")
    return folder / "out" / "lm.onnx"


@cache
def _exported(options: tuple[str, ...], tied_softmax: bool) -> Path:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    weights, words = folder / "best.pth", folder / "words.txt"
    torch.save(trained(tied_softmax).state_dict(), weights)
    words.write_text("".join(f"{word}\n" for word in WORDS))
    batch = parse_batch(options[1]) if options else Batch()
    out = folder / "out"
    export(ExportOptions("lm", out, weights=str(weights), vocabulary=words, batch=batch, engine="none"), Progress())
    return out


def sequence(network: EruLm, tokens: list[int]) -> Tensor:
    """Logits after each of `tokens`, (steps, words)."""
    with torch.inference_mode():
        logits, _ = network.sequence(torch.tensor(tokens)[:, None], network.zero_states(1))
    return logits[:, 0]


def read(path: Path) -> Manifest:
    manifest = load_manifest(path)
    assert manifest is not None
    return manifest


def test_files_and_what_the_manifest_says(command: Command, tmp_path: Path) -> None:
    artefact = exported(tmp_path)
    assert sorted(p.name for p in artefact.parent.iterdir()) == [
        "lm.onnx",
        "lm.onnx.json",
        "lm.parity.json",
        "lm.vocabulary.txt",
    ]
    manifest = read(artefact)
    assert (manifest.task, manifest.network, manifest.num_classes) == ("language_modelling", "eru_lm", len(WORDS))
    assert manifest.preprocessing is None
    assert [(t.name, t.dtype, t.shape) for t in manifest.inputs] == [
        ("token", "int64", (1,)),
        ("hidden", "float32", (3, 1, 400)),
        ("cell", "float32", (3, 1, 400)),
    ]
    assert [(state.input, state.output) for state in manifest.states] == [
        ("hidden", "hidden_out"),
        ("cell", "cell_out"),
    ]
    assert manifest.vocabulary is not None
    assert (artefact.parent / manifest.vocabulary.name).read_text().split() == list(WORDS)
    report = json.loads((artefact.parent / "lm.parity.json").read_text())
    assert [case["name"] for case in report["cases"]] == ["words in order", "noise 0", "noise 1"]
    assert all(set(case["max_abs_error_by_output"]) == {"logits", "hidden_out", "cell_out"} for case in report["cases"])
    model = onnx.load(artefact)
    assert (model.opset_import[0].version, model.ir_version) == (17, 8)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "torch"])
@pytest.mark.parametrize("tied_softmax", [True, False])
def test_every_runtime_gives_the_logits_of_the_sequence(
    command: Command, tmp_path: Path, runtime: str, tied_softmax: bool
) -> None:
    pytest.importorskip(runtime)
    artefact = exported(tmp_path, tied_softmax=tied_softmax)
    tokens = [3, 1, 4, 1, 5, 8, 2, 6]
    expected = sequence(trained(tied_softmax), tokens).numpy()
    states = {name: np.zeros((3, 1, 400), np.float32) for name in ("hidden", "cell")}
    with open_runner(artefact, runtime) as runner:
        for token, logits in zip(tokens, expected, strict=True):
            outputs = runner.infer({"token": np.array([token]), **states})
            np.testing.assert_allclose(outputs["logits"][0], logits, rtol=0, atol=1e-5)
            states = {name: outputs[f"{name}_out"].copy() for name in states}


def test_a_free_batch(command: Command, tmp_path: Path) -> None:
    artefact = exported(tmp_path, "--batch", "1,2,3")
    report = json.loads((artefact.parent / "lm.parity.json").read_text())
    assert {case["batch"] for case in report["cases"]} == {1, 2, 3}
    with open_runner(artefact, "onnxruntime") as runner:
        assert runner.inputs[1].shape == (3, "batch", 400)
        feeds = random_feeds(runner.inputs, batch=3, seed=0, source="lm.onnx")
        assert [array.shape for array in feeds.values()] == [(3,), (3, 3, 400), (3, 3, 400)]
        together = runner.infer(feeds)["logits"].copy()
        for i in range(3):
            alone = {
                name: array[:, i : i + 1] if array.ndim == 3 else array[i : i + 1] for name, array in feeds.items()
            }
            np.testing.assert_allclose(runner.infer(alone)["logits"][0], together[i], atol=1e-5)


@pytest.mark.parametrize("batch", [Batch(), Batch(1, 2, 4)])
def test_tensorrt_rtx_takes_the_file(command: Command, tmp_path: Path, batch: Batch) -> None:
    pytest.importorskip("tensorrt_rtx")
    builder = seam.find_builder("tensorrt-rtx")
    assert isinstance(builder, seam.Builder)
    text = f"{batch.minimum},{batch.optimum},{batch.maximum}" if batch.is_dynamic else "1"
    artefact = exported(tmp_path, "--batch", text)
    options = BuildOptions(compute_capabilities=("8.6", "8.9", "12.0"))
    engine = seam.engine_from_onnx(builder, artefact.read_bytes(), batch=batch, options=options)
    assert len(engine.data) > 1_000_000


def report_of_spoiled(spoil: Callable[[EruLm], None]) -> ParityReport:
    """The proof of a file that was exported from a network with other weights than the reference has."""
    other = trained()
    spoil(other)
    shapes = (
        ("token", "int64", (1,), "N"),
        ("hidden", "float32", (3, 1, 400), ""),
        ("cell", "float32", (3, 1, 400), ""),
    )
    inputs = [
        TensorInfo.model_validate({"name": name, "dtype": dtype, "shape": shape, "layout": layout, "meaning": ""})
        for name, dtype, shape, layout in shapes
    ]
    outputs = ["logits", "hidden_out", "cell_out"]
    model = onnx_from_torch(rewritten(other, None), inputs, output_names=outputs, batch=Batch(), metadata={})
    return prove_sequence_parity(trained(), model, batch=Batch(), onnx_sha256="0" * 64, on_case=lambda _: None)


def test_parity_finds_what_only_the_states_show() -> None:
    """A recurrent weight that is off by a little: the first step, from zeros, cannot tell."""

    def spoil(network: EruLm) -> None:
        cell = network.cells[2]
        assert isinstance(cell, EruCell)
        with torch.no_grad():
            cell.recurrent.weight[:, 7] += 0.05

    assert report_of_spoiled(lambda _: None).passed
    report = report_of_spoiled(spoil)
    assert not report.passed
    assert report.cases[0].max_abs_error > 1e-3
    assert STEPS == 200


def test_parity_finds_slopes_that_are_off_by_a_hundredth() -> None:
    """Seeded weights let the words differ enough for the proof to see a small fault in the first layer."""

    def spoil(network: EruLm) -> None:
        cell = network.cells[0]
        assert isinstance(cell, EruCell)
        with torch.no_grad():
            cell.transform.act.weight *= 1.01

    assert not report_of_spoiled(spoil).passed


def test_the_matrices_are_the_unit() -> None:
    network = create_model("lm", width_mult=1.5, num_classes=11)
    load_seeded_weights(network)
    token = torch.tensor([4, 7])
    states = torch.randn(2, 3, 2, 608, generator=torch.Generator().manual_seed(0)).unbind()
    with torch.inference_mode():
        for found, expected in zip(rewritten(network, None)(token, *states), network(token, *states), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_text_goes_on(command: Command, tmp_path: Path) -> None:
    """At temperature 0 each word is the most probable one after those before it, as the reference says."""
    artefact = exported(tmp_path)
    answer = tmp_path / "answer.json"
    outcome = command(
        run_main, "--engine", artefact, "--text", "the sea", "--words", 12, "--temperature", 0, "--json", answer
    )
    assert outcome.code == 0, outcome.err
    network, tokens = trained(), [0, 1]
    for _ in range(12):
        logits = sequence(network, tokens)[-1].clone()
        logits[WORDS.index("<unk>")] = -torch.inf
        tokens.append(int(logits.argmax()))
    said = json.loads(answer.read_text())
    assert [word["token"] for word in said["words"]] == tokens[2:]
    assert outcome.out.split() == [WORDS[t] for t in tokens if WORDS[t] != "<eos>"]
    assert outcome.out.count("\n") >= 1
    assert said["words"][0]["probability"] == pytest.approx(float(sequence(network, [0, 1])[-1].softmax(0)[tokens[2]]))


def test_the_seed_decides(command: Command, tmp_path: Path) -> None:
    artefact = exported(tmp_path)

    def text(*options: object) -> str:
        outcome = command(run_main, "--engine", artefact, "--text", "sea", "--words", 30, *options)
        assert outcome.code == 0, outcome.err
        return outcome.out

    assert text("--temperature", 2) == text("--temperature", 2)
    assert text("--temperature", 2) != text("--temperature", 2, "--seed", 1)
    assert text("--temperature", 2, "--top", 1) == text("--temperature", 0)
    assert "<unk>" not in text("--temperature", 100)


def test_unknown_words_are_told(command: Command, tmp_path: Path) -> None:
    outcome = command(run_main, "--engine", exported(tmp_path), "--text", "the ocean", "--words", 1)
    assert outcome.code == 0
    assert "read as <unk>: ocean" in outcome.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--text", "  "), "--text has no word"),
        ((), "give what it continues: --text"),
        (("photo.png",), "photo.png: lm is a language model and takes no photos"),
        (("--text", "sea", "--out", "folder"), "--out folder: a language model prints"),
        (("--text", "sea", "--words", "0"), "--words 0: give at least 1"),
        (("--text", "sea", "--temperature", "-1"), "--temperature -1.0: give 0"),
        (("--text", "sea", "--temperature", "nan"), "--temperature nan: give 0"),
        (("--text", "sea", "--top", "0"), "--top 0: give at least 1"),
        (("--text", "sea", "--seed", "-1"), "--seed -1: give at least 0"),
    ],
)
def test_wrong_requests(command: Command, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    outcome = command(run_main, "--engine", exported(tmp_path), *options)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert message in outcome.err


def test_a_vocabulary_that_does_not_fit(command: Command, tmp_path: Path) -> None:
    artefact = exported(tmp_path)
    other = tmp_path / "other.txt"
    other.write_text("one\ntwo\n")
    outcome = command(run_main, "--engine", artefact, "--text", "one", "--vocabulary", other)
    assert outcome.code == 2
    assert "other.txt: 2 words, the network has 9" in outcome.err
    (artefact.parent / "lm.vocabulary.txt").write_text("\n".join(reversed(WORDS)) + "\n")
    outcome = command(run_main, "--engine", artefact, "--text", "sea")
    assert outcome.code == 4
    assert "the manifest says" in outcome.err
    (artefact.parent / "lm.vocabulary.txt").unlink()
    outcome = command(run_main, "--engine", artefact, "--text", "sea")
    assert (outcome.code, "no such file" in outcome.err) == (2, True)


def test_a_checkpoint_with_other_words(command: Command, tmp_path: Path) -> None:
    weights, words = tmp_path / "best.pth", tmp_path / "words.txt"
    torch.save(trained().state_dict(), weights)
    words.write_text("one\ntwo\n")

    def refusal(*options: object) -> str:
        outcome = command(
            export_main, "lm", "--weights", weights, "--out", tmp_path / "out", "--engine", "none", *options
        )
        assert outcome.code == 2, outcome.err
        assert not (tmp_path / "out").exists()
        return outcome.last_line

    assert "ERU language model, 9 words" in refusal("--vocabulary", words)
    assert "asked for is ERU language model, 2 words" in refusal("--vocabulary", words)
    assert "9 words" in refusal()
    assert "10000 words" in refusal()
    assert "2 words, ptb has 10000" in refusal("--vocabulary", words, "--dataset", "ptb")
    assert "3 layers of 400 units; asked for" in refusal("--width", "2.0")
    assert "--size is for networks that take pictures" in refusal("--size", "64x64")
    assert "--photo is for networks that take pictures" in refusal("--photo", "a.png")
    assert "has no width 0.5" in refusal("--width", "0.5")


def test_words_are_not_for_networks_that_take_pictures(command: Command, tmp_path: Path) -> None:
    outcome = command(export_main, "cls", "--vocabulary", tmp_path / "words.txt", "--out", tmp_path / "out")
    assert outcome.code == 2
    assert "--vocabulary is for language models" in outcome.err


def test_a_manifest_that_lies_about_states(command: Command, tmp_path: Path) -> None:
    artefact = exported(tmp_path)
    path = manifest_path(artefact)
    honest = json.loads(path.read_text())
    lies: list[tuple[dict[str, Any], str]] = [
        ({"states": [{"input": "hidden", "output": "logits"}]}, "hidden cannot be fed with logits"),
        ({"states": []}, "takes token and states"),
        (
            {"preprocessing": None, "task": "segmentation"},
            "preprocessing is missing, which does not go with segmentation",
        ),
        ({"vocabulary": {**honest["vocabulary"], "name": "../../words.txt"}}, "is not the name of a file beside it"),
    ]
    for changes, message in lies:
        path.write_text(json.dumps({**honest, **changes}))
        outcome = command(run_main, "--engine", artefact, "--text", "sea")
        assert outcome.code in {2, 4}
        assert message in outcome.err


@pytest.mark.parametrize("damaged", [False, True])
def test_fp16_is_proven_over_all_steps(damaged: bool, tmp_path: Path) -> None:
    """Weights and products are float16; the states, which are fed back, are computed in float32 as they come and go."""
    model = onnx.load(exported(tmp_path))
    half, found = half_precision(model)
    assert list(half.graph.input) == list(model.graph.input)
    assert list(half.graph.output) == list(model.graph.output)
    assert found.float32_operators["makes answers and states of the last products"] > 20
    assert half.ByteSize() < 0.6 * model.ByteSize()
    if damaged:
        tensor = next(t for t in half.graph.initializer if t.name.startswith("cells.1.recurrent.weight"))
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float16(1.2), tensor.name))
    report = prove_sequence_parity(
        trained(), half, batch=Batch(), onnx_sha256="", on_case=lambda _: None, precision="fp16"
    )
    assert report.passed != damaged
    assert (report.precision, len(report.cases)) == ("fp16", 3)


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="no TensorRT-RTX wheel for this platform")
def test_an_engine_in_fp16(tmp_path: Path) -> None:
    half, _ = half_precision(onnx.load(exported(tmp_path)))
    builder = seam.find_builder("tensorrt-rtx")
    assert isinstance(builder, seam.Builder)
    engine = seam.engine_from_onnx(
        builder,
        half.SerializeToString(),
        batch=Batch(),
        precision="fp16",
        options=BuildOptions(compute_capabilities=("8.6", "8.9", "12.0")),
    )
    assert engine.info.precision == "fp16"
    assert len(engine.data) > 100_000
