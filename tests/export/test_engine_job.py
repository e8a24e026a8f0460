"""espnet-export FILE.onnx: only the engine, on a device without PyTorch, from a file that is what its manifest says."""

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Outcome
from espnet_edge.errors import InputError, UnavailableError
from espnet_edge.export import engine_job
from espnet_edge.export.batch import Batch
from espnet_edge.export.cli import main
from espnet_edge.export.engine_job import EngineOptions, build_engine
from espnet_edge.export.progress import Progress
from espnet_edge.files import sha256_of
from espnet_edge.runtime.manifest import FileInfo, Manifest, TensorInfo, load_manifest
from networks import multi_label_folder
from typed_models import typed_model

Command = Callable[..., Outcome]
needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="no TensorRT-RTX wheel for this platform"
)
HEAVY = ("torch", "onnx", "onnxscript", "onnxruntime", "openvino")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An exported file with its manifest; batch 1."""
    for name in ("cls.onnx", "cls.onnx.json"):
        shutil.copy(multi_label_folder() / name, tmp_path / name)
    return tmp_path / "cls.onnx"


def change(file: Path, model: bytes | None = None, **fields: Any) -> Manifest:
    """Another file in place of `file`, or another manifest, which fit each other."""
    if model is not None:
        file.write_bytes(model)
    manifest = Manifest.model_validate_json(file.with_name(f"{file.name}.json").read_bytes())
    info = FileInfo(name=file.name, sha256=sha256_of(file), bytes=file.stat().st_size)
    changed = manifest.model_copy(update={"file": info, **fields})
    changed.write(file)
    return changed


@needs_rtx
def test_only_the_engine_is_built_without_pytorch(file: Path) -> None:
    blocked = "; ".join(f"sys.modules[{name!r}] = None" for name in HEAVY)
    program = f"import sys; {blocked}; from espnet_edge.export.cli import main; main()"
    out, summary = file.parent / "out", file.parent / "summary.json"
    arguments = [str(file), "--engine", "tensorrt-rtx", "--compute-capability", "8.9", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments, "--json", str(summary)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "WARNING" in done.stderr) == (0, False), done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["cls.trt", "cls.trt.json"]
    source, engine = load_manifest(file), load_manifest(out / "cls.trt")
    assert source is not None
    assert engine is not None
    assert engine.engine is not None
    assert engine.engine.compute_capabilities == ("8.9",)
    assert engine.onnx.sha256 == sha256_of(file)
    assert engine.parity is None
    same = {"file", "engine", "parity"}
    assert engine.model_dump(exclude=same) == source.model_dump(exclude=same)
    assert json.loads(summary.read_text())["engine"]["file"]["sha256"] == sha256_of(out / "cls.trt")
    assert f"{out / 'cls.trt'}  " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--width", "2.0"], "--width is for exporting a network"),
        (["--weights", "random"], "--weights is for exporting a network"),
        (["--io", "raw"], "--io is for exporting a network"),
        (["--photo", "x.jpg"], "--photo is for exporting a network"),
        (["--precision", "fp16"], "was exported in fp32, and an engine keeps the types"),
        (["--precision", "fp64"], "'fp64' is unknown; there are fp32, fp16, int8"),
        (["--batch", "4"], "was exported for a batch of 1"),
        (["--batch", "1,1,4"], "was exported for a batch of 1"),
        (["--engine", "none"], "an engine is all that can be made"),
        (["--engine", "tvm"], "'tvm' is unknown"),
        (["--compatible", "all"], "'all' is unknown; there are version, ampere+, same-compute-capability"),
        (["--timing-cache", "/nowhere/x"], "name a file in a folder that is there"),
        (["--json", "CLS"], "would replace a file of this command"),
        (["--timing-cache", "CLS"], "would replace a file of this command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_options(arguments: list[str], words: str, command: Command, file: Path) -> None:
    given = [str(file) if argument == "CLS" else argument for argument in arguments]
    outcome = command(main, file, *given, "--out", file.parent / "out")
    assert outcome.code == 2, outcome.err
    assert words in outcome.last_line
    assert not (file.parent / "out").exists()


def test_a_file_that_is_not_what_its_manifest_says(command: Command, file: Path) -> None:
    arguments = ("--out", file.parent / "out")
    file.write_bytes(file.read_bytes() + b"\x00")
    outcome = command(main, file, *arguments)
    assert (outcome.code, "its manifest says" in outcome.last_line) == (4, True)
    file.with_name("cls.onnx.json").unlink()
    outcome = command(main, file, *arguments)
    assert (outcome.code, "no manifest cls.onnx.json" in outcome.last_line) == (4, True)
    outcome = command(main, file.with_name("gone.onnx"), *arguments)
    assert (outcome.code, "no such file" in outcome.last_line) == (2, True)
    assert not (file.parent / "out").exists()


@needs_rtx
def test_failures_keep_the_earlier_engine(command: Command, file: Path) -> None:
    arguments = ("--engine", "tensorrt-rtx", "--out", file.parent)
    assert command(main, file, *arguments).code == 0
    before = {name: (file.parent / name).read_bytes() for name in ("cls.trt", "cls.trt.json")}
    model = typed_model("fp32")
    model.graph.node[0].op_type = "Unique"
    change(file, model.SerializeToString())
    outcome = command(main, file, *arguments)
    assert outcome.code == 4
    assert "does not accept the ONNX file: Unique conv_a: " in outcome.last_line
    assert {name: (file.parent / name).read_bytes() for name in before} == before
    assert not list(file.parent.glob(".staged-*"))


@needs_rtx
def test_control_c_keeps_the_earlier_engine(command: Command, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file.parent / "cls.trt").write_bytes(b"earlier engine")
    build = engine_job.engine_from_onnx

    def interrupted(*arguments: Any, progress: Progress, **named: Any) -> Any:
        class Pressing(Progress):
            def part(self, text: str, share: float) -> None:
                progress.part(text, share)
                signal.raise_signal(signal.SIGINT)

        return build(*arguments, progress=Pressing(), **named)

    monkeypatch.setattr(engine_job, "engine_from_onnx", interrupted)
    outcome = command(main, file, "--engine", "tensorrt-rtx", "--out", file.parent)
    assert (outcome.code, outcome.last_line) == (130, "espnet-export: interrupted; no file is half written")
    assert (file.parent / "cls.trt").read_bytes() == b"earlier engine"
    assert not list(file.parent.glob(".staged-*"))


@needs_rtx
def test_a_free_batch_must_be_chosen(file: Path) -> None:
    free = (TensorInfo(name="image", dtype="float32", shape=("batch", 4, 8, 8), layout="", meaning=""),)
    change(file, typed_model("fp32", "batch").SerializeToString(), inputs=free)
    options = EngineOptions(onnx=file, out=file.parent / "out", engine="tensorrt-rtx")
    with pytest.raises(InputError, match="takes any batch: say which with --batch MIN,OPT,MAX"):
        build_engine(options, Progress())
    result = build_engine(EngineOptions(onnx=file, out=options.out, batch=Batch(1, 2, 8)), Progress())
    assert result.manifest.engine is not None
    assert result.manifest.engine.profile is not None
    assert result.manifest.engine.profile.maximum == 8
    # One size for a free batch is a profile of one size.
    result = build_engine(EngineOptions(onnx=file, out=options.out, batch=Batch(4, 4, 4)), Progress())
    assert result.manifest.smallest_batch == 4


@needs_rtx
def test_the_words_of_a_language_model_come_along(file: Path) -> None:
    words = file.with_name("cls.vocabulary.txt")
    words.write_text("the\nsea\n")
    info = FileInfo(name=words.name, sha256=sha256_of(words), bytes=words.stat().st_size)
    change(file, typed_model("fp32").SerializeToString(), vocabulary=info)
    options = EngineOptions(onnx=file, out=file.parent / "out", engine="tensorrt-rtx")
    build_engine(options, Progress())
    assert (options.out / words.name).read_text() == "the\nsea\n"
    words.write_text("the\nland\n")
    with pytest.raises(engine_job.CheckError, match=r"the manifest of .* says"):
        build_engine(options, Progress())
    words.unlink()
    with pytest.raises(InputError, match="names it, and it is not there"):
        build_engine(options, Progress())
    assert (options.out / words.name).read_text() == "the\nsea\n"


def test_an_engine_is_no_source_of_engines(file: Path) -> None:
    info = {
        "builder": "tensorrt",
        "builder_version": "10.3.0",
        "precision": "fp32",
        "compute_capabilities": (),
        "device": "Orin",
        "profile": None,
    }
    manifest = json.loads(file.with_name("cls.onnx.json").read_text())
    file.with_name("cls.onnx.json").write_text(json.dumps({**manifest, "engine": info}))
    with pytest.raises(InputError, match="is an engine by tensorrt; name the ONNX file"):
        build_engine(EngineOptions(onnx=file, out=file.parent), Progress())


def test_without_any_builder_there_is_nothing_to_do(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_job, "find_builder", lambda choice: "TensorRT needs a GPU (no CUDA driver)")
    with pytest.raises(UnavailableError, match=r"no engine can be built here: TensorRT needs a GPU"):
        build_engine(EngineOptions(onnx=file, out=file.parent / "out"), Progress())
    assert not (file.parent / "out").exists()
