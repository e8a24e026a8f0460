"""What the machine has: probes on synthetic trees, with libraries and programs made for the test."""

import ctypes
import json
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from espnet_edge.power.ina3221 import Ina3221Meter
from espnet_edge.power.meter import MeterError
from espnet_edge.runtime.capabilities import build_findings, gpu_finding, measure_findings, run_findings
from espnet_edge.runtime.cuda_probe import CudaProbe, probe_cuda
from espnet_edge.runtime.doctor import read_engine_machine
from espnet_edge.runtime.probes import (
    LIBRARIES,
    Finding,
    Library,
    LibraryAnswer,
    Places,
    library,
    library_findings,
    probe_libraries,
    probe_library,
    sensor_findings,
    system_findings,
    trtexec_finding,
)
from fake_nvml_library import environment
from fake_tegrastats import ORIN_NANO
from sysfs_trees import jetson_tree

ABSENT = {entry.name: LibraryAnswer(None, "not installed") for entry in LIBRARIES}
NO_TRTEXEC = Finding("library", "trtexec", there=False, answer="not on PATH", way_out="install it")


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """An empty machine."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "site").mkdir()
    environ = {"PATH": str(tmp_path / "bin"), "PYTHONPATH": str(tmp_path / "site")}
    return Places(tmp_path, environ)


def put(places: Places, path: str, text: str) -> Path:
    file = places.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def program(places: Places, path: str, text: str) -> None:
    put(places, path, f"#!/bin/sh\n{text}\n").chmod(stat.S_IRWXU)


def by_name(findings: Any) -> dict[str, Finding]:
    found = {finding.what: finding for finding in findings}
    for finding in found.values():
        assert finding.answer, finding
        assert finding.there == (finding.way_out is None), finding
    return found


def module(places: Places, name: str, text: str, version: str | None = None) -> Library:
    put(places, f"site/{name}/__init__.py", text)
    if version is not None:
        put(
            places,
            f"site/{name}-{version}.dist-info/METADATA",
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        )
    return Library(name, (name,), f"pip install {name}", (name,))


def test_a_library_says_its_version(places: Places) -> None:
    assert probe_library(module(places, "alpha", "__version__ = '1.2.3'"), places) == LibraryAnswer("1.2.3", "")
    assert probe_library(module(places, "beta", "", "4.5"), places) == LibraryAnswer("4.5", "")
    # The module of some TensorRT versions leaves out the build number, which counts.
    whole = module(places, "gamma", "__version__ = '10.3.0'", "10.3.0.26")
    assert probe_library(whole, places) == LibraryAnswer("10.3.0.26", "")
    # What is imported counts, not what was once installed.
    other = module(places, "delta", "__version__ = '8.6.1'", "10.3.0.26")
    assert probe_library(other, places) == LibraryAnswer("8.6.1", "")
    assert probe_library(module(places, "epsilon", ""), places) == LibraryAnswer("of unknown version", "")


def test_a_library_that_is_not_there_or_does_not_load(places: Places) -> None:
    absent = probe_library(Library("none", ("no_such_module",), ""), places)
    assert absent == LibraryAnswer(None, "not installed")
    half = probe_library(module(places, "alpha", "import alpha_libs"), places)
    assert half == LibraryAnswer(None, "it does not load: No module named 'alpha_libs'")
    broken = probe_library(module(places, "beta", "raise ImportError('libnvinfer.so.10: cannot open')"), places)
    assert broken == LibraryAnswer(None, "it does not load: libnvinfer.so.10: cannot open")
    wrong = probe_library(module(places, "gamma", "raise OSError('no driver')"), places)
    assert wrong == LibraryAnswer(None, "its import fails: OSError: no driver")


def test_a_library_that_crashes_or_hangs_takes_nothing_down(places: Places) -> None:
    crash = module(places, "alpha", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    assert "its import brings Python down (SIGSEGV)" in probe_library(crash, places).answer
    hang = module(places, "beta", "import time\ntime.sleep(600)")
    assert probe_library(hang, places, limit_s=0.5).answer == "its import did not come to an end in 0.5 s"


def test_a_library_may_talk(places: Places) -> None:
    chatty = "import atexit\nprint('hello')\natexit.register(print, 'bye')\n__version__ = '1'"
    assert probe_library(module(places, "alpha", chatty), places) == LibraryAnswer("1", "")


def test_the_folder_that_one_stands_in_is_no_place_for_libraries(
    places: Places, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "no_such_library.py").write_text("raise SystemExit('was run')")
    (tmp_path / "json.py").write_text("raise SystemExit('was run')")
    monkeypatch.chdir(tmp_path)
    assert probe_library(Library("x", ("no_such_library",), ""), places) == LibraryAnswer(None, "not installed")


def test_the_second_name_of_a_module_counts_too(places: Places) -> None:
    put(places, "site/cuda/__init__.py", "")
    put(places, "site/cuda/cudart.py", "__version__ = '11.8.2'")
    assert probe_library(library("cuda-python"), places).version == "11.8.2"


def test_the_real_libraries_answer() -> None:
    names = ("onnxruntime", "onnx")
    answers = probe_libraries([library(name) for name in names], Places())
    rows = by_name(library_findings(answers))
    assert all(rows[name].there for name in names)
    assert "providers: " in rows["onnxruntime"].answer
    assert "CPUExecutionProvider" in rows["onnxruntime"].answer


def test_the_library_of_an_engine(places: Places) -> None:
    module(places, "tensorrt", "__version__ = '10.3.0'", "10.3.0.26")
    assert read_engine_machine("tensorrt", places).version == (10, 3, 0, 26)
    absent = read_engine_machine("tensorrt", Places(places.root, {}))
    assert (absent.version, absent.library_answer) == ((), "not installed")


def test_a_jetson(places: Places) -> None:
    put(places, "proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit\0")
    put(places, "etc/nv_tegra_release", "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n")
    put(places, "etc/os-release", 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 22.04.5 LTS"\n')
    program(places, "bin/nvpmodel", 'test "$1" = -q && echo "NV Power Mode: MAXN_SUPER" && echo 2')
    rows = by_name(system_findings(places))
    assert rows["board"].answer == "NVIDIA Jetson Orin Nano Developer Kit"
    assert rows["L4T"].answer == "Jetson Linux 36.4.3"
    assert rows["power mode"].answer == "MAXN_SUPER, by nvpmodel -q"
    assert rows["system"].answer.startswith("Ubuntu 22.04.5 LTS, ")


@pytest.mark.parametrize(
    ("release", "there", "answer"),
    [
        ("# R35 (release), REVISION: 2.1, GCID: 1", True, "Jetson Linux 35.2.1"),
        ("# R35 (release), REVISION: 1.0, GCID: 1", False, "Jetson Linux 35.1.0"),
        ("# R32 (release), REVISION: 7.6, GCID: 1", False, "Jetson Linux 32.7.6"),
        ("# R38 (release), REVISION: 2, GCID: 1", True, "Jetson Linux 38.2.0"),
        ("something else", True, "Jetson Linux of an unknown form: something else"),
    ],
)
def test_jetson_linux_must_have_tensorrt_85(places: Places, release: str, there: bool, answer: str) -> None:
    put(places, "etc/nv_tegra_release", release)
    rows = by_name(system_findings(places))
    assert (rows["L4T"].there, rows["L4T"].answer) == (there, answer)
    assert not rows["power mode"].there


@pytest.mark.parametrize("text", ["echo need root >&2; exit 1", "exec sleep 600"])
def test_a_power_mode_that_is_not_told(places: Places, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("espnet_edge.runtime.probes._PROGRAM_LIMIT_S", 0.3)
    put(places, "etc/nv_tegra_release", "# R36 (release), REVISION: 4.3")
    program(places, "usr/sbin/nvpmodel", f"PATH=/bin:/usr/bin; {text}")
    row = by_name(system_findings(places))["power mode"]
    assert not row.there
    assert "need root" in row.answer or "did not answer in 0.3 s" in row.answer


def test_an_empty_machine(places: Places) -> None:
    rows = by_name([*system_findings(places), trtexec_finding(places), *sensor_findings(places)])
    assert "board" not in rows
    assert "L4T" not in rows
    for name in ("trtexec", "INA3221", "tegrastats", "RAPL"):
        assert not rows[name].there, name


def test_trtexec_is_found_where_jetpack_puts_it(places: Places) -> None:
    banner = "echo '&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # trtexec --help'"
    program(places, "usr/src/tensorrt/bin/trtexec", banner)
    assert trtexec_finding(places).answer == f"10.3.0, {places.root / 'usr/src/tensorrt/bin/trtexec'}"
    program(places, "bin/trtexec", banner)
    assert trtexec_finding(places).answer == f"10.3.0, {places.root / 'bin/trtexec'}"


def test_a_trtexec_that_does_not_start_is_not_there(places: Places) -> None:
    program(places, "bin/trtexec", "echo 'error while loading shared libraries: libnvinfer.so.10' >&2; exit 127")
    finding = trtexec_finding(places)
    assert not finding.there
    assert "does not name its version (exit code 127): error while loading shared libraries" in finding.answer


def test_rails_of_a_jetson(places: Places) -> None:
    jetson_tree(places.root, "TX1")
    row = by_name(sensor_findings(places))["INA3221"]
    assert row.there
    for rail in ("VDD_IN 2532 mW", "VDD_GPU 19 mW", "VDD_CPU 76 mW"):
        assert rail in row.answer


def test_a_meter_that_fails_after_it_was_opened(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_meter: Ina3221Meter) -> None:
        raise MeterError("no rail can be read any more")

    jetson_tree(places.root, "TX1")
    monkeypatch.setattr(Ina3221Meter, "read", fail)
    row = by_name(sensor_findings(places))["INA3221"]
    assert (row.there, row.answer) == (False, "no rail can be read any more")


def test_rails_that_cannot_be_read(places: Places) -> None:
    chip = places.root / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    (chip / "in1_input").mkdir(parents=True)
    put(places, "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/name", "ina3221\n")
    put(places, "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/in1_label", "VDD_IN\n")
    row = by_name(sensor_findings(places))["INA3221"]
    assert not row.there
    assert "no rail can be read" in row.answer


def test_counters_of_the_processor_that_stand_still_or_cannot_be_read(places: Places) -> None:
    put(places, "sys/class/powercap/intel-rapl:0/name", "package-0\n")
    put(places, "sys/class/powercap/intel-rapl:0/max_energy_range_uj", "262143328850\n")
    energy = put(places, "sys/class/powercap/intel-rapl:0/energy_uj", "123456789\n")
    assert not by_name(sensor_findings(places))["RAPL"].there
    energy.unlink()
    energy.mkdir()  # as unreadable as a file without rights, for root, too
    assert not by_name(sensor_findings(places))["RAPL"].there


def test_tegrastats_counts_with_a_line_only(places: Places) -> None:
    program(places, "bin/tegrastats", "exit 0")
    row = by_name(sensor_findings(places))["tegrastats"]
    assert (row.there, row.answer) == (False, "tegrastats ended with exit code 0")
    lines = f"while :; do echo '{ORIN_NANO}'; /bin/sleep 0.05; done"
    program(places, "bin/tegrastats", lines)
    row = by_name(sensor_findings(places))["tegrastats"]
    assert row.there
    assert "VDD_IN 12479 mW" in row.answer


NVML_PROGRAM = """
import json
from espnet_edge.runtime.probes import Places, sensor_findings
row = next(row for row in sensor_findings(Places()) if row.what == "NVML")
print(json.dumps([row.there, row.answer]))
"""


@pytest.mark.parametrize(
    ("config", "there", "words"),
    [
        ("power = constant 16.5\nclock = real\n", True, "power.instant 16500 mW"),
        ("gpus = 2\n", True, "GPU-00000001-1111-2222-3333-444444444444"),
        # A Jetson's answer: it starts, and knows nothing of power.
        (
            "instant = not_supported\naverage = not_supported\nusage = not_supported\nenergy = not_supported\n",
            False,
            "",
        ),
        ("return.nvmlInitWithFlags = driver_not_loaded\n", False, "does not start"),
    ],
)
def test_nvml_counts_with_a_reading_only(config: str, there: bool, words: str, tmp_path: Path) -> None:
    environ = environment(config, tmp_path)
    done = subprocess.run([sys.executable, "-c", NVML_PROGRAM], env=environ, capture_output=True, text=True, check=True)
    found, answer = json.loads(done.stdout)
    assert found == there, answer
    assert words in answer


class FakeLibrary:
    """A driver library: each function gives a status and writes its values where the caller points."""

    def __init__(self, **functions: Any) -> None:
        for name, function in functions.items():
            setattr(self, name, function)


@pytest.fixture
def shared_library(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], None]:
    """shared_library(name, fake): what loading that name gives."""
    real = ctypes.CDLL

    def stand_in(name: str, fake: Any) -> None:
        monkeypatch.setattr(
            ctypes, "CDLL", lambda asked, *more, **kw: fake if asked == name else real(asked, *more, **kw)
        )

    return stand_in


def writes(*values: Any, status: int = 0) -> Callable[..., int]:
    """A function of a C library that writes `values` through its pointers."""

    def call(*arguments: Any) -> int:
        pointers = [argument._obj for argument in arguments if hasattr(argument, "_obj")]
        for pointer, value in zip(pointers, values, strict=False):
            pointer.value = value
        return status

    return call


def cuda_driver(**changes: Any) -> FakeLibrary:
    def name(buffer: Any, size: int, _device: int) -> int:
        buffer.value = b"NVIDIA L4"
        return 0

    def attribute(pointer: Any, number: int, _device: int) -> int:
        pointer._obj.value = {75: 8, 76: 9}[number]
        return 0

    functions = {
        "cuInit": lambda _flags: 0,
        "cuDeviceGetCount": writes(1),
        "cuDeviceGetName": name,
        "cuDeviceGetAttribute": attribute,
        "cuDriverGetVersion": writes(12060),
    }
    return FakeLibrary(**{**functions, **changes})


def test_the_driver_says_name_capability_and_version(shared_library: Callable[[str, Any], None]) -> None:
    shared_library("libcuda.so.1", cuda_driver())
    assert probe_cuda() == CudaProbe("NVIDIA L4", "found", "8.9", "12.6")
    assert gpu_finding(probe_cuda()).answer == "NVIDIA L4, compute capability 8.9, driver for CUDA 12.6"


def test_what_the_driver_does_not_say_stays_open(shared_library: Callable[[str, Any], None]) -> None:
    failing = {"cuDeviceGetAttribute": lambda *_: 1, "cuDriverGetVersion": lambda *_: 1}
    shared_library("libcuda.so.1", cuda_driver(**failing))
    assert probe_cuda() == CudaProbe("NVIDIA L4", "found", None, None)
    shared_library("libcuda.so.1", cuda_driver(cuInit=lambda _flags: 100))
    assert probe_cuda() == CudaProbe(None, "the CUDA driver answers cuInit with error 100")


def with_libraries(**versions: str) -> dict[str, LibraryAnswer]:
    there = {name.replace("_", "-"): LibraryAnswer(version, "") for name, version in versions.items()}
    return {**ABSENT, **there}


def test_what_can_be_built_follows_from_what_is_there() -> None:
    no_gpu, orin = CudaProbe(None, "no CUDA driver"), CudaProbe("Orin", "found", "8.7", "12.6")
    trtexec = Finding("library", "trtexec", there=True, answer="/usr/src/tensorrt/bin/trtexec")
    none = by_name(build_findings(ABSENT, no_gpu, NO_TRTEXEC))
    assert not any(row.there for row in none.values())
    assert none["ONNX file"].answer == "torch: not installed; onnx: not installed; onnxscript: not installed"
    assert none["engine, TensorRT"].way_out == "see tensorrt above; see CUDA GPU above"
    board = by_name(build_findings(with_libraries(tensorrt="10.3.0.26"), orin, trtexec))
    assert [name for name, row in board.items() if row.there] == ["engine, TensorRT", "engine, trtexec"]
    without_gpu = by_name(build_findings(with_libraries(tensorrt="10.3", tensorrt_rtx="1.7.1.116"), no_gpu, trtexec))
    assert [name for name, row in without_gpu.items() if row.there] == ["engine, TensorRT-RTX"]


def test_what_can_be_run_follows_from_what_is_there() -> None:
    orin, l4 = CudaProbe("Orin", "found", "8.7", "12.6"), CudaProbe("NVIDIA L4", "found", "8.9", "13.0")
    none = by_name(run_findings(ABSENT, CudaProbe(None, "no CUDA driver")))
    assert not any(row.there for row in none.values())
    cpu = with_libraries(onnxruntime="1.32.0", torch="2.13.0")
    rows = by_name(run_findings(cpu, l4))
    assert [name for name, row in rows.items() if row.there] == ["ONNX, onnxruntime", "network, torch"]
    assert "it has no CUDAExecutionProvider" in rows["ONNX, onnxruntime GPU"].answer
    assert "none of cuda-python, pycuda, torch is there" in rows["engine, TensorRT"].answer
    cuda = {**cpu, "onnxruntime": LibraryAnswer("1.32.0", "providers: CUDAExecutionProvider, CPUExecutionProvider")}
    assert by_name(run_findings(cuda, l4))["ONNX, onnxruntime GPU"].there
    engines = with_libraries(tensorrt="10.3.0.26", tensorrt_rtx="1.7.1.116", cuda_python="13.4.4")
    rows = by_name(run_findings(engines, orin))
    assert rows["engine, TensorRT"].there
    assert rows["engine, TensorRT-RTX"].answer == "TensorRT-RTX is not for compute capability 8.7"
    assert by_name(run_findings(engines, l4))["engine, TensorRT-RTX"].there


def test_power_names_the_sensors_that_are_there() -> None:
    sensors = [Finding("sensor", "NVML", there=True, answer="x"), Finding("sensor", "RAPL", there=False, answer="y")]
    rows = by_name(measure_findings(sensors))
    assert rows["latency"].there
    assert rows["power"].answer == "espnet-bench --engine FILE --measure power, by NVML"
    rows = by_name(measure_findings(sensors[1:]))
    assert (rows["power"].there, rows["power"].answer) == (False, "no sensor gives a plausible reading")
    assert rows["memory"].answer == "espnet-bench --engine FILE --measure memory"
