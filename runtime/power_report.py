"""Power and energy for people and as JSON: table, sentences, definitions, doubts."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import floor, inf, log10
from typing import Any, Protocol

from ..errors import EspnetEdgeError
from ..power.doubts import highest_utilisation_percent
from ..power.figures import EnergyBy, EnergyReport, Figure, LoadEnergy, Unavailable
from ..power.meters import Probe
from ..power.recording import Recording
from ..power.recording_file import SCHEMA_VERSION, recording_json
from ..power.trace import SensorFacts
from ..power.uncertainty import Estimate

# Sampling is meant to take less than this share of one core.
_SAMPLER_SHARE = 0.01
# A GPU that was busy for less than this share of the time under every load is not the one that computed.
_BUSY_PERCENT = 5.0
# Of a figure whose interval is next to nothing.
_MAX_DECIMALS = 6


class Computes(Protocol):
    """What computed: a runner's facts, or a line of a result."""

    @property
    def device(self) -> str:
        """ "cpu" or "cuda"."""


@dataclass(frozen=True)
class MeasuredPower:
    """What was recorded, and the figures that follow from it."""

    recording: Recording
    energy: EnergyReport


@dataclass(frozen=True)
class MissingPower:
    """Power was asked for and could not be measured: the failure, and what each meter answered that was probed."""

    error: EspnetEdgeError
    probes: tuple[Probe, ...]

    @property
    def reason(self) -> str:
        """The failure in one line."""
        return str(self.error)


def power_json(power: MeasuredPower | MissingPower) -> dict[str, Any]:
    """JSON values: the recording, from which the result follows, and the result; or why there is none."""
    if isinstance(power, MissingPower):
        return {
            "schema_version": SCHEMA_VERSION,
            "unavailable": power.reason,
            "probes": [asdict(probe) for probe in power.probes],
        }
    return {
        "schema_version": SCHEMA_VERSION,
        "result": result_json(power),
        "recording": recording_json(power.recording),
    }


def result_json(power: MeasuredPower) -> Any:
    """JSON values of the figures."""
    return _finite(asdict(power.energy))


def power_rows(power: MeasuredPower) -> dict[str, dict[str, str]]:
    """The cells of each load's row, by its name."""
    return {load.name: _row(load) for load in power.energy.loads}


def power_sentences(power: MeasuredPower | MissingPower) -> list[str]:
    """What was found of each load, in words."""
    if isinstance(power, MissingPower):
        return [f"not measured: {power.reason}"]
    return [line for load in power.energy.loads for line in _sentences(load)]


def power_definitions(power: MeasuredPower | MissingPower) -> list[str]:
    """What the figures mean, and how they were taken."""
    if isinstance(power, MissingPower):
        return []
    recording = power.recording
    plan = next(iter(recording.plans.values()))
    reasons = _plan_reasons(recording)
    return [
        (
            f"energy: of one inference, by {recording.meter.name} of {recording.meter.device}; in it: "
            f"{recording.meter.scope}. Gross is all that was drawn while it ran, net is what idle, with everything "
            "loaded and ready, would not have drawn in that time"
        ),
        (
            "±: half of the 95 % interval of the mean over the rounds, from their scatter around a straight line in "
            "time (Student's t) and what is common to all rounds; the sensor's gain error is stated apart, and cancels "
            "in ratios"
        ),
        f"energy ratio: relative to {power.energy.loads[0].name}, formed within the rounds",
        f"power sensor: {_sensor_text(recording.sensor)}",
        (
            f"power rounds: {plan.rounds} for each line, in random order (seed {recording.seed}), idle before and "
            f"after; {reasons}"
        ),
    ]


def _plan_reasons(recording: Recording) -> str:
    """Why the windows are as they are: once, or for each load where that is not the same."""
    reasons: dict[str, list[str]] = {}
    for name, plan in recording.plans.items():
        reasons.setdefault(plan.reason, []).append(name)
    if len(reasons) == 1:
        return next(iter(reasons))
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())


def power_doubts(power: MeasuredPower | MissingPower, runners: Sequence[Computes]) -> list[str]:
    """What speaks against the figures of power, each with its remedy."""
    if isinstance(power, MissingPower):
        return []
    return [*_scope_doubts(power.recording, runners), *_sampler_doubts(power.recording), *power.energy.doubts]


def figure_text(figure: Figure, factor: float = 1.0) -> str:
    """ "3.41 ± 0.12", with two significant digits of the half-width; "unknown"."""
    if isinstance(figure, Unavailable):
        return "unknown"
    value, half_width = _rounded(figure, factor)
    return f"{value} ± {half_width}"


