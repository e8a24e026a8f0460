"""Building with trtexec: the command line for each version, and a program that answers as each version does."""

import contextlib
import json
import os
import signal
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from espnet_edge.errors import CheckError, InputError, UnavailableError
from espnet_edge.export import builders
from espnet_edge.export import engine_from_onnx as seam
from espnet_edge.export.batch import Batch
from espnet_edge.export.build_options import BuildOptions
from espnet_edge.export.build_request import BuildRequest
from espnet_edge.export.cli import main
from espnet_edge.export.progress import Progress
from espnet_edge.export.trtexec_build import command_line, error_lines
from espnet_edge.runtime import trtexec_program
from espnet_edge.runtime.cuda_probe import CudaProbe
from espnet_edge.runtime.manifest import TensorInfo
from espnet_edge.runtime.trtexec_program import Program, banner_version
from networks import multi_label_folder
from typed_models import typed_model

COMMON = "onnx saveEngine exportLayerInfo profilingVerbosity memPoolSize timingCacheFile minShapes optShapes maxShapes "
COMMON += "useDLACore allowGPUFallback"
SINCE_8_6 = "skipInference versionCompatible excludeLeanRuntime hardwareCompatibilityLevel"
# Of the help of trtexec in the releases 8.5, 8.6, 10.3 and 11.1 of github.com/NVIDIA/TensorRT, what matters here.
OPTIONS = {
    "v8502": f"{COMMON} buildOnly fp16 int8",
    "v8601": f"{COMMON} {SINCE_8_6} fp16 int8",
    "v100300": f"{COMMON} {SINCE_8_6} stronglyTyped fp16 int8",
    "v110100": f"{COMMON} {SINCE_8_6} stronglyTyped",
}
NUMBERS = {"v8502": "8.5.2", "v8601": "8.6.1", "v100300": "10.3.0", "v110100": "11.1.0"}
FOLDER = Path("work")
INPUTS = (
    TensorInfo(name="token", dtype="int64", shape=("batch",), layout="N", meaning=""),
    TensorInfo(name="hidden", dtype="float32", shape=(3, "batch", 400), layout="LNU", meaning=""),
)
# A program that knows these options only, and does what the file beside it says.
TRTEXEC = r"""#!{python}
import json, sys, time
from pathlib import Path
behaviour = json.loads(Path(__file__).with_name("behaviour.json").read_text())
print(f"&&&& RUNNING TensorRT.trtexec [TensorRT {banner}] # trtexec")
given = dict(argument.lstrip("-").partition("=")[::2] for argument in sys.argv[1:])
if "help" in given:
    print("=== Model Options ===")
    for option in {options!r}.split():
        print(f"  --{{option}}=<value>   What it does")
    sys.exit(0)
with Path(__file__).with_name("calls.txt").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\n")
for unknown in given.keys() - set({options!r}.split()):
    print(f"[11/23/2026-10:00:00] [E] Unknown option: --{{unknown}}")
    sys.exit(1)
typing = "strong" if {banner!r} == "v110100" or "stronglyTyped" in given else "weak"
if typing in behaviour.get("refuses", []):
    print("[11/23/2026-10:00:00] [I] Start parsing network model.")
    for line in behaviour["says"]:
        print(f"[11/23/2026-10:00:01] [E] {{line}}")
    print("&&&& FAILED TensorRT.trtexec [TensorRT {banner}] # trtexec")
    sys.exit(1)
Path(given["saveEngine"]).write_bytes(b"half an en")
time.sleep(behaviour.get("seconds", 0))
Path(given["saveEngine"]).write_bytes(b"plan of " + Path(given["onnx"]).read_bytes()[-4:])
if "timingCacheFile" in given:
    known = Path(given["timingCacheFile"])
    known.write_bytes((known.read_bytes() if known.exists() else b"") + b"+timings")
layers = [{{"LayerType": "CaskConvolution", "Inputs": [{{"Format/Datatype": text}}]}} for text in behaviour["layers"]]
Path(given["exportLayerInfo"]).write_text(json.dumps({{"Layers": layers, "Bindings": []}}))
print("&&&& PASSED TensorRT.trtexec [TensorRT {banner}] # trtexec")
"""


