"""How far a number from several windows may be off: 95 % intervals, and the budget that they are made of.

A campaign runs each network once per round, in an order drawn anew for each round, with idle windows before and after.
Each window gives one energy per inference. Windows that are seconds apart are taken as independent of each other;
readings within a window never are. Terms follow the GUM (JCGM 100:2008, "Guide to the expression of uncertainty in
measurement"): a standard uncertainty is a standard deviation, of whatever is not known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import atan, cos, exp, expm1, inf, isinf, lgamma, pi, sqrt, tan
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

COVERAGE = 0.95
BETWEEN_WINDOWS = "between windows"
_NS_PER_HOUR = 3.6e12
_MJ_PER_MW_NS = 1e-9
# Fewer windows leave a straight line too few degrees of freedom to be worth drawing.
_LEAST_WINDOWS_FOR_A_LINE = 4
# Lags up to this many autocorrelation times are summed: Sokal (1997), "Monte Carlo methods in statistical mechanics",
# section 3, about 5.
_SOKAL_WINDOW = 5.0
_HARMONICS = np.arange(1.0, 65.0)
# In steps, midway from two levels to three: readings on two levels may as well be of power near a threshold, without
# noise. Levels are not counted, since power computed from a coarse current has those of the fine voltage, too.
_LEAST_SPAN = 1.5
# A level with a smaller share of the readings than this of the fullest one is passed, not dwelt on.
_THIN = 0.02
# Nodes and weights of a rule that is exact to rounding for the smooth density of Student's t.
_LEGENDRE_NODES, _LEGENDRE_WEIGHTS = np.polynomial.legendre.leggauss(48)
# A ratio whose logarithm is beyond is no measurement; its interval would not fit into a float.
_MAX_LOG = 300.0
# Above, Student's t is the normal distribution to five digits.
_NORMAL_DOF = 1e6


@dataclass(frozen=True)
class Component:
    """One line of an uncertainty budget.

    Attributes:
        name: where it comes from.
        standard_uncertainty: of the value that the budget is for, in that value's unit.
        note: how it was found.
        dof: degrees of freedom behind it; infinite where it is not from a sample.
        contained: it shows in the scatter between windows already, and is listed but not added again.
    """

    name: str
    standard_uncertainty: float
    note: str = ""
    dof: float = inf
    contained: bool = False

    def __post_init__(self) -> None:
        """Refuse what is not a standard uncertainty."""
        if not 0 <= self.standard_uncertainty < inf:
            raise ValueError(f"{self.name}: {self.standard_uncertainty} is no standard uncertainty: give 0 or more")


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval, `value` +- `half_width`, in one unit.

    Attributes:
        value: the estimate.
        half_width: of the interval, in the unit of the value.
        n: windows, or pairs of windows, behind it.
        dof: effective degrees of freedom.
        components: the budget; the squares of those that are not `contained` add up.
        flags: why the value is to be doubted, each with the way out.
    """

    value: float
    half_width: float
    n: int
    dof: float
    components: tuple[Component, ...]
    flags: tuple[str, ...] = ()

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.value - self.half_width

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.value + self.half_width

    @property
    def standard_uncertainty(self) -> float:
        """Of the value, all components together, in its unit."""
        return _combined(self.components)[0]

    def including(self, *components: Component) -> "Estimate":
        """The same value, with an interval that allows for more: for what is stated apart, such as `gain`."""
        return replace(_estimate(self.value, self.n, (*self.components, *components)), flags=self.flags)


@dataclass(frozen=True)
class SeriesMean:
    """Mean of autocorrelated samples, in their unit.

    Attributes:
        mean: of the samples.
        standard_error: of the mean.
        effective_n: independent samples that would give the same standard error.
        dof: degrees of freedom behind `standard_error`.
    """

    mean: float
    standard_error: float
    effective_n: float
    dof: float


@dataclass(frozen=True)
class Quantisation:
    """Standard uncertainty of a mean of readings due to the sensor's step. Units: mW.

    Attributes:
        systematic_mw: the same for all readings; no repetition averages it out.
        random_mw: of the mean, shrinking with the number of readings; it shows in the scatter between windows.
    """

    systematic_mw: float
    random_mw: float


