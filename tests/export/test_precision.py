"""espnet-export --precision: what it writes, how it searches, and when it gives up."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from conftest import Outcome
from espnet_edge.export import ExportOptions, job
from espnet_edge.export.cli import main
from espnet_edge.export.onnx_from_torch import Batch
from espnet_edge.export.parity import equal_answers, picture_inputs
from espnet_edge.files import sha256_of
from espnet_edge.model.registry import get_spec
from espnet_edge.runtime.manifest import Manifest, load_manifest
from espnet_edge.runtime.runner import open_runner
from pictures import scene, write_scenes

Command = Callable[..., Outcome]
SMALL = ("seg", "--width", "0.5", "--size", "64x64", "--weights", "random", "--engine", "none")


def manifest_of(artefact: Path) -> Manifest:
    manifest = load_manifest(artefact)
    assert manifest is not None
    assert manifest.parity is not None
    assert manifest.parity.passed
    return manifest


def described_precision(artefact: Path) -> str:
    return {entry.key: entry.value for entry in onnx.load(artefact).metadata_props}["precision"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures, one of them broken."""
    folder = write_scenes(tmp_path_factory.mktemp("photos"), 11)
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def test_fp16_from_end_to_end(command: Command, tmp_path: Path, fp32: Path) -> None:
    outcome = command(main, *SMALL, "--precision", "fp16", "--out", tmp_path)
    assert outcome.code == 0, outcome.err
    assert "fp16: image uint8 (1, 64, 64, 3) -> labels uint8 (1, 64, 64)" in outcome.out
    full, half = manifest_of(fp32 / "seg.onnx"), manifest_of(tmp_path / "seg.onnx")
    assert (full.precision, half.precision) == ("fp32", "fp16")
    assert described_precision(fp32 / "seg.onnx") == "fp32"
    assert described_precision(tmp_path / "seg.onnx") == "fp16"
    assert (half.inputs, half.outputs) == (full.inputs, full.outputs)
    assert half.file.bytes < 0.65 * full.file.bytes
    report = json.loads((tmp_path / "seg.parity.json").read_text())
    assert report["precision"] == "fp16"
    assert report["half_precision"]["float16_operators"] > 300
    pixels = scene(3)[np.newaxis]
    with open_runner(tmp_path / "seg.onnx") as runner:
        assert runner.infer({"image": pixels})["labels"].shape == (1, 64, 64)


def test_int8_from_end_to_end(command: Command, tmp_path: Path, photos: Path) -> None:
    options = (*SMALL, "--precision", "int8", "--calibration", photos)
    outcome = command(main, *options, "--min-agreement", "0.995", "--out", tmp_path)
    assert outcome.code == 0, outcome.err
    assert "1 calibration pictures skipped; the first: broken.jpg: not a picture" in outcome.err
    assert "9 calibration pictures are few" in outcome.err
    assert "on photos held out" in outcome.out
    manifest = manifest_of(tmp_path / "seg.onnx")
    assert (manifest.precision, described_precision(tmp_path / "seg.onnx")) == ("int8", "int8")
    parity, chosen = manifest.parity, manifest.quantisation
    assert parity is not None
    assert chosen is not None
    report = json.loads((tmp_path / "seg.parity.json").read_text())
    found = report["int8"]
    assert parity.label_agreement == found["agreement"] >= parity.label_agreement_tolerance == 0.995
    assert parity.held_out_agreement == found["held_out_agreement"] > 0.9
    assert parity.max_abs_error_tolerance is None
    assert found["naive_agreement"] < 0.995 <= found["float16_agreement"]
    assert len(found["calibration_pictures"]) == chosen.calibration_pictures == 9
    assert found["held_out_pictures"] == ["04.png", "09.png"]
    assert [case["name"] for case in report["cases"]] == found["calibration_pictures"] + found["held_out_pictures"]
    # The blocks that were kept are the worst ones, and the file has int8 where the table says so.
    blocks = found["blocks"]
    assert [block["agreement_alone"] for block in blocks] == sorted(block["agreement_alone"] for block in blocks)
    kept = [block["name"] for block in blocks if block["kept"]]
    assert 0 < len(kept) < len(blocks)
    assert kept == [block["name"] for block in blocks][: len(kept)] == list(chosen.kept_blocks)
    model = onnx.load(tmp_path / "seg.onnx")
    int8_weights = [n.input[0] for n in model.graph.node if n.op_type == "QuantizeLinear" and ".weight" in n.input[0]]
    assert len(int8_weights) == found["int8_convolutions"] == chosen.int8_convolutions
    assert not [weight for weight in int8_weights for block in kept if f".{block}." in weight]
    assert sum(block["convolutions"] for block in blocks if not block["kept"]) == len(int8_weights)
    assert 0 < chosen.int8_macs_share < sum(block["macs_share"] for block in blocks) < 1