class Machine:
    """A machine with a GPU and a trtexec on PATH."""

    def __init__(self, folder: Path, banner: str) -> None:
        self.folder = folder
        program = folder / "trtexec"
        program.write_text(TRTEXEC.format(python=sys.executable, banner=banner, options=OPTIONS[banner]))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.behave(layers=["Half", "Half", "Row major Int8 format", "Row major linear FP32"])

    def behave(self, **behaviour: Any) -> None:
        self.behaviour = {**getattr(self, "behaviour", {}), **behaviour}
        (self.folder / "behaviour.json").write_text(json.dumps(self.behaviour))

    @property
    def calls(self) -> list[list[str]]:
        path = self.folder / "calls.txt"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def builder(self) -> seam.Builder:
        found = seam.find_builder("trtexec")
        assert isinstance(found, seam.Builder)
        return found

    def build(self, precision: Any = "fp32", *, progress: Progress | None = None, **options: Any) -> seam.Engine:
        return seam.engine_from_onnx(
            self.builder(),
            typed_model(precision).SerializeToString(),
            batch=Batch(),
            precision=precision,
            options=BuildOptions(**options),
            progress=progress or Progress(),
            log_file=self.folder / "seg.trtexec.log",
        )


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    def machine(banner: str) -> Machine:
        folder = tmp_path / "bin"
        folder.mkdir()
        monkeypatch.setattr(builders, "probe_cuda", lambda: CudaProbe("Orin", "found", compute_capability="8.7"))
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return Machine(folder, banner)

    return machine


def line(banner: str, precision: Any, typing: Any = "weak", batch: Batch | None = None, **options: Any) -> list[str]:
    program = Program(Path("trtexec"), NUMBERS[banner], frozenset(OPTIONS[banner].split()))
    request = BuildRequest(b"", batch or Batch(), precision, BuildOptions(**options), INPUTS if batch else ())
    return command_line(program, FOLDER, typing, request)


@pytest.mark.parametrize(
    ("banner", "precision", "typing", "differs"),
    [
        ("v8502", "fp32", "weak", ["--buildOnly"]),
        ("v8502", "fp16", "weak", ["--buildOnly", "--fp16"]),
        ("v8601", "fp16", "weak", ["--skipInference", "--fp16"]),
        ("v8601", "int8", "weak", ["--skipInference", "--int8", "--fp16"]),
        ("v100300", "fp16", "strong", ["--skipInference", "--stronglyTyped"]),
        ("v100300", "int8", "weak", ["--skipInference", "--int8", "--fp16"]),
        ("v110100", "fp16", "strong", ["--skipInference"]),
        ("v110100", "int8", "strong", ["--skipInference"]),
    ],
)
def test_the_command_line_of_each_version(banner: str, precision: str, typing: str, differs: list[str]) -> None:
    same = [
        "trtexec",
        "--onnx=work/model.onnx",
        "--saveEngine=work/model.engine",
        "--exportLayerInfo=work/layers.json",
        "--profilingVerbosity=detailed",
    ]
    assert sorted(line(banner, precision, typing)) == sorted([*same, *differs])


@pytest.mark.parametrize("banner", OPTIONS)
def test_options_of_the_build(banner: str) -> None:
    written = line(
        banner,
        "fp16",
        "strong" if banner == "v110100" else "weak",
        batch=Batch(1, 4, 8),
        workspace_mib=512,
        timing_cache=Path("/home/user/timings"),
        dla_core=1,
        compatible=() if banner == "v8502" else ("version", "ampere+"),
    )
    names = {argument.lstrip("-").partition("=")[0] for argument in written[1:]}
    assert names <= set(OPTIONS[banner].split())
    assert "--minShapes=token:1,hidden:3x1x400" in written
    assert "--optShapes=token:4,hidden:3x4x400" in written
    assert "--maxShapes=token:8,hidden:3x8x400" in written
    assert "--memPoolSize=workspace:512" in written
    assert "--timingCacheFile=work/timings.cache" in written  # a copy, until the build has succeeded
    assert {"--useDLACore=1", "--allowGPUFallback"} <= set(written)
    if banner != "v8502":
        assert {"--versionCompatible", "--excludeLeanRuntime", "--hardwareCompatibilityLevel=ampere+"} <= set(written)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # ./trtexec --help", "8.5.2"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v8601] # trtexec", "8.6.1"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # trtexec", "10.3.0"),
        ("[11/23/2026-10:00:00] &&&& RUNNING TensorRT.trtexec [TensorRT v101303] [b9] # trtexec", "10.13.3"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v110400] [b106] # trtexec", "11.4.0"),
        ("trtexec: command not found", None),
    ],
)
def test_the_banner_names_the_version(text: str, version: str | None) -> None:
    assert banner_version(text) == version


