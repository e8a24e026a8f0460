"""The sentences at the top of the page, made from the numbers alone."""

from collections import Counter

from ..result import Figure, LineLatency, Result
from .words import machine_words, network_of, number, setting_words, subject_words, with_uncertainty


def headline(result: Result) -> str:
    """The main finding in one sentence."""
    if result.paper and result.paper.claims:
        return _claims_sentence(result)
    if result.latency and len(result.latency.lines) > 1:
        return _race_sentence(result)
    if result.latency:
        return _one_sentence(result.latency.lines[0])
    return next(iter(further(result)), f"{len(result.lines)} lines were opened; no figure is known.")


def further(result: Result) -> list[str]:
    """What else stands out, a sentence each."""
    sentences = []
    if result.paper:
        sentences += _fastest_networks(result)
    if energy := _energy_sentence(result):
        sentences.append(energy)
    return sentences


def _claims_sentence(result: Result) -> str:
    assert result.paper is not None
    verdicts = Counter(claim.verdict for claim in result.paper.claims)
    tested = len(result.paper.claims) - verdicts["not measured"]
    if not tested:
        return "None of the paper's statements could be tested on this machine."
    rest = [f"{verdicts[verdict]} {verdict}" for verdict in ("does not hold", "not told apart") if verdicts[verdict]]
    rest = [words.replace("does not", "do not") if not words.startswith("1 ") else words for words in rest]
    untested = f"; {verdicts['not measured']} could not be tested" if verdicts["not measured"] else ""
    verb = "holds" if verdicts["holds"] == 1 else "hold"
    others = f" ({', '.join(rest)})" if rest else ""
    of = "the 1 statement" if tested == 1 else f"the {tested} statements"
    return f"Of {of} of the paper that could be tested here, {verdicts['holds']} {verb}{others}{untested}."


def _race_sentence(result: Result) -> str:
    assert result.latency is not None
    first, *others = result.latency.lines
    fastest = min(result.latency.lines, key=lambda line: line.summary.p50_ms)
    if fastest is first:
        second = min(others, key=lambda line: line.summary.p50_ms)
        return _against(second, first)
    return _against(fastest, first)


def _against(line: LineLatency, first: LineLatency) -> str:
    """What the paired ratio says of a line and the first one."""
    medians = f"medians {number(line.summary.p50_ms)} and {number(first.summary.p50_ms)} ms"
    ratio = line.ratio
    if ratio is None or ratio.low is None or ratio.high is None:
        return f"{line.name} and {first.name}: {medians}; too few rounds to say which is the faster one."
    if ratio.low <= 1 <= ratio.high:
        return f"{line.name} and {first.name} cannot be told apart: {medians}."
    word = "slower" if ratio.median > 1 else "faster"
    interval = f"{number(ratio.low, 3)} to {number(ratio.high, 3)}"
    return (
        f"{line.name} is {word} than {first.name}: it takes {number(ratio.median, 3)} times as long "
        f"(95 % interval {interval}; {medians})."
    )


def _one_sentence(line: LineLatency) -> str:
    summary = line.summary
    return (
        f"{line.name}: half of the inferences took no longer than {number(summary.p50_ms)} ms, 99 % no longer than "
        f"{number(summary.p99_ms)} ms."
    )


def _fastest_networks(result: Result) -> list[str]:
    """For each setting the network with the shortest median at the smallest batch size, and where ESPNetv2 is."""
    settings: dict[str, list[tuple[float, str]]] = {}
    smallest = min(line.batch for line in result.lines)
    for line in result.lines:
        latency = result.latency_of(line.name)
        if latency and line.batch == smallest:
            file = result.file_of(line)
            entry = (latency.summary.p50_ms / line.batch, network_of(file))
            settings.setdefault(setting_words(line, file), []).append(entry)
    sentences = []
    for setting, entries in settings.items():
        ordered = sorted(entries)
        (best, name), (worst, last) = ordered[0], ordered[-1]
        if len(ordered) > 1:
            sentences.append(
                f"{setting}, batch {smallest}: {name} has the shortest median, {number(best, 3)} ms per image, "
                f"{last} the longest, {number(worst, 3)} ms."
            )
    return sentences


def _energy_sentence(result: Result) -> str | None:
    batches = {line.name: line.batch for line in result.lines}
    loads = result.power.result.loads if result.power and result.power.result else ()
    known = [(load.name, load.total.gross_mj) for load in loads]
    figures = [
        (figure.value / batches[name], figure.half_width / batches[name], name)
        for name, figure in known
        if isinstance(figure, Figure)
    ]
    if not figures:
        return None
    value, half, name = min(figures)
    least = " the least energy:" if len(figures) > 1 else ""
    return f"{name} draws{least} {with_uncertainty(value, half, 'mJ')} gross per image."


def title(result: Result) -> str:
    """Of the page: what and where."""
    return f"{subject_words(result)} on {machine_words(result)}"