@dataclass(frozen=True)
class IdleLine:
    """Idle power during a campaign: the straight line between the idle windows before and after it.

    Attributes:
        before: mean power of the idle window before. Units: mW.
        after: likewise after.
        before_mid_ns: middle of the idle window before. Units: ns.
        after_mid_ns: likewise after, later.
        quantisation_mw: standard uncertainty of both means due to the sensor's step (`Quantisation.systematic_mw`).

    Raises:
        ValueError: the window after is not later than the one before.
    """

    before: SeriesMean
    after: SeriesMean
    before_mid_ns: int
    after_mid_ns: int
    quantisation_mw: float = 0.0

    def __post_init__(self) -> None:
        """Refuse windows in the wrong order."""
        if self.after_mid_ns <= self.before_mid_ns:
            raise ValueError(
                f"idle after, at {self.after_mid_ns} ns, is not later than before, at {self.before_mid_ns}"
            )

    def share_of_after(self, time_ns: ArrayLike) -> Floats:
        """How far the instants lie on the way from the idle window before (0) to the one after (1).

        Raises:
            ValueError: an instant lies outside.
        """
        share = (_series(time_ns, 1, "instants") - self.before_mid_ns) / (self.after_mid_ns - self.before_mid_ns)
        if share.min() < 0 or share.max() > 1:
            raise ValueError(
                f"instants from {np.min(time_ns)} to {np.max(time_ns)} ns are not between the idle windows, at "
                f"{self.before_mid_ns} and {self.after_mid_ns} ns: measure idle before and after"
            )
        return share

    def at_mw(self, time_ns: ArrayLike) -> Floats:
        """Idle power at each instant, (n,). Units: mW. Raises ValueError as `share_of_after`."""
        return self.before.mean + self.drift_mw * self.share_of_after(time_ns)

    @property
    def drift_mw(self) -> float:
        """How much more is drawn after than before. Units: mW."""
        return self.after.mean - self.before.mean

    @property
    def drift_half_width_mw(self) -> float:
        """Of the 95 % interval of `drift_mw`, Welch's for two means. Units: mW."""
        # The two means may fall on different places between the sensor's levels: their quantisation does not cancel.
        uncertainty_mw, dof = _combined([*self._of_means(1, 1), Component("step", sqrt(2) * self.quantisation_mw)])
        return student_t(dof) * uncertainty_mw

    @property
    def flag(self) -> str | None:
        """What is wrong where idle drifted by more than its interval; None where it did not."""
        if abs(self.drift_mw) <= self.drift_half_width_mw:
            return None
        return (
            f"idle drifted by {self.drift_mw:+.0f} mW from before to after, its 95 % interval is "
            f"+-{self.drift_half_width_mw:.0f} mW: let the device warm up for longer and lock its clocks"
        )

    def budget(self, before: float, after: float) -> tuple[Component, ...]:
        """The budget of the sum of both idle powers, each times its factor; in the factors' unit times mW."""
        return (
            *self._of_means(before, after),
            Component("idle drift", (before + after) * self._curvature_mw(), "any monotone course between the two"),
            Component("idle quantisation", (before + after) * self.quantisation_mw, "the sensor's step"),
        )

    def _of_means(self, before: float, after: float) -> tuple[Component, Component]:
        note = "autocorrelation of its readings"
        return (
            Component("idle before", before * self.before.standard_error, note, self.before.dof),
            Component("idle after", after * self.after.standard_error, note, self.after.dof),
        )

    def _curvature_mw(self) -> float:
        """Standard uncertainty of the mean idle power in between, since idle need not follow a straight line.

        If it only rose, or only fell, its mean lies between both ends: a rectangular distribution as wide as the drift
        (GUM 4.3.7). Drift that is within its own interval is not counted twice.
        """
        beyond_mw2 = self.drift_mw**2 - self.drift_half_width_mw**2
        return sqrt(max(beyond_mw2, 0.0) / 12)


@dataclass(frozen=True)
class Drift:
    """How fast something rose or fell during a campaign.

    Attributes:
        per_hour: the slope, in the values' unit per hour.
        change: from the first value to the last along the fitted line, in the values' unit.
        flag: why the campaign is not steady, with the way out; None where it is steady or too little is known.
    """

    per_hour: Estimate
    change: float
    flag: str | None