@pytest.mark.parametrize("banner", OPTIONS)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_build(banner: str, precision: str, on: Any) -> None:
    machine = on(banner)
    engine = machine.build(precision)
    assert engine.data == b"plan of " + typed_model(precision).SerializeToString()[-4:]
    info = engine.info
    assert (info.builder, info.builder_version, info.device) == ("trtexec", NUMBERS[banner], "Orin")
    assert info.typing == ("weak" if banner in {"v8502", "v8601"} else "strong")
    assert info.verified_precision is not None
    assert (info.verified_precision.fp16, info.verified_precision.int8, info.verified_precision.fp32) == (2, 1, 1)
    assert "PASSED" in (machine.folder / "seg.trtexec.log").read_text()


def test_what_fails_strongly_typed_is_tried_weakly_typed(on: Any) -> None:
    warnings: list[str] = []

    class Listener(Progress):
        def warn(self, text: str) -> None:
            warnings.append(text)

    machine = on("v100300")
    machine.behave(refuses=["strong"], says=["Could not find any implementation for node conv_a."])
    assert machine.build("fp16", progress=Listener()).info.typing == "weak"
    assert ["--stronglyTyped" in call for call in machine.calls] == [True, False]
    assert ["--fp16" in call for call in machine.calls] == [False, True]
    assert "Could not find any implementation for node conv_a.; trying again" in warnings[0]


def test_failures_are_told_in_its_own_words_in_one_line(on: Any) -> None:
    machine = on("v110100")
    says = ["ModelImporter.cpp:140: While parsing node number 0 [Conv -> 'a']:", "Failed to parse onnx file"]
    machine.behave(refuses=["strong"], says=[*says, says[1]])
    with pytest.raises(CheckError) as caught:
        machine.build()
    message = str(caught.value)
    assert message.endswith(f": {says[0]}; {says[1]}")
    assert "trtexec 11.1.0 did not build the engine (exit code 1, output in " in message
    assert "\n" not in message
    assert "Failed to parse onnx file" in (machine.folder / "seg.trtexec.log").read_text()


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("Cannot create DLA engine, 0 not available", "0 not available; leave --dla out"),
        ("Error Code 2: OutOfMemory (Requested size was 9 bytes)", "ran out of memory: .*--workspace MIB"),
    ],
)
def test_lacking_hardware_is_exit_code_3(says: str, words: str, on: Any) -> None:
    machine = on("v100300")
    machine.behave(refuses=["strong", "weak"], says=[says])
    with pytest.raises(UnavailableError, match=words):
        machine.build("fp16", dla_core=0)


def test_an_fp32_engine_is_no_fp16_engine(on: Any) -> None:
    machine = on("v8601")
    machine.behave(layers=["Row major linear FP32"] * 3)
    with pytest.raises(CheckError, match="fp16 was asked for, but of the engine's 3 computing layers 3 are fp32"):
        machine.build("fp16")


def test_options_that_it_lacks_are_refused_before_the_work(on: Any) -> None:
    machine = on("v8502")
    with pytest.raises(InputError, match=r"--compatible version: trtexec 8.5.2 has no --versionCompatible"):
        machine.build(compatible=("version",))
    with pytest.raises(InputError, match="takes no quantised ONNX file on the DLA"):
        machine.build("int8", dla_core=0)
    with pytest.raises(InputError, match="--compute-capability is for tensorrt-rtx; trtexec builds for the GPU"):
        machine.build(compute_capabilities=("8.6",))
    assert not machine.calls


