"""What a runtime's own profiler says of one inference: the form that all of them are brought into."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class OperatorTimes:
    """Operators of one inference, by the kind that the runtime calls them. Units: ms.

    Attributes:
        by_kind: how many there are, and the time of all of them together.
        kernels: operators that are executed.
        inference_ms: duration of one inference with the profiler on; the operators take a part of it.
        source: the profiler, and what it looked at.
    """

    by_kind: Mapping[str, tuple[int, float]]
    kernels: int
    inference_ms: float
    source: str

    @property
    def operators_ms(self) -> float:
        """Time of all operators."""
        return sum(time_ms for _, time_ms in self.by_kind.values())


def by_kind(operators: Iterable[tuple[str, float]], inferences: int) -> dict[str, tuple[int, float]]:
    """Operators of `inferences` inferences, each its kind and its time in ms, as those of one."""
    counts: dict[str, int] = {}
    times_ms: dict[str, float] = {}
    for kind, time_ms in operators:
        counts[kind] = counts.get(kind, 0) + 1
        times_ms[kind] = times_ms.get(kind, 0.0) + time_ms
    return {kind: (round(counts[kind] / inferences), times_ms[kind] / inferences) for kind in counts}
