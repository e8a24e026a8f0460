"""espnet-export as a user meets it: what it writes, what it refuses, what it leaves alone."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from conftest import Outcome
from espnet_edge.export import engine_from_onnx, job
from espnet_edge.export.cli import main
from espnet_edge.files import sha256_of
from espnet_edge.model.registry import create_model
from espnet_edge.model.seeded import load_seeded_weights
from espnet_edge.runtime.manifest import load_manifest

Command = Callable[..., Outcome]
SMALL = ("seg", "--width", "0.5", "--size", "64x64", "--weights", "random", "--engine", "none")
PROGRAM = (sys.executable, "-c", "from espnet_edge.export.cli import main; main()")


def snapshot(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.arange(90 * 120 * 3, dtype=np.uint32).reshape(90, 120, 3).astype(np.uint8)).save(path)
    return path


def test_an_export_from_end_to_end(command: Command, tmp_path: Path, photo: Path) -> None:
    out, summary = tmp_path / "out", tmp_path / "summary.json"
    arguments = [*SMALL[:-1], "auto", "--out", out, "--photo", photo, "--json", summary]
    outcome = command(main, *arguments)
    assert outcome.code == 0, outcome.err
    has_engine = isinstance(engine_from_onnx.find_builder("auto"), engine_from_onnx.Builder)
    expected = ["seg.onnx", "seg.onnx.json", "seg.parity.json"] + ["seg.trt", "seg.trt.json"] * has_engine
    assert sorted(path.name for path in out.iterdir()) == expected
    manifest = load_manifest(out / "seg.onnx")
    assert manifest is not None
    assert manifest.parity is not None
    assert manifest.parity.passed
    assert (manifest.task, manifest.width_mult, manifest.dataset) == ("segmentation", 0.5, "cityscapes")
    assert [c.name for c in manifest.classes][:3] == ["road", "sidewalk", "building"]
    assert manifest.weights.random
    assert "RANDOM WEIGHTS" in outcome.err
    assert manifest.params == 80342
    report = json.loads((out / "seg.parity.json").read_text())
    assert [case["name"] for case in report["cases"]] == ["formula", "noise 0", "noise 1", "photo.png"]
    assert report["onnx_sha256"] == manifest.file.sha256 == sha256_of(out / "seg.onnx")
    assert json.loads(summary.read_text())["manifest"]["file"]["sha256"] == manifest.file.sha256
    session = onnxruntime.InferenceSession(out / "seg.onnx", providers=["CPUExecutionProvider"])
    tensor = session.get_inputs()[0]
    assert (tensor.name, tensor.shape) == ("image", list(manifest.inputs[0].shape))
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["weights"])["random"] is True
    assert json.loads(metadata["classes"])[0] == "road"
    if has_engine:
        engine = load_manifest(out / "seg.trt")
        assert engine is not None
        assert engine.engine is not None
        assert engine.onnx.sha256 == manifest.file.sha256


def test_weights_from_a_file_are_named(command: Command, tmp_path: Path) -> None:
    network = create_model("seg", width_mult=0.5)
    load_seeded_weights(network, salt="mine")
    torch.save(network.state_dict(), tmp_path / "mine.pth")
    outcome = command(main, *SMALL[:5], "--engine", "none", "--weights", tmp_path / "mine.pth", "--out", tmp_path / "o")
    assert outcome.code == 0, outcome.err
    assert "WARNING" not in outcome.err
    manifest = load_manifest(tmp_path / "o" / "seg.onnx")
    assert manifest is not None
    assert not manifest.weights.random
    assert manifest.weights.source == str(tmp_path / "mine.pth")
    assert manifest.weights.sha256 == sha256_of(tmp_path / "mine.pth")
    # The manifest says where it was; the file itself, which travels, says nothing of the machine.
    data = (tmp_path / "o" / "seg.onnx").read_bytes()
    assert b"mine.pth" in data
    assert str(tmp_path).encode() not in data


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["alexnet"], 2, ["'alexnet' is unknown", "there are cls, seg"]),
        (["seg", "--width", "3"], 2, ["no width 3.0", "0.5, 1.0, 1.25, 1.5, 2.0"]),
        (["seg", "--width", "wide"], 2, ["--width", "--help"]),
        (["seg", "--dataset", "kitti"], 2, ["'kitti' is unknown", "cityscapes"]),
        (["seg", "--dataset", "imagenet"], 2, ["no form for data set imagenet", "cityscapes, voc"]),
        (["cls", "--dataset", "voc"], 2, ["no form for data set voc", "there are imagenet, coco"]),
        (["mobilenetv2", "--dataset", "coco"], 2, ["no form for data set coco", "there are imagenet"]),
        (["seg", "--size", "360x640"], 2, ["360x640", "0 or 15 modulo 16", "352x640", "367x640"]),
        (["seg", "--size", "1080x1920"], 2, ["1072x1920", "1087x1920"]),
        (["seg", "--size", "16x16"], 2, ["32 to 8192", "32x32"]),
        (["seg", "--size", "large"], 2, ["'large'", "512x1024"]),
        (["seg", "--batch", "0"], 2, ["'0'", "MIN,OPT,MAX"]),
        (["seg", "--batch", "4,2,1"], 2, ["'4,2,1'", "ascend"]),
        (["seg", "--io", "cooked"], 2, ["'cooked'", "deploy, raw"]),
        (["cls", "--io", "lowres"], 2, ["--io lowres", "last upsampling of a segmentation", "espnetv2_cls has none"]),
        (["lm", "--io", "lowres"], 2, ["--io lowres", "eru_lm has none: leave it out"]),
        (["seg", "--precision", "fp64"], 2, ["'fp64'", "fp32, fp16, int8"]),
        (["seg", "--precision", "int8"], 2, ["int8 needs --calibration DIR"]),
        (["lm", "--precision", "int8", "--calibration", "photos"], 2, ["eru_lm has none", "--precision fp16"]),
        (["seg", "--precision", "fp16", "--calibration", "photos"], 2, ["--calibration is for --precision int8"]),
        (["seg", "--min-agreement", "0.9"], 2, ["--min-agreement is for --precision int8, not for fp32"]),
        (["seg", "--precision", "int8", "--calibration", "nowhere"], 2, ["--calibration nowhere: no such folder"]),
        (
            ["seg", "--precision", "int8", "--calibration", "/", "--min-agreement", "98"],
            2,
            ["--min-agreement 98", "0.98"],
        ),
        (["seg", "--engine", "tvm"], 2, ["'tvm'", "tensorrt-rtx"]),
        (["seg", "--weights", "nowhere.pth"], 2, ["nowhere.pth", "no such file"]),
        (["seg", "--photo", "nowhere.jpg"], 2, ["nowhere.jpg", "no such file"]),
        (["seg", "--frobnicate"], 2, ["--frobnicate", "--help"]),
        (["seg", "--compute-capability", "ampere"], 2, ["'ampere'", "8.6"]),
        (["seg", "--compute-capability", "8.6", "--engine", "none"], 2, ["--engine none"]),
        (["seg", "--workspace", "64", "--engine", "none"], 2, ["--workspace is for engines", "--engine none"]),
        (["seg", "--compatible", "everything"], 2, ["'everything'", "version, ampere+, same-compute-capability"]),
        (["seg", "--timing-cache", "/nowhere/timings"], 2, ["/nowhere/timings", "folder that is there"]),
        (["seg", "--size", "8192x8192", "--batch", "99"], 2, ["GB", "lower --batch or --size"]),
        (["seg", "--json", "/nowhere/x.json"], 2, ["/nowhere/x.json", "folder that is there"]),
        ([], 2, ["MODEL"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_input(arguments: list[str], code: int, words: list[str], command: Command, tmp_path: Path) -> None:
    outcome = command(main, *arguments, "--out", tmp_path / "out")
    assert outcome.code == code
    assert all(word in outcome.last_line for word in words), outcome.last_line
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "out").exists()
    if "--size" in arguments or "--width" in arguments:
        assert len(outcome.err.splitlines()) == 1


def test_the_summary_replaces_no_artefact(command: Command, tmp_path: Path) -> None:
    outcome = command(main, *SMALL, "--out", tmp_path, "--json", tmp_path / "seg.onnx")
    assert (outcome.code, "would replace a file of this command" in outcome.last_line) == (2, True)
    assert not (tmp_path / "seg.onnx").exists()


@pytest.fixture
def earlier(command: Command, tmp_path: Path) -> Path:
    """A folder with an earlier export."""
    assert command(main, *SMALL, "--out", tmp_path / "out").code == 0
    return tmp_path / "out"


def fail(error: BaseException) -> Callable[..., Any]:
    def raise_it(*_: Any, **__: Any) -> Any:
        raise error

    return raise_it


def test_failures_keep_the_earlier_export(
    command: Command, earlier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One folder, many mishaps: after each the earlier files are as they were and nothing else is there."""
    before = snapshot(earlier)
    (tmp_path / "bad.pth").write_bytes(b"<html>404</html>")
    outcome = command(main, *SMALL[:5], "--engine", "none", "--weights", tmp_path / "bad.pth", "--out", earlier)
    assert (outcome.code, "not a checkpoint" in outcome.last_line) == (2, True)
    assert snapshot(earlier) == before

    with monkeypatch.context() as patch:
        patch.setattr(job, "onnx_from_torch", fail(KeyboardInterrupt()))
        outcome = command(main, *SMALL, "--out", earlier)
    assert (outcome.code, outcome.last_line) == (130, "espnet-export: interrupted; no file is half written")
    assert snapshot(earlier) == before

    with monkeypatch.context() as patch:
        patch.setattr(job, "write_engine", fail(job.CheckError("the parser refused it")))
        outcome = command(main, *SMALL[:-1], "tensorrt-rtx", "--out", earlier)
    assert outcome.code in {3, 4}  # 3 where there is no TensorRT-RTX for this platform
    assert snapshot(earlier) == before
    assert not [path for path in earlier.iterdir() if path.name.startswith(".")]