def test_from_the_command_line(command: Any, on: Any, tmp_path: Path) -> None:
    machine, out = on("v100300"), tmp_path / "out"
    arguments = (multi_label_folder() / "cls.onnx", "--engine", "trtexec", "--workspace", 256, "--out", out)
    outcome = command(main, *arguments)
    assert outcome.code == 0, outcome.err
    assert "engine by trtexec 10.3.0, fp32; of 4 layers 1 compute in fp32, 2 in fp16, 1 in int8" in outcome.out
    assert sorted(path.name for path in out.iterdir()) == ["cls.trt", "cls.trt.json", "cls.trtexec.log"]
    assert "--memPoolSize=workspace:256" in machine.calls[0]
    before = (out / "cls.trt").read_bytes()
    machine.behave(refuses=["strong", "weak"], says=["Engine could not be created from network"])
    outcome = command(main, *arguments)
    assert (outcome.code, len(outcome.last_line.splitlines())) == (4, 1)
    assert f"output in {out / 'cls.trtexec.log'}): Engine could not be created from network" in outcome.last_line
    assert (out / "cls.trt").read_bytes() == before
    machine.behave(says=["Error Code 2: OutOfMemory"])
    assert command(main, *arguments).code == 3


def test_a_timing_cache_appears_after_the_build(on: Any, tmp_path: Path) -> None:
    machine, cache = on("v100300"), tmp_path / "timings"
    machine.build(timing_cache=cache)
    machine.build(timing_cache=cache)
    assert cache.read_bytes() == b"+timings+timings"
    machine.behave(refuses=["strong", "weak"], says=["no"])
    with pytest.raises(CheckError):
        machine.build(timing_cache=cache)
    assert cache.read_bytes() == b"+timings+timings"


def running(program: Path) -> list[bytes]:
    """Command lines of the processes that run `program`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it may have ended meanwhile
            found.append(path.read_bytes())
    return [line for line in found if bytes(program) in line]


def test_control_c_ends_the_program(on: Any) -> None:
    machine = on("v110100")
    machine.behave(seconds=60)

    def press() -> None:
        while not machine.calls:
            time.sleep(0.01)
        assert running(machine.folder / "trtexec")
        os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        machine.build()
    presser.join()
    assert time.monotonic() - started < 30
    assert not running(machine.folder / "trtexec")


def test_where_it_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, on: Any) -> None:
    machine = on("v100300")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(trtexec_program, "USUAL_PLACE", tmp_path / "nowhere")
    with pytest.raises(UnavailableError, match=r"--engine trtexec: trtexec is neither on PATH nor at .*nowhere"):
        seam.find_builder("trtexec")
    monkeypatch.setattr(trtexec_program, "USUAL_PLACE", machine.folder / "trtexec")
    assert machine.builder().version == "10.3.0"
    (machine.folder / "trtexec").write_text("#!/bin/sh\necho libnvinfer.so.10: no such file\nexit 127\n")
    with pytest.raises(UnavailableError, match=r"does not name its version \(exit code 127\): libnvinfer.so.10"):
        seam.find_builder("trtexec")
    (machine.folder / "trtexec").write_text("#!/nowhere\n")
    with pytest.raises(UnavailableError, match="--help does not answer"):
        seam.find_builder("trtexec")


def test_auto_takes_the_program_where_there_is_no_module(monkeypatch: pytest.MonkeyPatch, on: Any) -> None:
    on("v8601")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    found = seam.find_builder("auto")
    assert isinstance(found, seam.Builder)
    assert (found.name, found.version) == ("trtexec", "8.6.1")


def test_its_errors_among_its_other_lines() -> None:
    output = "[I] fine\n[11/23/2026-10:00:00] [E] first\n[E] second\n[W] odd\n[11/23/2026-10:00:00] [F] third\n"
    output += "[E] first\n"
    assert error_lines(output) == "first; second; third"
    assert error_lines("Segmentation fault") == ""
    assert len(error_lines("[E] " + "x" * 5000)) < 700
