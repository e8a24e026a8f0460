"""Power by tegrastats, the program that comes with Jetson Linux: run beside the measurement, read line by line.

It prints what the chips say whose rails `boards` describes, and needs no rights on most boards. A line tells no more
than the second that it was printed in, so lines are stamped when they arrive.
"""

import os
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import one_line
from .boards import INA3221_SOURCE, NOT_CONNECTED, Total, of_ina3221, step_mw, total_of
from .meter import Channel, MeterError, MeterInfo, NoMeterError, Reading
from .tegrastats import MAX_LINE_CHARS, Line, RailPower, lines_between, parse_line
from .trace import SensorFacts

PROGRAM, _USUAL_FOLDER = "tegrastats", "/usr/bin"
# No Jetson draws as much: the most that one may is 168 W, at the input of an AGX Thor.
_MAX_PLAUSIBLE_MW = 1_000_000
# Lines that may come before one with plausible powers.
_TRIES = 3
_READ_BYTES, _MAX_SAID_CHARS, _MAX_RAILS = 1 << 16, 200, 100
_BOARD_INPUT, _BOARD_SENSOR = "VIN", "INA238 on the carrier board"
_OFFSET = "up to 2 steps of each rail: 80 uV by the INA3221's datasheet"


@dataclass(frozen=True)
class TegrastatsLimits:
    """How long the program may take.

    Attributes:
        first_line_s: to its first line. Units: s.
        stall_s: from one line to the next; then it counts as failed. Units: s.
        end_s: to end when it is asked to; then it is killed. Units: s.
    """

    first_line_s: float
    stall_s: float
    end_s: float = 0.5


class TegrastatsMeter:
    """See `meter.Meter`. Where the program dies or stalls, it is started again, once; then `read` raises.

    A restart shows as a pause between two readings. The averages that the program prints begin anew; no reading uses
    them.
    """

    def __init__(self, reader: "_Reader", info: MeterInfo) -> None:
        self.info = info
        self._reader = reader
        self._names = [channel.name for channel in info.channels]
        self._seen = 0

    @property
    def lost_lines(self) -> int:
        """How many lines of the program never arrived, at least, by its running averages."""
        return self._reader.lost_lines

    @property
    def restarts(self) -> int:
        """How often the program was started again."""
        return self._reader.restarts

    @property
    def new_rails(self) -> tuple[str, ...]:
        """Rails that came up only later, which are not read."""
        return tuple(sorted(self._reader.rails_seen - {*self._names, NOT_CONNECTED}))

    def read(self) -> Reading | None:
        """The powers of the newest line; None where none came since the last call.

        A rail that the line does not have, or with a power that no board draws, is None.

        Raises:
            MeterError: the program ended or stalled, twice, or the meter is closed.
        """
        arrival, problem = self._reader.newest()
        if arrival is None or arrival.number == self._seen:
            if problem is not None:
                raise MeterError(f"{PROGRAM} {problem}")
            return None
        self._seen = arrival.number
        return Reading(arrival.time_ns, tuple(_plausible_mw(arrival.line.get(name)) for name in self._names))

    def read_conditions(self) -> tuple[float | None, ...]:
        """What the newest line says of `info.condition_names`."""
        arrival, _ = self._reader.newest()
        return tuple(_CONDITIONS[name](arrival.line) if arrival else None for name in self.info.condition_names)

    def close(self) -> None:
        """End the program and wait until it has ended; it is killed where it does not end by itself."""
        self._reader.close()


def open_tegrastats(
    *,
    environ: Mapping[str, str] | None = None,
    interval_ms: int = 100,
    model: str | None = None,
    clock: Callable[[], int] = time.monotonic_ns,
    limits: TegrastatsLimits | None = None,
) -> TegrastatsMeter:
    """Start tegrastats and wait for its first line.

    Args:
        environ: for PATH, on which the program is looked for before /usr/bin, and for the program itself.
        interval_ms: from one line to the next. Units: ms.
        model: what /proc/device-tree/model says, where it is known.
        clock: stamps lines when they arrive. Units: ns.
        limits: how long the program may take; None: 5 s and an interval to its first line, 30 intervals and 3 s at
            least from one line to the next.

    Raises:
        NoMeterError: the program is missing, does not run, or prints no plausible power.
        ValueError: the interval is shorter than 1 ms.
    """
    if interval_ms < 1:
        raise ValueError(f"an interval of {interval_ms} ms: 1 ms or longer is needed")
    environ = os.environ if environ is None else environ
    folders = os.pathsep.join([environ.get("PATH", os.defpath), _USUAL_FOLDER])
    program = shutil.which(PROGRAM, path=folders)
    if program is None:
        answer = f"{PROGRAM} is neither on PATH nor in {_USUAL_FOLDER}"
        raise NoMeterError(answer, "nothing to do: Jetson boards have it")
    command = [program, "--interval", str(interval_ms)]
    # A comma for the decimal point, as some languages have it, would be no number.
    reader = _Reader(command, {**environ, "LC_ALL": "C"}, clock, limits or _usual_limits(interval_ms))
    try:
        line, total = _first_plausible(reader, model)
        return TegrastatsMeter(reader, _info(line, total, program, interval_ms, model))
    except BaseException:
        reader.close()
        raise


