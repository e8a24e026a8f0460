"""How numbers and names are written on the page."""

import re
from collections.abc import Sequence
from math import floor, log10

from ..paper.published import by_name
from ..result import Figure, Line, MeasuredFile, Result, Unknown

NOT_KNOWN = "not known"


def number(value: float, digits: int = 4) -> str:
    """The value with so many significant digits and no exponent: 12.35, 1,234, 0.0457.

    Numbers below 1e-6 or above 1e12 have an exponent all the same: nobody counts that many zeros.
    """
    if value == 0:
        return "0"
    if not 1e-6 <= abs(value) < 1e12:
        return f"{value:.{digits - 1}e}"
    return f"{value:,.{max(0, digits - 1 - floor(log10(abs(value))))}f}"


def with_uncertainty(value: float, half_width: float, unit: str = "") -> str:
    """Both with the decimals that the half width gives sense to: "12.3 +- 0.4 mJ"."""
    decimals = 1 if half_width == 0 else max(0, 1 - floor(log10(half_width)))
    return f"{value:,.{decimals}f} ± {half_width:,.{decimals}f}{unit and f' {unit}'}"


def figure_words(figure: Figure | Unknown | None, factor: float = 1.0, unit: str = "") -> str:
    """A figure with its interval in another unit, or why it is not known."""
    if figure is None:
        return NOT_KNOWN
    if isinstance(figure, Unknown):
        return f"{NOT_KNOWN}: {figure.reason}"
    return with_uncertainty(figure.value * factor, figure.half_width * factor, unit)


def brief_reason(result: Result, reason: str) -> str:
    """Why there is no energy, in one sentence: what each meter answered stands in the section on energy."""
    whole = result.power.unavailable if result.power else None
    first = reason.partition(". ")[0]
    return (
        f"{first}; each meter's answer stands under Energy" if whole and whole in reason and first != reason else reason
    )


def without_folders(names: Sequence[str]) -> list[str]:
    """The names with their paths shortened to the last part, if that leaves them different."""
    short = [re.sub(r"\S*/(?=\S)", "", name) for name in names]
    return short if len(set(short)) == len(set(names)) else list(names)


def size_words(size_bytes: float) -> str:
    """In MiB."""
    return f"{number(size_bytes / (1 << 20), 3)} MiB"


def machine_words(result: Result) -> str:
    """What it ran on, in a few words: GPUs, the board, the processor."""
    gpus = dict.fromkeys(line.device_name for line in result.lines if line.device_name)
    environment = result.environment
    parts = [*gpus, environment.board, environment.cpu or environment.machine]
    return ", ".join(part for part in parts if part)


def date_words(result: Result) -> str:
    """The start of the run, as "2026-11-25 09:00 UTC"; as the file says it where that is no ISO 8601."""
    from datetime import datetime, timezone

    try:
        started = datetime.fromisoformat(result.started)
    except ValueError:
        return result.started
    if started.tzinfo is None:
        return f"{started:%Y-%m-%d %H:%M}"
    return f"{started.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"


def subject_words(result: Result) -> str:
    """What was measured, in a few words."""
    if result.paper:
        return f"The paper's comparison: {len(result.paper.networks)} networks"
    names = dict.fromkeys(network_of(file) for file in result.files)
    runtimes = dict.fromkeys(line.runtime for line in result.lines)
    return f"{_listed(list(names))} in {_listed(list(runtimes))}"


def network_of(file: MeasuredFile) -> str:
    """What people call its network: "ESPNetv2 2.0"; the file's name where no manifest tells it."""
    known = by_name().get(file.network or "")
    if known is not None and file.width_mult is not None:
        return f"{known.short} {file.width_mult}"
    return file.network or file.name or file.path


def setting_words(line: Line, file: MeasuredFile) -> str:
    """Runtime, device and precision: what lines of one panel have in common."""
    parts = [line.runtime, line.device_name or line.device.upper(), file.precision]
    return ", ".join(part for part in parts if part)


def _listed(names: list[str]) -> str:
    shown = names if len(names) <= 3 else [*names[:2], f"{len(names) - 2} more"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
