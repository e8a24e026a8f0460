"""When a warm-up is over: the rule by which a machine has come to rest."""

from collections.abc import Sequence

from .stats import median

# A window is long enough to contain more than one burst of another process, and a median needs three values.
WINDOW_S = 0.1
WINDOW_INFERENCES = 3
WINDOWS = 3
TOLERANCE = 0.05
STEADY_RULE = (
    f"the medians of the last {WINDOWS} windows, each of at least {WINDOW_S * 1000:g} ms and {WINDOW_INFERENCES} "
    f"inferences, lie within {TOLERANCE:.0%} of the smallest"
)


def is_steady(windows: Sequence[Sequence[float]]) -> bool:
    """Whether durations have come to rest. See `STEADY_RULE`; False where there are fewer windows.

    Args:
        windows: durations of the inferences of each window, one after the other, in any unit.
    """
    medians = [median(window) for window in windows[-WINDOWS:]]
    return len(medians) == WINDOWS and max(medians) <= (1 + TOLERANCE) * min(medians)