def _usual_limits(interval_ms: int) -> TegrastatsLimits:
    return TegrastatsLimits(first_line_s=5 + interval_ms / 1e3, stall_s=max(3.0, 30 * interval_ms / 1e3))


def _first_plausible(reader: "_Reader", model: str | None) -> tuple[Line, Total]:
    """The first line with plausible powers, and what the total of its rails is."""
    answer = None
    for number in range(_TRIES):
        arrival, problem = reader.wait_for_line(number)
        if arrival is None:
            answer = answer or (f"{PROGRAM} {problem}", f"see what it says: {' '.join(reader.command)}")
            break
        line = arrival.line
        total = total_of([*_rails(line), *line.repeated, *line.repeated], model)
        answer = _doubt(line, total)
        if answer is None:
            return line, total
    assert answer is not None
    raise NoMeterError(*answer)


_READ_THE_CHIPS = "read the chips in /sys/bus/i2c/drivers, or measure at the power adapter"
_NO_RAILS = (
    f"run as root, which AGX Orin with Jetson Linux 35 needs; TX2 NX and older releases have none: {_READ_THE_CHIPS}"
)


def _rails(line: Line) -> list[str]:
    return [name for name in line if name != NOT_CONNECTED]


def _doubt(line: Line, total: Total) -> tuple[str, str] | None:
    """Why its powers are no measurement, and the way out; None where they may be one."""
    powers_mw = {name: line[name].current_mw for name in _rails(line)}
    if not powers_mw:
        return f"{PROGRAM} prints no power rails", _NO_RAILS
    highest = max(powers_mw, key=lambda name: abs(powers_mw[name]))
    if abs(powers_mw[highest]) > _MAX_PLAUSIBLE_MW:
        return f"{PROGRAM} prints {powers_mw[highest]} mW for {highest}, more than any board draws", _READ_THE_CHIPS
    if powers_mw[highest] == 0:
        return f"{PROGRAM} prints 0 mW for every rail", _NO_RAILS
    if total.rails and sum(powers_mw[name] for name in total.rails) <= 0:
        return f"{PROGRAM} prints 0 mW or less for {' + '.join(total.rails)}, a board that runs", _READ_THE_CHIPS
    return None


def _plausible_mw(power: RailPower | None) -> int | None:
    return power.current_mw if power is not None and abs(power.current_mw) <= _MAX_PLAUSIBLE_MW else None


def _info(line: Line, total: Total, program: str, interval_ms: int, model: str | None) -> MeterInfo:
    board = total.board or model or "a Jetson whose model is not known"
    return MeterInfo(
        source=PROGRAM,
        device=one_line(board)[:_MAX_SAID_CHARS],
        sees="machine",
        scope=total.scope,
        channels=tuple(_channel(name, total.board, interval_ms) for name in _rails(line)),
        power_total=total.rails,
        no_total_reason=total.reason,
        condition_names=tuple(name for name, condition in _CONDITIONS.items() if condition(line) is not None),
        facts={"program": program, "interval_ms": interval_ms},
    )


def _channel(name: str, board: str | None, interval_ms: int) -> Channel:
    sensor = SensorFacts(
        update_period_ns=interval_ms * 1_000_000,
        step_mw=step_mw(name, board),
    )
    if name == _BOARD_INPUT:
        return Channel(name, "power_mw", sensor.updated(source=_BOARD_SENSOR))
    return Channel(name, "power_mw", of_ina3221(sensor, INA3221_SOURCE))


def _gpu_clock_mhz(line: Line) -> float | None:
    """Of the fastest part: some GPUs have a clock for each."""
    return max(line.gpu.clocks_mhz, default=None) if line.gpu else None


def _emc_clock_mhz(line: Line) -> float | None:
    return max(line.emc.clocks_mhz, default=None) if line.emc else None


def _cpu_clock_mhz(line: Line) -> float | None:
    """Of the fastest core that is on."""
    return max((clock for core in line.cpus if core for clock in core.clocks_mhz), default=None)


def _temperature_c(line: Line) -> float | None:
    return line.hottest_c


_CONDITIONS: Mapping[str, Callable[[Line], float | None]] = {
    "temperature_c": _temperature_c,
    "gpu_clock_mhz": _gpu_clock_mhz,
    "emc_clock_mhz": _emc_clock_mhz,
    "cpu_clock_mhz": _cpu_clock_mhz,
}


@dataclass(frozen=True)
class _Arrival:
    """A line, which one it is, counted from 1, and when it arrived."""

    number: int
    time_ns: int
    line: Line