def _finite(value: Any) -> Any:
    """JSON has no infinity: degrees of freedom that are not from a sample are null there."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if value == inf else value


def _row(load: LoadEnergy) -> dict[str, str]:
    gross = load.total.gross_mj
    return {
        "energy mJ": figure_text(gross),
        "net mJ": figure_text(load.total.net_mj),
        "power W": figure_text(load.total.power_mw, 1e-3),
        "ms": f"{load.inference_ms:.3f}",
        "inferences/J": f"{1e3 / gross.value:.4g}" if isinstance(gross, Estimate) and gross.value > 0 else "unknown",
        "energy ratio": _ratio_text(load),
    }


def _ratio_text(load: LoadEnergy) -> str:
    if load.ratio is not None:
        return figure_text(load.ratio)
    return "unknown" if isinstance(load.total.gross_mj, Unavailable) else "1.00"


def nothing_known(power: MeasuredPower) -> str | None:
    """Why no load has any figure, neither of the total nor of a rail; None where one has."""
    figures = [by.gross_mj for load in power.energy.loads for by in (load.total, *load.rails)]
    reasons = [figure.reason for figure in figures if isinstance(figure, Unavailable)]
    if len(reasons) < len(figures):
        return None
    failure = power.recording.cost.last_failure
    return reasons[0] + (f"; the last reading that failed: {failure}" if failure else "")


def _sentences(load: LoadEnergy) -> Iterator[str]:
    yield f"{load.name}: {_energy_text(load)}"
    if isinstance(load.total.gross_mj, Estimate):
        yield f"{load.name}: {_budget_text(load.total)}"
    if load.other is not None:
        apart = "" if load.difference is None else f", {load.difference:+.1%} from the above"
        yield f"{load.name}: by {load.other.label} {_figure_or_reason(load.other.gross_mj, 'mJ')}{apart}"
    for rail in load.rails:
        gross, net = (_figure_or_reason(figure, "mJ") for figure in (rail.gross_mj, rail.net_mj))
        yield f"{load.name}: {rail.label} {gross}, net {net}{_rail_text(rail)}"


def _energy_text(load: LoadEnergy) -> str:
    by = load.total
    if isinstance(by.gross_mj, Unavailable):
        return f"energy unknown: {by.gross_mj.reason}"
    value, half_width = _rounded(by.gross_mj, 1.0)
    net = _figure_or_reason(by.net_mj, "mJ")
    return (
        f"{value} mJ ± {half_width} (95 %, {by.label}, n={by.gross_mj.n}, {load.window_s:.3g} s windows); "
        f"net of idle {net}"
    )


def _budget_text(by: EnergyBy) -> str:
    assert isinstance(by.gross_mj, Estimate)
    parts = [f"{component.name} {component.standard_uncertainty:.2g}" for component in by.gross_mj.components]
    return f"standard uncertainties in mJ: {', '.join(parts)}; apart from them the sensor: {_constant_text(by)}"


def _rail_text(rail: EnergyBy) -> str:
    """How many windows are behind a rail's figures, and what is not in their intervals."""
    if isinstance(rail.gross_mj, Unavailable):
        return ""
    return f" (n={rail.gross_mj.n}; apart from the intervals the sensor: {_constant_text(rail)})"


def _constant_text(by: EnergyBy) -> str:
    """The sensor's constant errors, which no interval has in it."""
    gain = "its gain error is not known" if by.gain_error is None else f"its gain, ±{by.gain_error:.1%}"
    offset = "" if by.offset_mj is None else f", and its offset, ±{by.offset_mj:.2g} mJ, which net energy has not"
    return f"{gain}{offset}"


def _figure_or_reason(figure: Figure, unit: str) -> str:
    return f"unknown ({figure.reason})" if isinstance(figure, Unavailable) else f"{_unit_first(figure, unit)}"


def _unit_first(figure: Estimate, unit: str) -> str:
    value, half_width = _rounded(figure, 1.0)
    return f"{value} {unit} ± {half_width}"


def _rounded(figure: Estimate, factor: float) -> tuple[str, str]:
    value, half_width = figure.value * factor, figure.half_width * factor
    decimals = min(max(0, 1 - floor(log10(half_width))), _MAX_DECIMALS) if half_width > 0 else 3
    text = f"{value:.{decimals}f}"
    # Nothing is not less than nothing.
    return text if float(text) else text.lstrip("-"), f"{half_width:.{decimals}f}"


def _sensor_text(sensor: SensorFacts | None) -> str:
    if sensor is None:
        return "not known"
    period, window = _ms(sensor.update_period_ns), _ms(sensor.averaging_window_ns)
    step = "unknown" if sensor.step_mw is None else f"{sensor.step_mw:.3g} mW"
    return f"a new reading every {period}, the mean of {window}, in steps of {step} ({sensor.source})"


def _ms(time_ns: int | None) -> str:
    return "an unknown time" if time_ns is None else f"{round(time_ns / 1e6, 1):g} ms"


def _scope_doubts(recording: Recording, runners: Sequence[Computes]) -> Iterator[str]:
    if recording.meter.source == "replay":
        yield "the readings are a replayed trace, not of what ran here: name a meter of this machine"
    sees = recording.meter.sees
    blind = {"gpu": "cpu", "cpu": "cuda"}.get(sees)
    if any(runner.device == blind for runner in runners):
        what, other = ("GPU", "processor") if sees == "gpu" else ("processor", "GPU")
        yield f"the meter sees the {what} alone, and the {other} computed here: choose another --power-source"
    busy = highest_utilisation_percent(recording)
    is_this_gpu = sees == "gpu" and recording.meter.source != "replay"
    computes = any(runner.device == "cuda" for runner in runners)
    if is_this_gpu and computes and busy is not None and busy < _BUSY_PERCENT:
        yield (
            f"{recording.meter.device} was busy for {busy:.0f} % of the time under load: another GPU computed; name it "
            "with --power-source nvml:UUID"
        )


def _sampler_doubts(recording: Recording) -> Iterator[str]:
    cost = recording.cost
    if cost.wall_ns and cost.cpu_ns / cost.wall_ns > _SAMPLER_SHARE:
        yield (
            f"sampling took {cost.cpu_ns / cost.wall_ns:.1%} of a core, more than {_SAMPLER_SHARE:.0%}: the measured "
            "work may have waited for it; stop other work on this machine"
        )
    if cost.failures:
        yield f"{cost.failures} readings of {cost.failures + cost.readings} failed, the last one: {cost.last_failure}"
