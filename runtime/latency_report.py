"""Latencies for people: rows, what the figures mean, and what speaks against them."""

from collections.abc import Iterator

from .order_statistics import percentile_doubts
from .paired import LEAST_ROUNDS
from .result import Latency, Line, LineLatency, Result
from .stats import Ratio, Summary, median

# Medians of a line's rounds that lie further apart than this share tell of a machine that is not steady.
_STEADY_SHARE = 0.10
# So many of them are named, the most unsteady first.
_SHOWN_LINES = 4
_STAGE_MEANINGS = {
    "enqueue": "the host's time to queue the work",
    "h2d": "copy of the inputs to the GPU",
    "compute": "the network on the GPU",
    "d2h": "copy of the outputs back, all three by CUDA events",
    "decode": "a photo's file to pixels",
    "preprocess": "pixels to the network's input",
    "infer": "one call of infer",
    "postprocess": "outputs to the answer, all four by the host's clock",
}


def latency_cells(line: LineLatency) -> dict[str, str]:
    """The cells of a line's row."""
    summary = line.summary
    percentiles = {f"p{name} ms": f"{getattr(summary, f'p{name}_ms'):.3f}" for name in (50, 90, 95, 99)}
    return {
        "n": str(summary.n),
        **percentiles,
        "images/s": f"{line.throughput_per_s:.4g}",
        "ratio": "1.00" if line.ratio is None else ratio_text(line.ratio),
    }


def stage_rows(latency: Latency) -> list[dict[str, str]]:
    """One row for each stage of each line that has stages."""
    return [
        {
            "measured": line.name,
            "stage": stage,
            "n": str(summary.n),
            **{f"p{name} ms": f"{getattr(summary, f'p{name}_ms'):.3f}" for name in (50, 90, 99)},
        }
        for line in latency.lines
        for stage, summary in _all_stages(line).items()
    ]


def latency_definitions(result: Result) -> Iterator[str]:
    """What the figures of a result's latency mean, and how they were taken."""
    latency = result.latency
    if latency is None:
        return
    settings, first = latency.settings, latency.lines[0]
    yield _what_latency_is(latency, result.lines[0])
    yield f"p50 to p99: percentiles over the n samples of all rounds, {first.summary.percentile_rule}"
    yield "images/s: images (or words) that came out per second of the timed blocks, all streams together"
    stages = dict.fromkeys(stage for line in latency.lines for stage in line.stages)
    if stages:
        meanings = "; ".join(f"{stage}: {_STAGE_MEANINGS.get(stage, 'timed apart')}" for stage in stages)
        yield f"stages, timed in blocks of their own: {meanings}"
    if len(latency.lines) > 1:
        yield (
            f"ratio: time relative to {first.name} (2.00 takes twice as long); the medians of the two blocks of a "
            "round are divided, the median over the rounds is given, and in brackets its 95 % interval"
        )
    yield (
        f"{settings.rounds} rounds of one block for each line, in random order (seed {settings.seed}); a block is 1 "
        f"discarded inference, then at least {settings.iterations} timed ones"
        + (f" and {settings.block_s:g} s" if settings.block_s else "")
        + f"; warm-up until three windows agree within 5 %, at least {settings.warmup_iterations} inferences and "
        f"{settings.warmup_s:g} s, at most {settings.max_warmup_s:g} s"
    )
    if settings.preset is not None:
        from .presets import preset

        yield from preset(settings.preset).definitions


def latency_doubts(result: Result) -> Iterator[str]:
    """What the samples themselves say against the figures, each with its remedy."""
    if (latency := result.latency) is None:
        return
    yield from _tail_doubts(latency)
    yield from _warmup_doubts(latency)
    yield from _drift_doubts(latency)
    yield from _rate_doubts(result, latency)
    yield from _tie_doubts(result, latency)


def ratio_text(ratio: Ratio) -> str:
    """ "1.52 [1.49..1.55]", in brackets the 95 % interval; "1.52 [no interval]" where there is none."""
    if ratio.low is None or ratio.high is None:
        return f"{_figure(ratio.median)} [no interval]"
    return f"{_figure(ratio.median)} [{_figure(ratio.low)}..{_figure(ratio.high)}]"


def round_medians_ms(line: LineLatency) -> list[float]:
    """The median of each round's block. Units: ms."""
    return [median(block) / 1e6 for block in line.samples_ns]