def mean_over_windows(
    values: ArrayLike,
    mid_times_ns: ArrayLike,
    shared: Sequence[Component] = (),
    within: Sequence[Component] = (),
) -> Estimate:
    """Mean over the windows of one network, with its 95 % interval.

    What is estimated is the mean over these windows, heating included: slow drift is no noise, so the scatter is taken
    around a straight line in time, with n - 2 degrees of freedom. Two or three windows are too few for a line: scatter
    is around their mean, and drift, if any, widens the interval. Combined as in GUM 5.1.2 and G.4.1.

    Args:
        values: (n,) one for each window, n >= 2, in any unit.
        mid_times_ns: (n,) the windows' middles, increasing. Units: ns.
        shared: what is the same for all windows, so that scatter does not show it, in the unit of the values.
        within: what scatter shows already: listed, not added.

    Raises:
        ValueError: there is one window only, lengths differ, a number is not finite, or times do not increase.
    """
    numbers, hours = _timed(values, mid_times_ns, 2)
    squares, dof = _scatter(numbers, hours)
    n = numbers.size
    scatter = Component(BETWEEN_WINDOWS, sqrt(squares / dof / n), f"scatter of {n} windows", dof)
    return _estimate(float(numbers.mean()), n, (scatter, *shared, *(replace(c, contained=True) for c in within)))


def net_over_windows(
    gross_mj: ArrayLike,
    mid_times_ns: ArrayLike,
    idle: IdleLine,
    inference_ns: ArrayLike,
    shared: Sequence[Component] = (),
    within: Sequence[Component] = (),
) -> Estimate:
    """Mean energy per inference without what the idle device would have drawn in that time. Units: mJ.

    Args:
        gross_mj: (n,) energy per inference of each window, n >= 2. Units: mJ.
        mid_times_ns: (n,) the windows' middles, between the idle windows. Units: ns.
        idle: power at the same clocks and in the same context.
        inference_ns: (n,) each window's time per inference. Units: ns.
        shared: as in `mean_over_windows`, of the gross energy. Units: mJ.
        within: likewise.

    Returns:
        The mean, flagged where idle drifted by more than its interval.

    Raises:
        ValueError: as `mean_over_windows`; also, a window is not between the idle windows.
    """
    gross, _ = _timed(gross_mj, mid_times_ns, 2)
    durations = _series(inference_ns, 2, "times per inference")
    if durations.size != gross.size:
        raise ValueError(f"{gross.size} energies and {durations.size} times per inference: give one for each")
    after = idle.share_of_after(mid_times_ns) * durations * _MJ_PER_MW_NS
    before = durations * _MJ_PER_MW_NS - after
    of_idle = idle.budget(float(before.mean()), float(after.mean()))
    net = gross - before * idle.before.mean - after * idle.after.mean
    estimate = mean_over_windows(net, mid_times_ns, (*shared, *of_idle), within)
    return replace(estimate, flags=(idle.flag,) if idle.flag else ())


def paired_ratio(numerators: ArrayLike, denominators: ArrayLike, shared: Sequence[Component] = ()) -> Estimate:
    """Ratio of two networks measured in the same rounds: the geometric mean of the rounds' ratios.

    Pairs of one round share what is slow, and a device's gain error cancels. Drift within a round does not cancel but,
    where the order was drawn for each round, is scatter. Where one network ran always first it is a bias that no
    formula can see. The t interval (Student 1908) is that of the mean log ratio; on the linear scale its upper part is
    the longer one, and is taken for both.

    Args:
        numerators: (n,) one for each round, n >= 2, positive.
        denominators: (n,) in the same rounds and unit, positive.
        shared: what the rounds' scatter does not show and the ratio does not cancel, as shares of the ratio.

    Raises:
        ValueError: there is one round only, lengths differ, a number is not finite and positive, or the interval is
            beyond all numbers.
    """
    above, below = _series(numerators, 2, "numerators"), _series(denominators, 2, "denominators")
    if above.size != below.size:
        raise ValueError(f"{above.size} numerators and {below.size} denominators: give one of each for every round")
    if min(above.min(), below.min()) <= 0:
        raise ValueError(f"a ratio needs positive numbers: {min(above.min(), below.min())} is among them")
    logs = np.log(above / below)
    scatter = Component(
        "between rounds", float(logs.std(ddof=1)) / sqrt(logs.size), f"scatter of {logs.size} rounds", logs.size - 1.0
    )
    log = _estimate(float(logs.mean()), logs.size, (scatter, *shared))
    if max(abs(log.value), log.half_width) > _MAX_LOG:
        raise ValueError(f"the ratio's logarithm is {log.value:.3g} +- {log.half_width:.3g}: measure more rounds")
    ratio = exp(log.value)
    components = tuple(replace(c, standard_uncertainty=ratio * c.standard_uncertainty) for c in log.components)
    return Estimate(ratio, ratio * expm1(log.half_width), log.n, log.dof, components)


