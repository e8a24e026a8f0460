"""The paper's statements beside what a result says of them. Pure functions of the result.

Each statement is made so that a measurement can decide it, and says the limit that it is decided by. A verdict is
that of the 95 % interval: "holds" where all of it is on the statement's side of the limit, "does not hold" where all of
it is on the other, "not told apart" in between. Counts of multiply-adds are exact and have no interval.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

from ..result import Claim, MeasuredFile, Result
from .lines import Setting, settings_of
from .pairs import Interval, Paired, Unmeasured, energy_ratio, time_ratio
from .published import (
    ACCURACY_FIGURE,
    ESPNETV2,
    NETWORKS,
    OTHERS,
    README,
    RECALLED,
    TX2_FIGURE,
    tx2_power,
)

Verdict = Literal["holds", "does not hold", "not told apart", "not measured"]
Ratio = Callable[[Result, str, str], Paired]

# "Similar" speed has no number in any source; this one is ours.
SIMILAR_TIME = 1.25
# "About 300 M" likewise: the farthest of the five that the figure itself shows is 5 % away.
ABOUT_MACS_M, ABOUT_SHARE = 300, 0.10
# Printed counts are rounded to whole millions at worst.
COUNT_SHARE = 0.01
_NOT_AUTHORS_FORM = {
    "shufflenetv1": "the reference form is measured here, with a stem of 36 channels; the authors' has 24",
}


def claims_of(result: Result) -> tuple[Claim, ...]:
    """Every statement that the sources give, beside the result's figures."""
    settings = settings_of(result)
    by_setting = zip(*(_measured_claims(result, setting) for setting in settings), strict=True)
    found = [claim for same in by_setting for claim in _of_settings(settings, same)]
    claims = (*found, *_count_claims(result), _accuracy_claim())
    # What was measured comes first; the order of the paper's figure otherwise.
    return tuple(sorted(claims, key=lambda claim: claim.verdict == "not measured"))


def _of_settings(settings: Sequence[Setting], same: Sequence[Claim]) -> Iterator[Claim]:
    """One statement in each setting; once alone where they all say the same of it."""
    if len(set(same)) == 1:
        yield same[0]
        return
    for setting, claim in zip(settings, same, strict=True):
        yield claim.model_copy(update={"statement": f"{claim.statement} ({setting.name})"})


def _measured_claims(result: Result, setting: Setting) -> Iterator[Claim]:
    smallest = setting.batches[:1]
    curves = tx2_power()
    mine = curves[ESPNETV2.network]
    for other in OTHERS:
        less = _percent_less(mine.energy_j, curves[other.network].energy_j)
        yield _of_ratios(
            f"For the same work ESPNetv2 takes at least {less} % less energy than {other.short}",
            f"{TX2_FIGURE}: areas under the curves",
            f"-{less} % ({mine.energy_j:.1f} J and {curves[other.network].energy_j:.1f} J)",
            _compared(result, setting, smallest, {other.network: 1 - less / 100}, energy_ratio),
        )
    peaks = {other.network: _percent_less(mine.peak_w, curves[other.network].peak_w) for other in OTHERS}
    yield _of_ratios(
        f"Power while ESPNetv2 works is at least {min(peaks.values())} % lower than that of each other",
        f"{TX2_FIGURE}: peaks of the curves",
        f"-{min(peaks.values())} to -{max(peaks.values())} % (peak {mine.peak_w:.2f} W)",
        _compared(result, setting, smallest, dict.fromkeys(peaks, 1 - min(peaks.values()) / 100), _power_ratio),
    )
    least = {other.network: 1.0 for other in OTHERS}
    yield _of_ratios(
        "ESPNetv2 draws the least power at every batch size",
        RECALLED,
        "the lowest curve",
        _compared(result, setting, setting.batches, least, _power_ratio),
    )
    yield _of_ratios(
        "ESPNetv2 is the most power efficient: it takes the least energy for an image at every batch size",
        RECALLED,
        "more power efficient",
        _compared(result, setting, setting.batches, least, energy_ratio),
    )
    yield _of_ratios(
        f"ESPNetv2 is about as fast as the others: at most {SIMILAR_TIME - 1:.0%} slower than each, at every batch "
        f"size".replace("%", " %"),
        f"{RECALLED}; the limit is ours",
        "similar speed",
        _compared(result, setting, setting.batches, dict.fromkeys(least, SIMILAR_TIME), time_ratio),
    )


def _power_ratio(result: Result, mine: str, other: str) -> Paired:
    return energy_ratio(result, mine, other, "power_mw")


def _compared(
    result: Result, setting: Setting, batches: Iterable[int], limits: Mapping[str, float], ratio: Ratio
) -> list[tuple[str, Paired, float]]:
    """ESPNetv2 over each other network at each batch: its name, the ratio, and the limit that it must not exceed."""
    networks = {other.network: other for other in OTHERS}
    found: list[tuple[str, Paired, float]] = []
    for batch in batches:
        mine = setting.line(ESPNETV2.network, batch)
        for name, limit in limits.items():
            other = setting.line(name, batch)
            compared_with = networks[name].short
            if mine is None or other is None:
                missing = ESPNETV2 if mine is None else networks[name]
                found.append((compared_with, Unmeasured(f"{missing.label} was not measured at batch {batch}"), limit))
            else:
                found.append((compared_with, ratio(result, mine.name, other.name), limit))
    return found


