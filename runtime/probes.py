"""What this machine has. Each probe asks the thing itself and keeps its answer; none changes anything.

Libraries are imported in processes of their own, with a time limit: an import can crash, hang, or set up a GPU.
"""

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..power.conditions import power_mode
from ..power.meter import SOURCE_NAMES, Meter, MeterError, Reading
from ..power.meters import Places as MeterPlaces
from ..power.meters import Probe, probe_meters
from ..version import __version__
from .trtexec_program import USUAL_PLACE, Program, ask_program

_IMPORT_LIMIT_S = 60.0
_PROGRAM_LIMIT_S = 5.0
_READING_LIMIT_S = 1.0
# The first release of Jetson Linux with TensorRT 8.5, that of JetPack 5.1: older ones lack named tensors.
_OLDEST_L4T = (35, 2, 1)
_MAX_TEXT = 300  # characters of an answer

# Runs in the other process. The folder that the command was called in is no place to import from.
_IMPORT = """
import sys
sys.path[:] = [place for place in sys.path if place]
import importlib, importlib.metadata as metadata, json
module_names, distributions = (text.split(",") for text in sys.argv[1:3])

def first_module():
    errors = []
    for name in module_names:
        try:
            return importlib.import_module(name), None
        except ImportError as error:
            absent = isinstance(error, ModuleNotFoundError) and name.startswith(error.name or "?")
            errors.append("" if absent else str(error))
    return None, next(filter(None, errors), "")

def version_of(module):
    # Some TensorRT modules name three numbers of four; what was installed has all.
    own = str(getattr(module, "__version__", ""))
    for name in filter(None, distributions):
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if installed.startswith(own):
            return installed
    return own or "of unknown version"

def detail_of(module):
    if module.__name__ == "onnxruntime":
        return "providers: " + ", ".join(module.get_available_providers())
    if module.__name__ == "torch":
        return f"CUDA {module.version.cuda}" if module.cuda.is_available() else "no CUDA device"
    return ""

module, error = first_module()
answer = {"error": error} if module is None else {"version": version_of(module), "detail": detail_of(module)}
print("\\nANSWER" + json.dumps(answer))
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for, whether it is there, what the probe answered, and the way out if it is not."""

    group: str
    what: str
    there: bool
    answer: str
    way_out: str | None = None


@dataclass(frozen=True)
class Places:
    """Where to look: the root of the file system, and the environment, for PATH and Python's own variables."""

    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def program(self, name: str, *folders: str) -> str | None:
        """Where the program is: on PATH, else in one of `folders` below the root."""
        places = [self.environ.get("PATH", os.defpath), *(str(self.root / folder) for folder in folders)]
        return shutil.which(name, path=os.pathsep.join(places))


@dataclass(frozen=True)
class Library:
    """A library: the modules that it may be imported as, the first that is there counts, and how to get it."""

    name: str
    modules: tuple[str, ...]
    way_out: str
    distributions: tuple[str, ...] = ()


@dataclass(frozen=True)
class LibraryAnswer:
    """`version`: None where the library is not there or does not load; `answer` says why, or more about it."""

    version: str | None
    answer: str