def drift(values: ArrayLike, times_ns: ArrayLike, limit: float) -> Drift:
    """Slope of a least-squares line through the means of windows, with its 95 % interval.

    Args:
        values: (n,) one for each window, n >= 3: power, temperature.
        times_ns: (n,) increasing. Units: ns.
        limit: change over the run that is still steady, in the unit of the values.

    Returns:
        The slope; flagged where its interval excludes 0 and the change over the run is above `limit`.

    Raises:
        ValueError: there are fewer than three values, lengths differ, a number is not finite, or times do not increase.
    """
    numbers, hours = _timed(values, times_ns, 3)
    per_hour, squares = _line(numbers, hours)
    dof = numbers.size - 2.0
    scatter = Component("scatter", sqrt(squares / dof / float(hours @ hours)), "around the line", dof)
    slope = _estimate(per_hour, numbers.size, (scatter,))
    change = per_hour * float(hours[-1] - hours[0])
    if abs(slope.value) <= slope.half_width or abs(change) <= limit:
        return Drift(slope, change, None)
    return Drift(slope, change, f"drift of {change:+.3g} over the run, the limit is {limit:g}: warm up for longer")


def steady(means: ArrayLike, tolerance: float = 0.02, windows: int = 3) -> bool:
    """Whether the last windows agree: each of their means within `tolerance`, as a share, of the mean of all.

    False where there are fewer than `windows`: steadiness was not shown.

    Raises:
        ValueError: there is no mean, or one is not finite.
    """
    last = _series(means, 1, "means")[-windows:]
    return last.size == windows and bool((abs(last - last.mean()) <= tolerance * abs(last.mean())).all())


def series_mean(values: ArrayLike) -> SeriesMean:
    """Mean of equally spaced, autocorrelated samples.

    The samples' variance counts once for each integrated autocorrelation time, which is summed over lags up to about
    five of itself (Sokal 1997), and freed of the bias that a short series gives it (Wolff 2004, "Monte Carlo errors
    with less errors", hep-lat/0306017, eq. 49). Its own relative variance, 2 (2 lags + 1) / n by Sokal's formula, gives
    the degrees of freedom (GUM G.4.2). The interval holds from about ten memories of the noise on: 10 s where readings
    that are 1 s apart still resemble each other. A shorter series hides from itself how slowly it wanders.

    Args:
        values: (n,) n >= 2, in any unit.

    Raises:
        ValueError: there is one sample only, or one is not finite.
    """
    samples = _series(values, 2, "samples")
    n = samples.size
    if samples.min() == samples.max():
        return SeriesMean(float(samples[0]), 0.0, float(n), n - 1.0)
    times = 2 * np.cumsum(_autocorrelation(samples)) - 1  # of the sums up to each lag; 1 for independent samples
    lags = int(np.argmax(2 * np.arange(n) >= _SOKAL_WINDOW * times))
    time = max(float(times[lags]), 1.0) * (1 + (2 * lags + 1) / n)
    effective_n = max(n / time, 2.0)
    variance = float(samples.var()) * effective_n / (effective_n - 1)
    return SeriesMean(float(samples.mean()), sqrt(variance / effective_n), effective_n, max(n / (2 * lags + 1), 1.0))


