"""What a recording itself says against its figures, each with the way out."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from .conditions import condition_doubts
from .energy import counter_energy, mean_power_mw
from .figures import EnergyBy, LoadEnergy, Unavailable, Window
from .nvml_facts import throttling_names
from .recording import Recording, Stretch
from .trace import PowerTrace
from .uncertainty import Estimate, drift, student_t
from .ways import Way, silent_totals, total_ways

# A load whose power changes by more than this share over the campaign is not steady.
STEADY_SHARE = 0.02
# Nor is one whose power changes by more than this share from the first half of its windows to the second.
RISE_SHARE = 0.01
# Idle is at the same clocks as the load where they differ by no more than this share.
_SAME_CLOCK = 0.05


def doubts_of(recording: Recording, loads: Sequence[LoadEnergy]) -> Iterator[str]:
    """All doubts, those about single loads first."""
    if recording.partial is not None:
        yield f"power was {recording.partial}: figures are of the complete rounds; measure again"
    for load in loads:
        yield from _load_doubts(load)
        yield from _rise_doubts(recording, load)
        yield from _clock_doubts(recording, load.name)
        yield from _throttle_doubts(recording, load.name)
    if not recording.steady:
        yield "power had not become steady at the end of the longest warm-up: let the machine come to rest, lock clocks"
    yield from recording.sensor_notes
    yield from _silence_doubts(recording)
    yield from _step_doubts(recording)
    sees = recording.meter.sees
    yield from condition_doubts(
        *recording.machine, measures_cpu=sees in {"cpu", "machine"}, measures_gpu=sees in {"gpu", "machine"}
    )


def _load_doubts(load: LoadEnergy) -> Iterator[str]:
    by = load.total
    if isinstance(by.gross_mj, Unavailable):
        return
    if load.other is not None and isinstance(load.other.gross_mj, Unavailable):
        yield f"{load.name}: {load.other.label} gives no figure to compare with: {load.other.gross_mj.reason}"
    refused = [window for window in by.windows if window.refused]
    if refused:
        yield (
            f"{load.name}: {len(refused)} of {len(by.windows)} windows were left out, the first because of: "
            f"{refused[0].refused}"
        )
    yield from _drift_doubts(load.name, by)
    if isinstance(by.net_mj, Estimate) and by.net_mj.low <= 0:
        yield f"{load.name}: net energy cannot be told from 0; raise the load (a larger batch) or --power-rounds"


def _drift_doubts(name: str, by: EnergyBy) -> Iterator[str]:
    """Power of the windows that rises or falls over the campaign."""
    windows = [window for window in by.windows if window.gross_mj is not None]
    powers_mw = [window.gross_mj / window.inference_ns * 1e9 for window in windows if window.gross_mj is not None]
    if len(powers_mw) < 3:
        return
    mean_mw = float(np.mean(powers_mw))
    found = drift(powers_mw, [window.mid_ns for window in windows], STEADY_SHARE * mean_mw)
    if found.flag is not None:
        yield (
            f"{name}: power drifted by {found.change / mean_mw:+.1%} over the rounds, more than {STEADY_SHARE:.0%}: "
            "warm the machine up for longer, or lock its clocks"
        )


def _rise_doubts(recording: Recording, load: LoadEnergy) -> Iterator[str]:
    """Power that still rises or falls within the windows, in the same way in each."""
    by = load.total
    way = next((way for way in total_ways(recording) if way.label == by.label), None)
    if way is None or recording.plans[load.name].phases_ns or isinstance(by.gross_mj, Unavailable):
        return
    shares = [share for window in by.windows if (share := _rise_within(way, window)) is not None]
    if len(shares) < 3:
        return
    mean, error = float(np.mean(shares)), float(np.std(shares, ddof=1)) / len(shares) ** 0.5
    if abs(mean) > RISE_SHARE and abs(mean) > student_t(len(shares) - 1) * error:
        yield (
            f"{load.name}: power changed by {mean:+.1%} from the first half of its windows to the second: the device "
            "had not settled; measure for longer (--power-window), or lock its clocks"
        )


def _rise_within(way: Way, window: Window) -> float | None:
    """By which share the second half of the window drew more power than the first; None where that is not known."""
    halves = ((window.start_ns, window.mid_ns), (window.mid_ns, window.end_ns))
    try:
        first_mw, second_mw = (_mean_mw(way, *half) for half in halves)
    except ValueError:
        return None  # too short for the counter's ticks, or not seen: the window itself says so
    return second_mw / first_mw - 1 if first_mw > 0 else None


def _mean_mw(way: Way, start_ns: int, end_ns: int) -> float:
    if isinstance(way.trace, PowerTrace):
        return mean_power_mw(way.trace, start_ns, end_ns)
    found = counter_energy(way.trace, start_ns, end_ns)
    return found.energy_j / (found.end_ns - found.start_ns) * 1e12


def _clock_doubts(recording: Recording, name: str) -> Iterator[str]:
    """Clocks that idle does not have in common with the load."""
    for clock in (column for column in recording.conditions.columns if column.endswith("clock_mhz")):
        idle_mhz = _during(recording, clock, recording.of("idle"))
        load_mhz = _during(recording, clock, recording.of("load", name))
        if idle_mhz and load_mhz and abs(np.mean(idle_mhz) / max(np.mean(load_mhz), 1) - 1) > _SAME_CLOCK:
            yield (
                f"{name}: {clock} was {np.mean(idle_mhz):.0f} in idle and {np.mean(load_mhz):.0f} under load, so net "
                "energy has the rise of the clock in it: lock the clocks (nvidia-smi -lgc, sudo jetson_clocks)"
            )


def _throttle_doubts(recording: Recording, name: str) -> Iterator[str]:
    """Windows in which the device was slowed down."""
    tells: dict[str, Callable[[float], str]] = {
        "throttle_reasons": lambda value: ", ".join(throttling_names(int(value))),
        "throttled": lambda value: f"cooling state {value:g}" if value else "",
    }
    for column, tell in tells.items():
        values = _during(recording, column, recording.of("load", name))
        told = dict.fromkeys(filter(None, map(tell, values)))
        if told:
            share = sum(bool(tell(value)) for value in values) / len(values)
            yield (
                f"{name}: it was slowed down in {share:.0%} of the time ({'; '.join(told)}): cool it better, or set a "
                "power limit or clocks that it can hold"
            )


def _silence_doubts(recording: Recording) -> Iterator[str]:
    """Declared ways of measuring that gave nothing: without a word, one would think that there was none to check by."""
    for label in silent_totals(recording):
        failure = recording.cost.last_failure
        yield (
            f"the {label} never gave a reading{f' ({failure})' if failure else ''}, so nothing checks the other way of "
            "measuring; look what the device's driver says, or name another --power-source"
        )


def highest_utilisation_percent(recording: Recording) -> float | None:
    """How busy the meter's GPU was under the load that kept it busiest (median), in percent; None if nothing told."""
    by_load = [_during(recording, "utilisation_percent", recording.of("load", name)) for name in recording.loads]
    return max((float(np.median(values)) for values in by_load if values), default=None)


def _step_doubts(recording: Recording) -> Iterator[str]:
    """Rails whose step nobody knows: the intervals of their samples allow for none."""
    unknown = [part.rail for way in total_ways(recording) for part in way.parts if part.sensor.step_mw is None]
    if unknown:
        yield f"the smallest step of {', '.join(unknown)} is not known, so no interval by its samples allows for it"


def _during(recording: Recording, column: str, stretches: Sequence[Stretch]) -> list[float]:
    """What the column says in these stretches."""
    values = recording.conditions.columns.get(column, ())
    spans = [(stretch.start_ns, stretch.end_ns) for stretch in stretches]
    return [
        value
        for time_ns, value in zip(recording.conditions.time_ns, values, strict=False)
        if value is not None and any(start <= time_ns <= end for start, end in spans)
    ]
