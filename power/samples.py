"""Reading a meter again and again beside the measured work, with memory that does not grow."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .meter import Meter

Clock = Callable[[], int]

DEFAULT_PERIOD_NS = 10_000_000  # 100 Hz
CONDITIONS_PERIOD_NS = 1_000_000_000
_BLOCK_ROWS = 4096
# A meter that hangs holds its thread; the program does not wait for it longer than this.
_STOP_LIMIT_S = 2.0


class SampleLog:
    """Rows of an instant and one number for each column, in order of time; NaN stands for what could not be read.

    Rows gather in a block of fixed size and go to a temporary file that has no name: an hour of samples takes as much
    memory as a minute. May be written by one thread and read by another.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self._row = np.dtype([("time_ns", "<i8"), ("values", "<f8", (len(self.columns),))])
        self._block = np.empty(_BLOCK_ROWS, self._row)
        self._used = 0
        self._file = tempfile.TemporaryFile(prefix="espnet-edge-samples-")  # noqa: SIM115 - closed by close()
        self._lock = threading.Lock()
        self._last_ns: int | None = None

    def append(self, time_ns: int, values: Sequence[float | None]) -> None:
        """Add a row. One that is not later than the row before it says nothing new, and is left out."""
        with self._lock:
            if self._last_ns is not None and time_ns <= self._last_ns:
                return
            self._last_ns = time_ns
            row = self._block[self._used]
            row["time_ns"], row["values"] = time_ns, [np.nan if value is None else value for value in values]
            self._used += 1
            if self._used == _BLOCK_ROWS:
                self._file.write(self._block.tobytes())
                self._used = 0

    def rows(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """All rows so far: instants (n,) in ns, and values (n, columns)."""
        with self._lock:
            self._file.seek(0)
            stored = np.frombuffer(self._file.read(), self._row)
            rows = np.concatenate([stored, self._block[: self._used]])
        return rows["time_ns"].astype(np.int64), rows["values"].astype(np.float64)

    def close(self) -> None:
        """Remove the temporary file."""
        self._file.close()


@dataclass(frozen=True)
class SamplerCost:
    """What sampling cost: readings, failed readings with the last failure's reason, and processor time in ns.

    The processor time is that of the thread that `running` starts.
    """

    readings: int
    failures: int
    last_failure: str | None
    cpu_ns: int
    wall_ns: int


class Sampler:
    """Keeps what a meter reads: its channels with every call of `sample`, the device's conditions once a second.

    `period_ns` is how often `running` calls `sample`, and may be changed at any time.
    """

    def __init__(self, meter: Meter, *, period_ns: int = DEFAULT_PERIOD_NS, clock: Clock = time.monotonic_ns) -> None:
        self.meter = meter
        self.period_ns = period_ns
        self.clock = clock
        self.readings = SampleLog([channel.name for channel in meter.info.channels])
        self.conditions = SampleLog(meter.info.condition_names)
        self.on_conditions: Callable[[], None] | None = None
        self._next_conditions_ns = 0
        self._failures, self._last_failure, self._count = 0, "", 0
        self._started_ns = clock()
        self.cpu_ns = 0
        self.last_ns: int | None = None
        self.last_values: tuple[float | None, ...] = (None,) * len(meter.info.channels)

    def sample(self) -> None:
        """Read once. A reading that fails is counted; the gap that it leaves is judged with the window it lies in."""
        try:
            self._read()
        except Exception as error:  # noqa: BLE001 - whatever a driver raises must leave a reason, and not end the thread
            self._failures, self._last_failure = self._failures + 1, str(error) or type(error).__name__

    def _read(self) -> None:
        if (reading := self.meter.read()) is not None:
            self._count += 1
            self.last_ns, self.last_values = reading.time_ns, reading.values
            self.readings.append(reading.time_ns, reading.values)
        if (now_ns := self.clock()) >= self._next_conditions_ns:
            self._next_conditions_ns = now_ns + CONDITIONS_PERIOD_NS
            self.conditions.append(now_ns, self.meter.read_conditions())
            self._tell()

    def _tell(self) -> None:
        if self.on_conditions is None:
            return
        try:
            self.on_conditions()
        except OSError:
            # Nobody reads the line any more; the measurement goes on.
            self.on_conditions = None

    @property
    def cost(self) -> SamplerCost:
        """So far."""
        wall_ns = self.clock() - self._started_ns
        return SamplerCost(self._count, self._failures, self._last_failure or None, self.cpu_ns, wall_ns)

    def close(self) -> None:
        """Give back the meter and the temporary files."""
        self.meter.close()
        self.readings.close()
        self.conditions.close()


@contextmanager
def running(sampler: Sampler, *, stop_limit_s: float = _STOP_LIMIT_S) -> Iterator[Sampler]:
    """Sample in a thread of its own while the block runs.

    The measured work waits for nothing here: reading a sensor releases Python's lock while the system works. Instants
    that were missed are not made up for, since readings taken in a hurry afterwards tell nothing of them.
    """
    stop = threading.Event()
    thread = threading.Thread(target=_sample_until, args=(sampler, stop), name="power-sampler", daemon=True)
    thread.start()
    try:
        yield sampler
    finally:
        stop.set()
        thread.join(stop_limit_s)


def _sample_until(sampler: Sampler, stop: threading.Event) -> None:
    due_s = time.monotonic()
    while not stop.is_set():
        sampler.sample()
        sampler.cpu_ns = time.thread_time_ns()
        now_s = time.monotonic()
        due_s = max(due_s + sampler.period_ns / 1e9, now_s)
        # Not stop.wait: that costs the processor half as much again.
        time.sleep(due_s - now_s)