def quantisation(*windows_mw: ArrayLike, step_mw: float) -> Quantisation:
    """Standard uncertainty of the mean over windows due to the step of the sensor.

    Noise of standard deviation s dithers: for power anywhere between two levels, the error of a long mean has the
    variance step^2 / (2 pi^2) x sum over k of exp(-4 pi^2 k^2 s^2 / step^2) / k^2. That is step^2 / 12 without noise,
    and falls to nothing where s exceeds half a step. (From the characteristic function of a quantised Gaussian: Widrow
    and Kollar, "Quantization Noise", 2008.) s is found within the windows; readings on fewer than three levels show no
    noise, since power near a threshold gives the same. Of a sum of rails, each has its own step and error: ask for each
    rail, and add the squares.

    Args:
        windows_mw: (n,) readings of each window. Units: mW.
        step_mw: the smallest change that the sensor shows. Units: mW.

    Returns:
        Of the mean over all the windows.

    Raises:
        ValueError: there is no reading, one is not finite, or the step is not a positive number.
    """
    if not 0 < step_mw < inf:
        raise ValueError(f"step {step_mw} mW: it is a positive number")
    in_steps = [_series(readings, 1, "readings") / step_mw for readings in windows_mw]
    if not in_steps:
        raise ValueError("there are no windows to find the effect of the step in")
    random_mw = step_mw / sqrt(12 * sum(readings.size for readings in in_steps))
    # A spike, or the step of a load from one of its phases to the next, varies much and dithers nothing.
    groups = [_groups(readings) for readings in in_steps]
    noise = _noise([group for of_one in groups for group in of_one])
    shares = [np.array([group.size for group in of_one]) / sum(map(len, of_one)) for of_one in groups]
    systematic = sqrt(float(np.mean([share @ share for share in shares])) * _variance_of_mean_error(noise))
    return Quantisation(step_mw * systematic, random_mw)


def edges(tick_ns: int, window_ns: int) -> float:
    """Relative standard uncertainty of energy because each end of the window may be off by up to half a tick.

    Rectangular at both ends (GUM 4.3.7): sqrt(2) x tick / sqrt(12) of the window's length.

    Args:
        tick_ns: pause between two updates; where the window was aligned with them, the pause between the two looks that
            showed the update. Units: ns.
        window_ns: length of the window. Units: ns.

    Raises:
        ValueError: the tick is negative, or the window not longer than it.
    """
    if not 0 <= tick_ns < window_ns:
        raise ValueError(f"a tick of {tick_ns} ns in a window of {window_ns} ns: measure for longer")
    return tick_ns / (sqrt(6) * window_ns)


def gain(value: float, gain_error: float) -> Component:
    """The sensor's constant factor, to be stated apart: it cancels in ratios and in comparisons on one device.

    Args:
        value: what was measured, in any unit.
        gain_error: half-width of the interval in which the factor lies, as a share: rectangular (GUM 4.3.7).
    """
    return Component("gain", abs(value) * gain_error / sqrt(3), f"+-{gain_error:.1%} by the class of the sensor")


@lru_cache(maxsize=1024)
def student_t(dof: float) -> float:
    """Factor t for which a variable of Student's distribution lies within +-t with probability 95 %.

    Degrees of freedom may be fractional (GUM G.4.1 allows to interpolate). With t = sqrt(dof) tan(a) the probability is
    the integral of cos(a)^(dof - 1), which Newton's method solves; it is concave, so it comes from below.

    Raises:
        ValueError: `dof` is below 1.
    """
    if not dof >= 1:
        raise ValueError(f"{dof} degrees of freedom: an interval needs 1 at least")
    normal = NormalDist().inv_cdf((1 + COVERAGE) / 2)
    if dof > _NORMAL_DOF:
        return normal
    scale = 2 / sqrt(pi) * exp(lgamma((dof + 1) / 2) - lgamma(dof / 2))
    angle, step = atan(normal / sqrt(dof)), inf
    while step > 1e-12 * angle:
        density = np.cos(angle * (_LEGENDRE_NODES + 1) / 2) ** (dof - 1)
        probability = scale * angle / 2 * float(_LEGENDRE_WEIGHTS @ density)
        step = (COVERAGE - probability) / (scale * cos(angle) ** (dof - 1))
        angle += step
    return sqrt(dof) * tan(angle)


def _estimate(value: float, n: int, components: tuple[Component, ...]) -> Estimate:
    uncertainty, dof = _combined(components)
    return Estimate(value, student_t(dof) * uncertainty, n, dof, components)