def test_missed_parity(command: Command, earlier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot(earlier)
    rewrite = job.rewritten

    def wrong(network: Any, size: tuple[int, int]) -> Any:
        network = rewrite(network, size)
        network.network.encoder.stem.conv.weight.data *= 1.01
        return network

    monkeypatch.setattr(job, "rewritten", wrong)
    outcome = command(main, *SMALL, "--out", earlier)
    assert outcome.code == 4
    assert "parity missed on input 'formula'" in outcome.last_line
    assert "allowed 1.00e-03" in outcome.last_line
    after = snapshot(earlier)
    failed = json.loads((earlier / "seg.parity.failed.json").read_text())
    assert not failed["passed"]
    del after["seg.parity.failed.json"]
    assert after == before
    monkeypatch.undo()
    assert command(main, *SMALL, "--out", earlier).code == 0
    assert snapshot(earlier) == before  # the report of the failure is gone, and the bytes are the same again


def test_an_engine_of_an_earlier_export_is_pointed_out(command: Command, earlier: Path) -> None:
    manifest = load_manifest(earlier / "seg.onnx")
    assert manifest is not None
    (earlier / "seg.trt").write_bytes(b"old engine")
    manifest.model_copy(update={"onnx": manifest.onnx.model_copy(update={"sha256": "0" * 64})}).write(
        earlier / "seg.trt"
    )
    outcome = command(main, *SMALL, "--out", earlier)
    assert outcome.code == 0
    assert "seg.trt is from an earlier export" in outcome.err
    assert (earlier / "seg.trt").read_bytes() == b"old engine"


def test_a_file_in_the_way(command: Command, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    outcome = command(main, *SMALL, "--out", tmp_path / "out")
    assert outcome.code == 2
    assert "a file is in the way" in outcome.last_line
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder that nobody may write to")
def test_no_permission(command: Command) -> None:
    outcome = command(main, *SMALL, "--out", "/sys/kernel/espnet-edge")
    assert outcome.code == 2
    assert "check its permissions" in outcome.last_line


def test_staging_folders_of_killed_processes_are_removed(command: Command, tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    abandoned, alive = tmp_path / f".staged-{int(dead.stdout)}-x", tmp_path / f".staged-{os.getpid()}-x"
    for folder in (abandoned, alive):
        folder.mkdir()
        (folder / "half").write_text("half")
    assert command(main, "seg", "--weights", "nowhere", "--out", tmp_path).code == 2
    assert (abandoned.exists(), alive.exists()) == (False, True)


@pytest.mark.slow
def test_a_disk_that_is_too_small(earlier: Path) -> None:
    """The limit on file sizes makes a real write of a real process fail half-way."""
    before = snapshot(earlier)
    done = subprocess.run(
        [*PROGRAM, *SMALL, "--io", "raw", "--out", str(earlier)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert done.returncode == 2
    assert "File too large" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert snapshot(earlier) == before


@pytest.mark.slow
def test_control_c(earlier: Path) -> None:
    before = snapshot(earlier)
    arguments = [*PROGRAM, *SMALL, "--io", "raw", "--out", str(earlier)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(earlier.glob(".staged-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "espnet-export: interrupted; no file is half written"
    assert "Traceback" not in err
    assert snapshot(earlier) == before
    assert not list(earlier.glob(".staged-*"))


@pytest.mark.slow
@pytest.mark.skipif(
    isinstance(engine_from_onnx.find_builder("auto"), str), reason="no engine can be built on this machine"
)
def test_control_c_while_the_engine_is_built(tmp_path: Path) -> None:
    """The library calls back into Python there; whatever the moment, the user reads one line of ours and no more."""
    arguments = [*PROGRAM, *SMALL[:-1], "auto", "--out", str(tmp_path / "out")]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines: list[str] = []
        while "engine (" not in (line := process.stderr.readline()):
            assert line, lines
            lines.append(line)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode in {0, 130}  # 0 where it was done before the signal came
    if process.returncode == 130:
        assert rest.splitlines() == ["espnet-export: interrupted; no file is half written"]
        assert not (tmp_path / "out").exists()


def test_help_needs_no_heavy_library() -> None:
    blocked = "; ".join(f"sys.modules[{name!r}] = None" for name in ("torch", "onnx", "onnxruntime", "openvino"))
    program = f"import sys; {blocked}; from espnet_edge.export.cli import main; main()"
    for arguments, code in ((["--help"], 0), (["seg", "--out", "x"], 3)):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "COLUMNS": "100"},
        )
        assert done.returncode == code, done.stderr
    assert "pip install 'espnet-edge[export]'" in done.stderr


@pytest.mark.shared
def test_published_weights_and_a_photo(command: Command, shared: Path, tmp_path: Path, own_cache: Path) -> None:
    name = "espnetv2_s_0.5_city_512x256.pth"
    (own_cache / name).write_bytes((shared / "weights" / name).read_bytes())
    photo = shared / "golden/seg/photos/sample2_512x256.png"
    outcome = command(
        main, "seg", "--width", 0.5, "--size", "256x512", "--engine", "none", "--photo", photo, "--out", tmp_path / "o"
    )
    assert outcome.code == 0, outcome.err
    assert "WARNING" not in outcome.err
    manifest = load_manifest(tmp_path / "o/seg.onnx")
    assert manifest is not None
    assert manifest.weights.source == name
    assert not manifest.weights.random
    with np.load(shared / "golden/seg/espnetv2_s_0.5_city_512x256.npz") as golden:
        expected = golden["sample2__argmax"]
    pixels = np.asarray(Image.open(photo))[None]
    session = onnxruntime.InferenceSession(tmp_path / "o/seg.onnx", providers=["CPUExecutionProvider"])
    labels = session.run(None, {"image": pixels})[0]
    assert (labels[0] == expected).mean() >= 0.9999