LIBRARIES = (
    Library("torch", ("torch",), "pip install 'espnet-edge[export]'"),
    Library("onnx", ("onnx",), "pip install 'espnet-edge[export]'"),
    Library("onnxscript", ("onnxscript",), "pip install 'espnet-edge[export]'"),
    Library("onnxruntime", ("onnxruntime",), "pip install 'espnet-edge[onnxruntime]'"),
    Library("openvino", ("openvino",), "pip install 'espnet-edge[openvino]'"),
    Library(
        "tensorrt",
        ("tensorrt",),
        "on a Jetson it comes with JetPack, for the system's Python (a venv needs --system-site-packages); "
        "elsewhere pip install 'espnet-edge[tensorrt]'",
        ("tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
    ),
    Library(
        "tensorrt-rtx",
        ("tensorrt_rtx",),
        "pip install 'espnet-edge[rtx]' (Linux x86_64, or aarch64 with glibc 2.35 or newer)",
    ),
    Library(
        "cuda-python",
        ("cuda.bindings.runtime", "cuda.cudart"),
        "pip install cuda-python",
        ("cuda-python", "cuda-bindings"),
    ),
    Library("pycuda", ("pycuda",), "pip install pycuda, which compiles it: a CUDA toolkit is needed", ("pycuda",)),
    Library("nvidia-ml-py", ("pynvml",), "pip install nvidia-ml-py", ("nvidia-ml-py",)),
)


def library(name: str) -> Library:
    """The entry of `LIBRARIES` with that name."""
    return next(entry for entry in LIBRARIES if entry.name == name)


def probe_libraries(libraries: Sequence[Library], places: Places) -> dict[str, LibraryAnswer]:
    """What each library answers, by its name; they are asked at the same time."""
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        answers = pool.map(lambda entry: probe_library(entry, places), libraries)
        return dict(zip((entry.name for entry in libraries), answers, strict=True))


def probe_library(entry: Library, places: Places, limit_s: float = _IMPORT_LIMIT_S) -> LibraryAnswer:
    """Import the library in a process of its own and ask for its version."""
    command = [sys.executable, "-c", _IMPORT, ",".join(entry.modules), ",".join(entry.distributions)]
    # One thread: nothing is computed there, and many pools of threads would slow each other's start.
    environ = {**places.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s, check=False, env=environ
        )
    except subprocess.TimeoutExpired:
        return LibraryAnswer(None, f"its import did not come to an end in {limit_s:g} s")
    except OSError as error:
        return LibraryAnswer(None, f"Python could not be started to ask it ({error.strerror or error})")
    found = re.findall(rb"^ANSWER(\{.*\})$", done.stdout, re.MULTILINE)
    if not found:
        died = f"brings Python down ({_signal_name(-done.returncode)})" if done.returncode < 0 else "fails"
        return LibraryAnswer(None, f"its import {died}: {_last_line(done.stderr)}")
    said = json.loads(found[-1])
    if "error" in said:
        return LibraryAnswer(
            None, f"it does not load: {said['error']}"[:_MAX_TEXT] if said["error"] else "not installed"
        )
    return LibraryAnswer(said["version"], said["detail"])


def library_findings(answers: Mapping[str, LibraryAnswer]) -> Iterator[Finding]:
    """A row for each library."""
    for name, said in answers.items():
        there = said.version is not None
        text = ", ".join(part for part in (said.version, said.answer) if part)
        yield Finding("library", name, there, text, None if there else library(name).way_out)


def system_findings(places: Places) -> Iterator[Finding]:
    """The program, Python, the operating system and the board."""
    yield Finding("machine", "espnet-edge", there=True, answer=__version__)
    yield Finding("machine", "Python", there=True, answer=f"{platform.python_version()}, {sys.executable}")
    name = _os_name(places.root)
    kernel = f"{platform.system()} {platform.release()}, {platform.machine()}"
    yield Finding("machine", "system", there=True, answer=f"{name}, {kernel}" if name else kernel)
    yield from _board_findings(places)


def trtexec_finding(places: Places) -> Finding:
    """NVIDIA's command-line builder, which some boards have without TensorRT's Python module."""
    folder = USUAL_PLACE.parent.relative_to("/")
    path = places.program(USUAL_PLACE.name, str(folder))
    said = ask_program(path) if path else f"neither on PATH nor in {places.root / folder}"
    if isinstance(said, Program):
        return Finding("library", "trtexec", there=True, answer=f"{said.version}, {said.path}")
    return Finding(
        "library",
        "trtexec",
        there=False,
        answer=said,
        way_out="on a Jetson: sudo apt install libnvinfer-bin; elsewhere it is in TensorRT's tar and Debian packages",
    )


def sensor_findings(places: Places) -> Iterator[Finding]:
    """What here measures power, each with a reading: the same probes as those of espnet-bench --measure power."""
    for source, found in probe_meters(MeterPlaces(places.root, places.environ)):
        name = SOURCE_NAMES[source]
        if isinstance(found, Probe):
            yield Finding("sensor", name, there=False, answer=found.answer[:_MAX_TEXT], way_out=found.way_out)
            continue
        if isinstance(found, InputError):
            yield Finding("sensor", name, there=True, answer=str(found))
            continue
        try:
            yield _reading_finding(name, found)
        finally:
            found.close()


def _reading_finding(name: str, meter: Meter) -> Finding:
    try:
        return Finding("sensor", name, there=True, answer=_reading_text(meter)[:_MAX_TEXT])
    except MeterError as error:
        way_out = "it was readable a moment ago: try again, and look for the reason in dmesg"
        return Finding("sensor", name, there=False, answer=str(error)[:_MAX_TEXT], way_out=way_out)


def _reading_text(meter: Meter) -> str:
    """What the meter reads now."""
    units = {"power_mw": "mW", "energy_uj": "uJ"}
    reading = _first_reading(meter)
    values = reading.values if reading else (None,) * len(meter.info.channels)
    told = [
        f"{channel.name} {value:.0f} {units[channel.quantity]}"
        for channel, value in zip(meter.info.channels, values, strict=True)
        if value is not None
    ]
    return f"{meter.info.device}: {', '.join(told) or 'a reading a moment ago, none now'}"


def _first_reading(meter: Meter) -> Reading | None:
    """Meters that are told their readings need a moment."""
    end_s = time.monotonic() + _READING_LIMIT_S
    while (reading := meter.read()) is None and time.monotonic() < end_s:
        time.sleep(0.01)
    return reading


def _board_findings(places: Places) -> Iterator[Finding]:
    model = _text(places.root / "proc/device-tree/model") or _text(places.root / "sys/class/dmi/id/product_name")
    if model:
        yield Finding("machine", "board", there=True, answer=model)
    release = _text(places.root / "etc/nv_tegra_release")
    if release is None:
        return
    l4t = _l4t_version(release)
    text = "Jetson Linux " + (".".join(map(str, l4t)) if l4t else f"of an unknown form: {release[:_MAX_TEXT]}")
    fresh = l4t is None or l4t >= _OLDEST_L4T
    yield Finding(
        "machine", "L4T", fresh, text, None if fresh else "TensorRT 8.5 is needed: flash JetPack 5.1 or newer"
    )
    yield _power_mode_finding(places)


def _power_mode_finding(places: Places) -> Finding:
    mode = power_mode(places.root, places.environ, _PROGRAM_LIMIT_S)
    if mode.name is None:
        return Finding("machine", "power mode", there=False, answer=mode.answer or "not told", way_out=mode.way_out)
    return Finding("machine", "power mode", there=True, answer=f"{mode.name}, by nvpmodel -q")


def _l4t_version(release: str) -> tuple[int, int, int] | None:
    """ "# R36 (release), REVISION: 4.3, ..." -> (36, 4, 3)."""
    found = re.match(r"#\s*R(\d{1,3})\s*\(release\),\s*REVISION:\s*(\d{1,3})(?:\.(\d{1,3}))?", release)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


def _os_name(root: Path) -> str | None:
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', _text(root / "etc/os-release") or "", re.MULTILINE)
    return found[1] if found else None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_line(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1][:_MAX_TEXT] if lines else "it said nothing"


def _text(path: Path) -> str | None:
    """The beginning of a small file, without the NUL that device trees end it with; None where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(4096).decode(errors="replace").strip("\0\n ")
    except OSError:
        return None