def _combined(components: Sequence[Component]) -> tuple[float, float]:
    """Standard uncertainty and degrees of freedom of a sum: root sum of squares, Welch-Satterthwaite (GUM G.4.1)."""
    added = [c for c in components if not c.contained]
    largest = max(c.standard_uncertainty for c in added)
    if largest == 0:
        return 0.0, min(c.dof for c in added)
    # Shares of the largest: fourth powers of small numbers would vanish.
    shares = [(c.standard_uncertainty / largest) ** 2 for c in added]
    spread = sum(share**2 / c.dof for share, c in zip(shares, added, strict=True) if not isinf(c.dof))
    return largest * sqrt(sum(shares)), sum(shares) ** 2 / spread if spread else inf


def _scatter(values: Floats, hours: Floats) -> tuple[float, float]:
    """Sum of squares around a line, or around the mean where there are few; and its degrees of freedom."""
    if values.size < _LEAST_WINDOWS_FOR_A_LINE:
        return float(((values - values.mean()) ** 2).sum()), values.size - 1.0
    return _line(values, hours)[1], values.size - 2.0


def _line(values: Floats, hours: Floats) -> tuple[float, float]:
    """Slope of the least-squares line, and the sum of squares around it. `hours` are centred."""
    centred = values - values.mean()
    slope = float(hours @ centred / (hours @ hours))
    return slope, float(((centred - slope * hours) ** 2).sum())


def _autocorrelation(samples: Floats) -> Floats:
    """At lags 0 to n - 1, each sum of products divided by that at lag 0."""
    n = samples.size
    # Zeros behind the samples keep their end from being multiplied with their beginning.
    spectrum = np.fft.rfft(samples - samples.mean(), 2 * n)
    sums = np.fft.irfft(abs(spectrum) ** 2, 2 * n)[:n]
    autocorrelation: Floats = sums / sums[0]
    return autocorrelation


def _noise(in_steps: Sequence[Floats]) -> float:
    """Variance of what was read, from readings in steps of 1; 0 where no window spans three levels."""
    if max(float(np.ptp(readings)) for readings in in_steps) < _LEAST_SPAN:
        return 0.0
    # Quantised readings vary by 1/12 more than what they stand for (Sheppard's correction).
    sizes = [readings.size for readings in in_steps]
    return max(float(np.average([readings.var() for readings in in_steps], weights=sizes)) - 1 / 12, 0.0)


def _groups(readings: Floats) -> list[Floats]:
    """Readings on neighbouring levels, for each place where power dwells: each is off by an error of its own."""
    rounded = np.round(readings)
    levels, counts = np.unique(rounded, return_counts=True)
    dwelt = levels[counts >= _THIN * counts.max()]
    groups = np.split(dwelt, np.flatnonzero(np.diff(dwelt) > _LEAST_SPAN) + 1)
    # With a level on each side: noise has tails.
    return [readings[(rounded >= group[0] - 1) & (rounded <= group[-1] + 1)] for group in groups]


def _variance_of_mean_error(noise: float) -> float:
    """Of a long mean, due to a step of 1, with noise of that variance: 1/12 without any."""
    if noise == 0:
        return 1 / 12
    return float((np.exp(-4 * pi**2 * noise * _HARMONICS**2) / _HARMONICS**2).sum() / (2 * pi**2))


def _timed(values: ArrayLike, times_ns: ArrayLike, least: int) -> tuple[Floats, Floats]:
    """The values, and hours since the mean of the times."""
    numbers, times = _series(values, least, "values"), _series(times_ns, least, "times")
    if numbers.size != times.size:
        raise ValueError(f"{numbers.size} values and {times.size} times: give one for each")
    since_ns = times - times[0]
    if (np.diff(since_ns) <= 0).any():
        raise ValueError("times do not increase: give the windows in order of time")
    return numbers, (since_ns - since_ns.mean()) / _NS_PER_HOUR


def _series(values: ArrayLike, least: int, what: str) -> Floats:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or numbers.size < least:
        raise ValueError(f"{what} of shape {numbers.shape}: give a list of {least} at least")
    if not np.isfinite(numbers).all():
        raise ValueError(f"{what}: one is not a number; leave out what was not measured")
    return numbers