def _all_stages(line: LineLatency) -> dict[str, Summary]:
    service: dict[str, Summary] = {} if line.service_summary is None else {"service": line.service_summary}
    return {**service, **line.stages}


def _what_latency_is(latency: Latency, line: Line) -> str:
    settings = latency.settings
    if settings.preset is not None:
        return f"latency: as {settings.preset} takes it, see below"
    photos = any(set(one.stages) == {"decode", "preprocess", "infer", "postprocess"} for one in latency.lines)
    what = (
        "from the bytes of a photo's file on the disk to the answer: labels, classes or boxes"
        if photos
        else "one call of infer, from the input arrays ready in memory to the output arrays ready in memory, copies to "
        "and from a device included; no file is read, no picture decoded"
    )
    if settings.rate_hz is None:
        streams = (
            "" if line.streams == 1 else f"; {line.streams} streams at once, each starts the next when one is done"
        )
        return f"latency: {what}{streams}"
    return (
        f"latency: {what}; {settings.rate_hz:g} arrive per second by a timetable, and each is timed from the instant "
        "at which it was due, also where the one before was still under way. service: the same from its start on"
    )


def _tail_doubts(latency: Latency) -> Iterator[str]:
    n = min(line.summary.n for line in latency.lines)
    if n == 1:
        yield "one sample has no percentiles: p50 to p99 are that sample; raise --rounds and --iterations"
        return
    yield from percentile_doubts(n)


def _warmup_doubts(latency: Latency) -> Iterator[str]:
    restless = [line.name for line in latency.lines if not line.steady]
    if restless:
        yield (
            f"{', '.join(restless)}: not steady after {latency.settings.max_warmup_s:g} s of warm-up; stop other work, "
            "lock the clocks, or raise --max-warmup"
        )


def _drift_doubts(latency: Latency) -> Iterator[str]:
    ranges = {line.name: (min(medians), max(medians)) for line in latency.lines if (medians := round_medians_ms(line))}
    unsteady = sorted(
        (name for name, (low, high) in ranges.items() if high > low * (1 + _STEADY_SHARE)),
        key=lambda name: ranges[name][0] / ranges[name][1],
    )
    if not unsteady:
        return
    shown = [
        f"{name} {ranges[name][1] / ranges[name][0] - 1:.0%} ({ranges[name][0]:.3f} to {ranges[name][1]:.3f} ms)"
        for name in unsteady[:_SHOWN_LINES]
    ]
    others = f" and {len(unsteady) - len(shown)} more lines" * (len(unsteady) > len(shown))
    yield (
        f"medians of the rounds lie apart: {', '.join(shown)}{others}; the machine is not steady: let it cool and come "
        "to rest, and raise --rounds"
    )


def _rate_doubts(result: Result, latency: Latency) -> Iterator[str]:
    """Lines that are busy for longer than arrivals are apart, all streams together."""
    rate_hz = latency.settings.rate_hz
    for line in latency.lines:
        if rate_hz is None or line.service_summary is None:
            return
        streams = next(one.streams for one in result.lines if one.name == line.name)
        able_hz = streams * 1e3 / line.service_summary.mean_ms
        if able_hz < rate_hz:
            mean_ms = line.service_summary.mean_ms
            yield (
                f"{line.name} does not keep up: one takes {mean_ms:.3f} ms on average, which makes {able_hz:.4g} of "
                f"{rate_hz:g} per second, so that latency grows as long as one measures; lower --rate or raise "
                "--streams"
            )


def _tie_doubts(result: Result, latency: Latency) -> Iterator[str]:
    """Lines that do the same work as the first one, and whose ratio to it may be 1."""
    first = result.lines[0]
    alike = {line.name for line in result.lines if (line.batch, line.streams) == (first.batch, first.streams)}
    bare = [line.name for line in latency.lines if line.ratio and line.ratio.low is None]
    if bare:
        yield f"{', '.join(bare)}: the ratio has no interval; {LEAST_ROUNDS} rounds at least are needed: raise --rounds"
    tied = [line.name for line in latency.lines if line.name in alike and line.ratio and _holds_one(line.ratio)]
    if tied:
        yield (
            f"{', '.join(tied)}: cannot be told apart from {first.name}, the interval of the ratio holds 1; raise "
            "--rounds"
        )


def _holds_one(ratio: Ratio) -> bool:
    return ratio.low is not None and ratio.high is not None and ratio.low <= 1 <= ratio.high


def _figure(ratio: float) -> str:
    """Two decimals, or two significant digits where that says more."""
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"
