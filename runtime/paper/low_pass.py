"""The filter that the paper's TX2 figure seems to have gone through, for traces of ours that are laid over it.

Every tail of the figure falls by the factor 0.74 to 0.76 from one sample of 100 ms to the next, for all networks alike:
y[t] = 0.75 y[t-1] + 0.25 x[t]. Inferred from the pixels; no source states it.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...power.energy import mean_power_mw
from ...power.trace import PowerTrace

PERIOD_NS = 100_000_000
KEPT = 0.75

Floats = NDArray[np.float64]


def resampled(trace: PowerTrace, start_ns: int, end_ns: int, period_ns: int = PERIOD_NS) -> PowerTrace:
    """Mean power of each whole period from `start_ns` on, at the period's end: its energy is that of the trace.

    Args:
        trace: reaches over the window.
        start_ns: on the trace's clock.
        end_ns: likewise; a period that would reach beyond is left out.
        period_ns: Units: ns.

    Raises:
        ValueError: the window has no whole period, or reaches outside the trace.
    """
    ends_ns = np.arange(start_ns + period_ns, end_ns + 1, period_ns, dtype=np.int64)
    if not ends_ns.size:
        raise ValueError(f"a window of {end_ns - start_ns} ns has no period of {period_ns} ns")
    means_mw = [mean_power_mw(trace, int(end) - period_ns, int(end)) for end in ends_ns]
    return PowerTrace(ends_ns, np.array(means_mw), trace.source, trace.rail, trace.sensor)


def low_passed(power: ArrayLike, kept: float = KEPT) -> Floats:
    """`power` (n,), one for each period, filtered: y[t] = kept y[t-1] + (1 - kept) x[t], beginning at rest with x[0].

    Raises:
        ValueError: there is no sample, or `kept` is not in [0, 1).
    """
    samples = _checked(power, kept)
    filtered: Floats = samples.copy()
    for t in range(1, samples.size):
        filtered[t] = kept * filtered[t - 1] + (1 - kept) * samples[t]
    return filtered


def undone(filtered: ArrayLike, kept: float = KEPT) -> Floats:
    """What `low_passed` would have made `filtered` (n,) of; errors of single samples come out 1 / (1 - kept) as large.

    Raises:
        ValueError: as `low_passed`.
    """
    samples = _checked(filtered, kept)
    before = np.concatenate([samples[:1], samples[:-1]])
    raw: Floats = (samples - kept * before) / (1 - kept)
    return raw


def _checked(values: ArrayLike, kept: float) -> Floats:
    samples = np.asarray(values, dtype=np.float64)
    if samples.ndim != 1 or not samples.size:
        raise ValueError(f"samples of shape {samples.shape}: give a list with one at least")
    if not 0 <= kept < 1:
        raise ValueError(f"kept {kept}: it is at least 0 and below 1")
    return samples
