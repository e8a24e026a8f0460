"""Memory that an artefact takes in a runtime, measured in a process of its own: what one has loaded stays loaded.

The process reads its request as a line of JSON, answers with another one, and ends when its input ends: so its GPU
memory can be looked at from outside while it still holds it.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from ..errors import EspnetEdgeError, InputError, UnavailableError, one_line
from ..power.meter import NoMeterError
from .gpu_memory import GpuMemoryWatch
from .result import LineMemory

LIMIT_S = 600.0
_KIB = 1024
_MAX_REASON = 300  # characters
_STATUS = Path("/proc/self/status")
# As python -m, but the folder that the command was called in is no place to import from.
_START = (
    "import sys; sys.path[:] = [place for place in sys.path if place]; "
    f"from {__package__}.memory_use import main; main()"
)


@dataclass(frozen=True)
class MemoryRequest:
    """One line whose memory is asked for.

    Attributes:
        name: of the line.
        artefact: path of the file.
        runtime: as `open_runner` takes it, like `device`, `threads` and `trust`.
        device: "cpu" or "cuda"; an engine runs on the GPU whatever this says.
        threads: None for one per usable core.
        batch: of a free batch; None for 1.
        trust: run a file that its manifest does not vouch for.
        seed: of the inputs.
        inferences: how many are run before the peak is read.
    """

    name: str
    artefact: str
    runtime: str
    device: str
    threads: int | None = None
    batch: int | None = None
    trust: bool = False
    seed: int = 0
    inferences: int = 5

    def check(self) -> None:
        """Raise InputError where a number makes no sense."""
        if self.inferences < 1:
            raise InputError(f"inferences {self.inferences}: give at least 1")

    @property
    def on_gpu(self) -> bool:
        """Whether GPU memory is to be looked at."""
        return self.device == "cuda" or Path(self.artefact).suffix == ".trt"


def measured_memory(request: MemoryRequest, *, limit_s: float = LIMIT_S) -> LineMemory:
    """Memory of the line, read in a process of its own. Whatever becomes of that process is part of the answer.

    Args:
        request: what to run.
        limit_s: how long the process may take; it is ended after that.

    Raises:
        InputError: `inferences` is below 1.
    """
    request.check()
    watch, no_watch = _watch(request)
    try:
        answer = _answer_of_process(request, watch, limit_s)
        if "unavailable" in answer:
            return LineMemory(name=request.name, unavailable=answer["unavailable"])
        gpu_bytes, gpu_note = watch.figure() if watch is not None else (None, no_watch)
    finally:
        if watch is not None:
            watch.close()
    return LineMemory(
        name=request.name, inferences=request.inferences, gpu_bytes=gpu_bytes, gpu_note=gpu_note, **answer
    )


def _watch(request: MemoryRequest) -> tuple[GpuMemoryWatch | None, str | None]:
    """What looks at the GPU's memory, or why nothing does; nothing of both on the CPU."""
    if not request.on_gpu:
        return None, None
    try:
        return GpuMemoryWatch(), None
    except NoMeterError as error:
        return None, f"{error}; {error.way_out}"


def main() -> None:
    """What the process of its own does."""
    with _own_output() as output:
        request = MemoryRequest(**json.loads(sys.stdin.readline()))
        try:
            _measure(request, output)
        except EspnetEdgeError as error:
            _tell({"unavailable": one_line(error)}, output)


def _measure(request: MemoryRequest, output: IO[str]) -> None:
    """Answers while the runner still has its memory, and returns when the input ends."""
    before_rss_bytes = _resident_bytes()
    from .feeds import random_feeds
    from .runner import open_runner

    with open_runner(
        request.artefact, request.runtime, request.device, threads=request.threads, trust=request.trust
    ) as runner:
        loaded_rss_bytes = _resident_bytes()
        feeds = random_feeds(runner.inputs, batch=request.batch, seed=request.seed, source=request.artefact)
        for _ in range(request.inferences):
            runner.infer(feeds)
        answer = {
            "before_rss_bytes": before_rss_bytes,
            "loaded_rss_bytes": loaded_rss_bytes,
            "peak_rss_bytes": _peak_bytes(),
        }
        _tell(answer, output)
        sys.stdin.read()


