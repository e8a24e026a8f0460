"""Two results of the same networks compared: which lines belong together, what changed, what else was different."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors import InputError, one_line
from .compare_changes import Change, changes_of
from .compare_conditions import Difference, differences
from .result import Line, Result

# What names a network; None in both where no manifest says it.
Network = tuple[str | None, float | None, str | None]


@dataclass(frozen=True)
class LineComparison:
    """One line of both results.

    Attributes:
        before: the line in the first result.
        after: in the second; its name may be another one.
        network: what it runs, in the second result.
        changes: of the metrics that both results have.
        missing: why the other metrics are not compared, by metric.
    """

    before: Line
    after: Line
    network: str | None
    changes: tuple[Change, ...]
    missing: dict[str, str]

    @property
    def name(self) -> str:
        """What to call it: its name in the second result."""
        return self.after.name

    def change(self, metric: str) -> Change | None:
        """The change of a metric; None where it is not compared."""
        return next((change for change in self.changes if change.metric == metric), None)


@dataclass(frozen=True)
class Comparison:
    """Two results side by side.

    Attributes:
        lines: those that were found in both.
        only_before: names of lines that the second result does not have.
        only_after: likewise of the first.
        differences: conditions that were not the same.
        notes: what is to be known and speaks against nothing.
        doubts: what speaks against the figures, apart from `differences`.
    """

    lines: tuple[LineComparison, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    doubts: tuple[str, ...]

    @property
    def deciding(self) -> tuple[Difference, ...]:
        """Differences with which the figures are not comparable."""
        return tuple(one for one in self.differences if one.decides)


def compare(before: Result, after: Result) -> Comparison:
    """What changed from the first result to the second.

    Lines belong together that run the same network (name, width, dataset) at the same precision, in the same runtime,
    on the same kind of device, with the same batch and streams; where several do, those of the same name. Lines that
    are left belong together by their name, if network, batch and streams are the same.

    Raises:
        InputError: no line of one result belongs to one of the other; the message has the networks of both.
    """
    pairs = matched(before, after)
    if not pairs:
        raise InputError(
            f"the results have no line in common: {_all_lines(before)} before, {_all_lines(after)} after; compare "
            "results of the same networks, runtimes and batch sizes"
        )
    lines = tuple(_compared(before, first, after, second) for first, second in pairs)
    matched_before, matched_after = ({pair[i].name for pair in pairs} for i in (0, 1))
    return Comparison(
        lines=lines,
        only_before=tuple(line.name for line in before.lines if line.name not in matched_before),
        only_after=tuple(line.name for line in after.lines if line.name not in matched_after),
        differences=differences(before, after, pairs),
        notes=tuple(_notes(before, after, pairs)),
        doubts=tuple(_doubts(before, after, pairs)),
    )


def matched(before: Result, after: Result) -> list[tuple[Line, Line]]:
    """Lines that belong together, in the order of the second result: see `compare`."""
    pairs: list[tuple[Line, Line]] = []
    for belongs in (_same_key, _same_key_and_name, _same_name):
        # Taken apart from those of earlier rules only.
        first = _left(before.lines, [pair[0] for pair in pairs])
        second = _left(after.lines, [pair[1] for pair in pairs])
        for line in second:
            found = [other for other in first if belongs(before, other, after, line)]
            rivals = [other for other in second if found and belongs(before, found[0], after, other)]
            if len(found) == len(rivals) == 1:
                pairs.append((found[0], line))
    order = [line.name for line in after.lines]
    return sorted(pairs, key=lambda pair: order.index(pair[1].name))


def _left(lines: Sequence[Line], taken: Sequence[Line]) -> list[Line]:
    names = {line.name for line in taken}
    return [line for line in lines if line.name not in names]


def _same_key(before: Result, first: Line, after: Result, second: Line) -> bool:
    return _key(before, first) == _key(after, second)


def _same_key_and_name(before: Result, first: Line, after: Result, second: Line) -> bool:
    return first.name == second.name and _same_key(before, first, after, second)


def _same_name(before: Result, first: Line, after: Result, second: Line) -> bool:
    work = [(_network(result, line), line.batch, line.streams) for result, line in ((before, first), (after, second))]
    return first.name == second.name and work[0] == work[1]


def _key(result: Result, line: Line) -> tuple[object, ...]:
    file = result.file_of(line)
    # Of a file without manifest nothing is known but its name.
    who = _network(result, line) if file.network else (file.path,)
    return (*who, file.precision, line.runtime, line.device, line.batch, line.streams)


def _network(result: Result, line: Line) -> Network:
    file = result.file_of(line)
    return file.network, file.width_mult, file.dataset


def _network_text(result: Result, line: Line) -> str | None:
    network, width, dataset = _network(result, line)
    if network is None:
        return None
    return " ".join([network, *([f"{width:g}"] if width is not None else []), *([dataset] if dataset else [])])


def _all_lines(result: Result) -> str:
    lines = dict.fromkeys(
        f"{_network_text(result, line) or line.file} in {line.runtime} on {line.device}, batch {line.batch}"
        for line in result.lines
    )
    return one_line("; ".join(lines))


def _compared(before: Result, first: Line, after: Result, second: Line) -> LineComparison:
    changes, missing = changes_of((before, first), (after, second))
    return LineComparison(first, second, _network_text(after, second), changes, missing)


def _notes(before: Result, after: Result, pairs: Sequence[tuple[Line, Line]]) -> Iterator[str]:
    if before == after:
        yield "both results are the same one: nothing can have changed"
    for first, second in pairs:
        files = before.file_of(first), after.file_of(second)
        if files[0].sha256 != files[1].sha256:
            yield f"{second.name}: another file than before, {files[0].sha256[:12]} became {files[1].sha256[:12]}"
        if files[0].precision != files[1].precision:
            yield f"{second.name}: precision {files[0].precision} before, {files[1].precision} after"
        if first.name != second.name:
            yield f"{second.name} is compared with {first.name}"


def _doubts(before: Result, after: Result, pairs: Sequence[tuple[Line, Line]]) -> Iterator[str]:
    for which, result in (("first", before), ("second", after)):
        if result.partial is not None:
            yield f"the {which} result is not complete ({result.partial}): measure it again"
        if result.doubts:
            yield f"the {which} result has {len(result.doubts)} doubts of its own, such as: {result.doubts[0]}"
    if before.started > after.started:
        yield (
            f"the first result is the newer one ({before.started}, the second {after.started}): give the earlier one "
            "first, if it is the one to compare with"
        )
    for first, second in pairs:
        for which, run in (("first", before.latency_of(first.name)), ("second", after.latency_of(second.name))):
            if run is not None and not run.steady:
                yield f"{run.name}: its warm-up did not come to rest in the {which} result; measure again"
    ways = [(before.energy_of(first.name), after.energy_of(second.name)) for first, second in pairs]
    for one, other in ways:
        if one and other and one.total.label != other.total.label:
            yield (
                f"{other.name}: energy by {one.total.label} before, by {other.total.label} after; measure with the "
                "same meter"
            )