class _Reader:
    """Runs the program in a thread of its own, which starts it, reads what it prints, starts it again and ends it."""

    def __init__(
        self, command: Sequence[str], environ: Mapping[str, str], clock: Callable[[], int], limits: TegrastatsLimits
    ) -> None:
        self.command = command
        self.lost_lines = self.restarts = 0
        self.rails_seen: frozenset[str] = frozenset()
        self._environ, self._clock, self._limits = environ, clock, limits
        self._newest: _Arrival | None = None
        self._problem: str | None = None
        self._last_words = ""
        self._changed = threading.Condition()
        self._wakes, self._wake = os.pipe()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=PROGRAM, daemon=True)
        self._thread.start()

    def newest(self) -> tuple[_Arrival | None, str | None]:
        """The newest line, and why no more will come; None each where that is not so."""
        with self._changed:
            return self._newest, self._problem

    def wait_for_line(self, after: int) -> tuple[_Arrival | None, str | None]:
        """A line later than that with the number `after`, or why there is none."""
        with self._changed:
            self._changed.wait_for(lambda: self._number() > after or self._problem is not None)
            return (self._newest if self._number() > after else None), self._problem

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        os.close(self._wake)  # the thread sees the end of the pipe
        self._thread.join()
        os.close(self._wakes)

    def _number(self) -> int:
        return self._newest.number if self._newest else 0

    def _run(self) -> None:
        problem: str | None = "was given up: its reader failed"
        try:
            problem = self._watch()
            # Where it never worked there is nothing to hope for.
            if problem is not None and self._newest is not None:
                self.restarts += 1
                again = self._watch()
                problem = again and f"{again}, after it was started again because it {problem}"
        finally:
            with self._changed:
                self._problem = problem or "is closed"
                self._changed.notify_all()

    def _watch(self) -> str | None:
        """Run the program until it ends or stalls, and say why; None where it was stopped by `close`."""
        try:
            process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=dict(self._environ),
                start_new_session=True,  # Ctrl-C is for us, who end it in good order
            )
        except OSError as error:
            return f"cannot be started: {error.strerror or error}"
        with process:
            assert process.stdout is not None
            try:
                return self._listen(process, process.stdout.fileno())
            finally:
                _end(process, self._limits.end_s)

    def _listen(self, process: subprocess.Popen[bytes], output: int) -> str | None:
        lines, run = _Lines(), _Run()
        limit_s, last_s = self._limits.first_line_s, time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            selector.register(self._wakes, selectors.EVENT_READ)
            while (left_s := last_s + limit_s - time.monotonic()) > 0:
                ready = {key.fd for key, _ in selector.select(left_s)}
                if self._wakes in ready:
                    return None
                if output not in ready:
                    continue
                chunk = os.read(output, _READ_BYTES)
                if not chunk:
                    return f"{_ending(process, self._limits.end_s)}{self._said()}"
                if self._take(lines.feed(chunk), run):
                    limit_s, last_s = self._limits.stall_s, time.monotonic()
        return f"printed no line for {limit_s:g} s{self._said()}"

    def _take(self, texts: Sequence[bytes], run: "_Run") -> bool:
        """Keep what arrived; whether there was a line of tegrastats."""
        now_ns, taken = self._clock(), False
        for text in texts:
            line = parse_line(text.decode("ascii", errors="replace"))
            if line.ram is None:
                self._last_words = one_line(text.decode(errors="replace"))[:_MAX_SAID_CHARS] or self._last_words
                continue
            taken = True
            with self._changed:
                self.lost_lines += run.missing_before(line)
                if len(self.rails_seen) < _MAX_RAILS:
                    self.rails_seen |= line.rails.keys()
                self._newest = _Arrival(self._number() + 1, now_ns, line)
                self._changed.notify_all()
        return taken

    def _said(self) -> str:
        return f" ({self._last_words})" if self._last_words else ""


class _Lines:
    """Puts lines together from what a pipe gives; of one that is too long nothing is kept."""

    def __init__(self) -> None:
        self._begun = b""
        self._too_long = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that came to their end."""
        *ended, begun = (self._begun + chunk).split(b"\n")
        if self._too_long and ended:
            ended, self._too_long = ended[1:], False
        self._too_long |= len(begun) > MAX_LINE_CHARS
        self._begun = b"" if self._too_long else begun
        return [line for line in ended if len(line) <= MAX_LINE_CHARS]


class _Run:
    """One run of the program, whose averages begin with its first line."""

    def __init__(self) -> None:
        self._number = 0
        self._before = Line()

    def missing_before(self, line: Line) -> int:
        """How many lines are missing between this one and the one before, at least."""
        both = line.rails.keys() & self._before.rails.keys()
        missing = max((lines_between(self._before[rail], line[rail], self._number) for rail in both), default=0)
        self._number, self._before = self._number + 1 + missing, line
        return missing


def _ending(process: subprocess.Popen[bytes], limit_s: float) -> str:
    """What became of a program that closed its output."""
    try:
        code = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return "closed its output"
    return f"ended with exit code {code}" if code >= 0 else f"was ended by {_signal_name(-code)}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _end(process: subprocess.Popen[bytes], limit_s: float) -> None:
    process.terminate()
    try:
        process.wait(limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