def _answer_of_process(request: MemoryRequest, watch: GpuMemoryWatch | None, limit_s: float) -> dict[str, Any]:
    """What the process answers; {"unavailable": reason} where that is nothing."""
    with tempfile.TemporaryFile() as said:  # not a pipe, which fills up when nobody reads
        try:
            child = subprocess.Popen(
                [sys.executable, "-c", _START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
            )
        except OSError as error:
            return {"unavailable": f"Python could not be started to measure it ({error.strerror or error})"}
        overdue = threading.Event()
        with child, _killed_at_the_end(child), _limited(child, limit_s, overdue):
            line = _answered(child, request)
            if line and watch is not None:
                watch.look(child.pid)
            assert child.stdin is not None
            with suppress(BrokenPipeError):  # it has ended already
                child.stdin.close()
            child.wait()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        said.seek(0)
        return {"unavailable": _why(child.returncode, said.read(), limit_s if overdue.is_set() else None)}


def _answered(child: "subprocess.Popen[str]", request: MemoryRequest) -> str:
    """The line that the process answers; "" where it ends without one."""
    assert child.stdin is not None
    assert child.stdout is not None
    with suppress(BrokenPipeError):  # it has ended already, and its output too
        child.stdin.write(json.dumps(asdict(request)) + "\n")
        child.stdin.flush()
    return child.stdout.readline()


@contextmanager
def _killed_at_the_end(child: "subprocess.Popen[str]") -> Iterator[None]:
    """Also when this process is interrupted; a process that has ended by itself is not touched."""
    try:
        yield
    finally:
        if child.poll() is None:
            child.kill()


@contextmanager
def _limited(child: "subprocess.Popen[str]", limit_s: float, overdue: threading.Event) -> Iterator[None]:
    def end() -> None:
        overdue.set()
        child.kill()

    timer = threading.Timer(limit_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _why(returncode: int, said: bytes, limit_s: float | None) -> str:
    """Why a process gave no answer, in one line."""
    if limit_s is not None:
        return f"the process that measures memory did not come to an end in {limit_s:g} s, and was ended"
    lines = said.decode(errors="replace").strip().splitlines()
    last = one_line(lines[-1])[:_MAX_REASON] if lines else "it said nothing"
    if returncode < 0:
        hint = " (the system may have run out of memory)" if -returncode == getattr(signal, "SIGKILL", None) else ""
        return f"the process that measures memory was ended by {_signal_name(-returncode)}{hint}: {last}"
    return f"the process that measures memory failed: {last}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextmanager
def _own_output() -> Iterator[IO[str]]:
    """Standard output for the answer alone: what libraries print, native ones too, goes to standard error."""
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w") as output:
        os.dup2(2, 1)
        yield output


def _tell(answer: dict[str, Any], output: IO[str]) -> None:
    output.write(json.dumps(answer) + "\n")
    output.flush()


def _resident_bytes() -> int | None:
    """Memory of this process that is in RAM now; None where only the peak is known."""
    return _status_bytes("VmRSS") if _STATUS.exists() else None


def _peak_bytes() -> int:
    """The most that this process has had in RAM.

    Raises:
        UnavailableError: the system does not tell.
    """
    if _STATUS.exists():
        return _status_bytes("VmHWM")
    try:
        import resource
    except ImportError:
        raise UnavailableError(f"{sys.platform} does not tell the memory of a process; measure it on Linux") from None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * _KIB


def _status_bytes(field: str) -> int:
    found = re.search(rf"^{field}:\s*(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    if found is None:
        raise UnavailableError(f"{_STATUS} has no {field}; mount /proc, or measure on another kernel")
    return int(found[1]) * _KIB