def test_pictures_fill_every_batch() -> None:
    pictures = [(f"{number}.png", scene(number, (32, 48))) for number in range(3)]
    spec = get_spec("seg")
    fixed = dict(picture_inputs(spec, "deploy", Batch(2, 2, 2), pictures))
    assert list(fixed) == ["0.png, 1.png", "2.png, 0.png"]
    np.testing.assert_array_equal(fixed["2.png, 0.png"], [pictures[2][1], pictures[0][1]])
    free = dict(picture_inputs(spec, "raw", Batch(1, 2, 4), pictures))
    assert {name: array.shape for name, array in free.items()} == {
        **dict.fromkeys(["0.png", "1.png", "2.png"], (1, 3, 32, 48)),
        "batch of 2": (2, 3, 32, 48),
        "batch of 4": (4, 3, 32, 48),
    }


def test_only_what_is_seen_counts_as_an_answer() -> None:
    """That both files see nothing in most places must not hide that they see different things."""
    reference = np.array([[0, 0, 0, 0, 5, 7]])
    labels = np.array([[0, 0, 0, 3, 5, 8]])
    assert equal_answers(labels, reference, "detection") == (1, 3)
    assert equal_answers(labels, reference, "segmentation") == (4, 6)
    assert equal_answers(labels > 0, reference > 0, "multi_label") == (2, 3)


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export at fp32, made once; also before any test has its own cache, as random weights need none."""
    folder = tmp_path_factory.mktemp("fp32")
    job.export(
        ExportOptions(model="seg", out=folder, width_mult=0.5, size=(64, 64), weights="random", engine="none"),
        job.Progress(),
    )
    return folder


@pytest.fixture
def earlier(fp32: Path, tmp_path: Path) -> dict[str, str]:
    """An earlier export in `tmp_path`."""
    shutil.copytree(fp32, tmp_path, dirs_exist_ok=True)
    return snapshot(tmp_path)


def snapshot(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in folder.iterdir() if path.is_file() and "failed" not in path.name}


def test_an_agreement_that_no_choice_holds(
    command: Command, tmp_path: Path, photos: Path, earlier: dict[str, str]
) -> None:
    options = (*SMALL, "--precision", "int8", "--calibration", photos, "--min-agreement", "1")
    outcome = command(main, *options, "--out", tmp_path)
    assert outcome.code == 4
    assert "no choice of int8 blocks keeps 1 of them: lower --min-agreement" in outcome.last_line
    assert snapshot(tmp_path) == earlier
    failed = json.loads((tmp_path / "seg.parity.failed.json").read_text())
    assert (failed["passed"], failed["int8"]["passed"], failed["int8"]["int8_convolutions"]) == (False, False, 0)
    assert all(block["kept"] for block in failed["int8"]["blocks"])


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_file_that_breaks_after_the_search_is_not_delivered(
    precision: str,
    command: Command,
    tmp_path: Path,
    photos: Path,
    earlier: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    convert, search = job.half_precision, job.quantise_what_survives

    def swap_colours(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name.endswith("normalise.scale"))
        tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))

    def broken_half(model: onnx.ModelProto) -> Any:
        half, report = convert(model)
        swap_colours(half)
        return half, report

    def broken_search(*arguments: Any, **options: Any) -> Any:
        found = search(*arguments, **options)
        swap_colours(found.model)
        return replace(found)

    monkeypatch.setattr(job, "half_precision", broken_half)
    monkeypatch.setattr(job, "quantise_what_survives", broken_search)
    calibration = ("--calibration", photos) if precision == "int8" else ()
    outcome = command(main, *SMALL, "--precision", precision, *calibration, "--out", tmp_path)
    assert outcome.code == 4
    assert "parity missed" in outcome.last_line
    if precision == "int8":
        assert "on the calibration pictures (required 0.98)" in outcome.last_line
    assert snapshot(tmp_path) == earlier
    failed = json.loads((tmp_path / "seg.parity.failed.json").read_text())
    assert (failed["passed"], failed["precision"]) == (False, precision)