def _of_ratios(statement: str, source: str, paper: str, compared: list[tuple[str, Paired, float]]) -> Claim:
    """One claim of several ratios: it holds where each does, and does not where one does not."""
    known = [(name, paired, limit) for name, paired, limit in compared if isinstance(paired, Interval)]
    reasons = dict.fromkeys(paired.reason for _, paired, _ in compared if isinstance(paired, Unmeasured))
    verdicts = [_verdict(paired, limit) for _, paired, limit in known]
    by_network: dict[str, list[Interval]] = {}
    for name, paired, _ in known:
        by_network.setdefault(name, []).append(paired)
    ours = "; ".join(f"to {name} {_range_text(ratios)}" for name, ratios in by_network.items()) or "-"
    reason = "; ".join(reasons) or None
    # One that does not hold decides it; that all hold is only known where all were measured.
    if "does not hold" in verdicts:
        return _claim(statement, source, paper, ours, "does not hold", reason)
    if reasons or not verdicts:
        return _claim(statement, source, paper, ours, "not measured", reason or "nothing was measured")
    return _claim(statement, source, paper, ours, "not told apart" if "not told apart" in verdicts else "holds", None)


def _claim(statement: str, source: str, paper: str, ours: str, verdict: Verdict, reason: str | None) -> Claim:
    return Claim(statement=statement, source=source, paper=paper, ours=ours, verdict=verdict, reason=reason)


def _verdict(interval: Interval, limit: float) -> Verdict:
    if interval.high <= limit:
        return "holds"
    return "does not hold" if interval.low > limit else "not told apart"


def _count_claims(result: Result) -> Iterator[Claim]:
    files = _files(result)
    counts = {n.label: files[n.network].conv_macs for n in NETWORKS if n.network in files}
    yield _of_counts(
        f"Each network has about {ABOUT_MACS_M} million multiply-adds (here: within {ABOUT_SHARE:.0%})".replace(
            "%", " %"
        ),
        f"{RECALLED}; the limit is ours",
        f"about {ABOUT_MACS_M} M",
        {label: (macs, ABOUT_MACS_M) for label, macs in counts.items()},
        ABOUT_SHARE,
        None if len(counts) == len(NETWORKS) else "not all five networks were measured",
    )
    for network in NETWORKS:
        if network.flops_m is None or network.network not in files:
            continue
        yield _of_counts(
            f"{network.label} has {network.flops_m:g} million multiply-adds in its convolutions (here: within 1 %)",
            README if network is ESPNETV2 else f"{ACCURACY_FIGURE}: label of the axis",
            f"{network.flops_m:g} M",
            {network.label: (files[network.network].conv_macs, network.flops_m)},
            COUNT_SHARE,
            None,
            _NOT_AUTHORS_FORM.get(network.network),
        )


def _files(result: Result) -> dict[str, MeasuredFile]:
    """A measured file of each of the paper's networks."""
    return {
        network: result.file_of(line)
        for setting in settings_of(result)
        for network, lines in setting.lines.items()
        for line in lines.values()
    }


def _of_counts(
    statement: str,
    source: str,
    paper: str,
    counts: Mapping[str, tuple[int | None, float]],
    share: float,
    missing: str | None,
    because: str | None = None,
) -> Claim:
    ours = "; ".join(f"{label} {macs / 1e6:.1f} M" for label, (macs, _) in counts.items() if macs is not None) or "-"
    if unknown := [label for label, (macs, _) in counts.items() if macs is None]:
        missing = f"{unknown[0]}: its manifest, which has the count, was not there"
    apart = any(macs is not None and abs(macs / 1e6 / m - 1) > share for macs, m in counts.values())
    if apart:
        return _claim(statement, source, paper, ours, "does not hold", because)
    if missing:
        return _claim(statement, source, paper, ours, "not measured", missing)
    return _claim(statement, source, paper, ours, "holds", None)


def _accuracy_claim() -> Claim:
    best = max(OTHERS, key=lambda other: other.top1)
    return _claim(
        f"ESPNetv2 is about as accurate as {best.short}, the best of the others",
        f"{ACCURACY_FIGURE}: ImageNet top-1",
        f"{ESPNETV2.top1:g} % and {best.top1:g} %",
        "-",
        "not measured",
        "accuracy takes the ImageNet validation set; this command measures time and power",
    )


def _percent_less(mine: float, other: float) -> int:
    return round(100 * (1 - mine / other))


def _range_text(ratios: Sequence[Interval]) -> str:
    """One ratio with its interval; of several batches the smallest and the largest ratio, and all intervals' ends."""
    if len(ratios) == 1:
        return _signed(ratios[0])
    values, lows, highs = ([getattr(one, name) for one in ratios] for name in ("value", "low", "high"))
    seen, ends = ((_change(min(first)), _change(max(last))) for first, last in ((values, values), (lows, highs)))
    return f"{seen[0]} to {seen[1]} % ({ends[0]} to {ends[1]}) at {len(ratios)} batch sizes"


def _signed(ratio: Interval) -> str:
    """ "-38.2 % (-41.0 to -35.3)" for a ratio of 0.618."""
    return f"{_change(ratio.value)} % ({_change(ratio.low)} to {_change(ratio.high)})"


def _change(ratio: float) -> str:
    """ "-38.2" for 0.618. Units: percent."""
    return f"{100 * (ratio - 1):+.1f}"
