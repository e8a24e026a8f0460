"""Known answers of the uncertainty budget: by hand, from published tables, and from brute force."""

from itertools import pairwise
from math import exp, inf, nan, pi, sqrt, tan
from statistics import NormalDist

import numpy as np
import pytest

from espnet_edge.power.uncertainty import (
    Component,
    Estimate,
    IdleLine,
    SeriesMean,
    drift,
    edges,
    gain,
    mean_over_windows,
    net_over_windows,
    paired_ratio,
    quantisation,
    series_mean,
    steady,
    student_t,
)

HOUR_NS = 3_600_000_000_000
# Student's t for 1 and 2 degrees of freedom, as every table has them.
T1, T2 = 12.70620, 4.302653


def every(n: int, pause_ns: int = 10**9) -> list[int]:
    return [i * pause_ns for i in range(n)]


def known(mean: float, standard_error: float = 0.0, dof: float = 10.0) -> SeriesMean:
    return SeriesMean(mean, standard_error, dof + 1, dof)


def only(estimate: Estimate, name: str) -> Component:
    (component,) = (c for c in estimate.components if c.name == name)
    return component


# Student's t


@pytest.mark.parametrize(
    ("dof", "factor"),
    [
        (1, T1), (2, T2), (3, 3.1824), (4, 2.7764), (5, 2.5706), (6, 2.4469), (7, 2.3646), (8, 2.3060), (9, 2.2622),
        (10, 2.2281), (15, 2.1314), (20, 2.0860), (30, 2.0423), (60, 2.0003), (120, 1.9799), (inf, 1.9600),
    ],
)  # fmt: skip
def test_student_t_is_that_of_the_tables(dof: float, factor: float) -> None:
    assert student_t(dof) == pytest.approx(factor, abs=5e-5)


def test_student_t_has_the_closed_forms_of_one_and_two_degrees_of_freedom() -> None:
    assert student_t(1) == pytest.approx(tan(0.95 * pi / 2), rel=1e-12)
    assert student_t(2) == pytest.approx(0.95 * sqrt(2 / (1 - 0.95**2)), rel=1e-12)


def test_student_t_falls_with_fractional_degrees_of_freedom_to_the_normal_factor() -> None:
    factors = [student_t(dof) for dof in (1, 1.01, 1.5, 2, 2.5, 7.9, 8, 50.5, 1e3, 1e5, 9.99e5, inf)]
    assert all(a > b for a, b in pairwise(factors))
    assert factors[-2] == pytest.approx(factors[-1], rel=2e-6)
    assert student_t(2.5) == pytest.approx(sqrt(T2 * 3.1824), rel=0.05)


@pytest.mark.parametrize("dof", [0.99, 0, -1, nan])
def test_an_interval_needs_a_degree_of_freedom(dof: float) -> None:
    with pytest.raises(ValueError, match="1 at least"):
        student_t(dof)


# Means over windows


def test_two_windows() -> None:
    found = mean_over_windows([10, 12], every(2))
    assert (found.value, found.n, found.dof) == (11, 2, 1)
    assert found.half_width == pytest.approx(T1 * 1, rel=1e-5)
    assert (found.low, found.high) == (11 - found.half_width, 11 + found.half_width)


def test_three_windows_scatter_around_their_mean() -> None:
    found = mean_over_windows([1, 2, 3], every(3))
    assert (found.value, found.n, found.dof) == (2, 3, 2)
    assert found.half_width == pytest.approx(T2 / sqrt(3), rel=1e-5)


@pytest.mark.parametrize("rise", [0, 2, -1000])
def test_four_windows_scatter_around_a_line(rise: float) -> None:
    # 1, -1, -1, 1 is orthogonal to every line: 4 squares, 2 degrees of freedom.
    values = [10 + rise * i + d for i, d in enumerate((1, -1, -1, 1))]
    found = mean_over_windows(values, every(4))
    assert found.value == pytest.approx(10 + 1.5 * rise)
    assert (found.n, found.dof) == (4, 2)
    assert found.standard_uncertainty == pytest.approx(sqrt(2 / 4))
    assert found.half_width == pytest.approx(T2 * sqrt(2 / 4), rel=1e-5)


def test_the_line_goes_through_unevenly_spaced_windows() -> None:
    times_ns = [0, 1, 5, 6, 30]
    assert mean_over_windows([3 * t for t in times_ns], times_ns).half_width == pytest.approx(0, abs=1e-9)


def test_the_zero_of_the_clock_is_of_no_meaning() -> None:
    values, times_ns = [5.0, 5.3, 4.9, 5.6, 5.2], every(5, 13 * 10**9)
    late = [time + 10**16 for time in times_ns]
    assert mean_over_windows(values, late).half_width == pytest.approx(
        mean_over_windows(values, times_ns).half_width, rel=1e-9
    )


def test_the_budget_adds_up_and_lists_what_scatter_contains() -> None:
    shared, within = Component("quantisation", 3.0), Component("edges", 100.0)
    found = mean_over_windows([10, 18], every(2), [shared], [within])
    assert only(found, "between windows").standard_uncertainty == 4
    assert [c.name for c in found.components if not c.contained] == ["between windows", "quantisation"]
    assert only(found, "edges").contained
    assert only(found, "edges").standard_uncertainty == 100
    assert found.standard_uncertainty == 5
    # Welch-Satterthwaite: 5^4 / (4^4 / 1).
    assert found.dof == pytest.approx(625 / 256)
    assert found.half_width == pytest.approx(5 * student_t(625 / 256))


@pytest.mark.parametrize("unit", [1e-90, 1, 1e90])
def test_welch_satterthwaite_is_that_of_the_guides_example(unit: float) -> None:
    """GUM G.4.1, example: 0.25, 0.57 and 0.82 % from 10, 5 and 15 readings are 1.03 % with 19.0 degrees of freedom."""
    parts = [Component(str(n), percent * unit, dof=n - 1) for percent, n in ((0.25, 10), (0.57, 5), (0.82, 15))]
    found = mean_over_windows([7, 7], every(2), parts)
    assert found.standard_uncertainty == pytest.approx(1.03 * unit, rel=5e-3)
    assert found.dof == pytest.approx(19.0, abs=0.05)


def test_without_scatter_and_budget_there_is_no_width() -> None:
    found = mean_over_windows([7, 7, 7, 7, 7], every(5), [Component("quantisation", 0.0)])
    assert (found.value, found.half_width, found.standard_uncertainty, found.dof) == (7, 0, 0, 3)


def test_the_gain_is_stated_apart_and_can_be_included() -> None:
    found = mean_over_windows([99, 101], every(2))
    with_gain = found.including(gain(found.value, 0.05))
    assert [c.name for c in found.components] == ["between windows"]
    assert with_gain.value == found.value
    assert with_gain.standard_uncertainty == pytest.approx(sqrt(1 + (100 * 0.05) ** 2 / 3))
    assert gain(-100, 0.05).standard_uncertainty == pytest.approx(2.886751)


@pytest.mark.parametrize("width", [-1, nan, inf])
def test_a_standard_uncertainty_is_a_number(width: float) -> None:
    with pytest.raises(ValueError, match=r"edges: .*: give 0 or more"):
        Component("edges", width)


# What is not measured is refused everywhere


@pytest.mark.parametrize(
    ("values", "times_ns", "reason"),
    [
        ([1], [0], "2 at least"),
        ([], [], "2 at least"),
        ([1, nan, 3], [0, 1, 2], "not a number"),
        ([1, inf], [0, 1], "not a number"),
        ([1, 2], [0, nan], "not a number"),
        ([1, 2, 3], [0, 1], "3 values and 2 times"),
        ([1, 2], [1, 1], "do not increase"),
        ([1, 2], [2, 1], "do not increase"),
        ([[1, 2], [3, 4]], [0, 1], "shape"),
    ],
)
def test_bad_windows_are_refused(values, times_ns, reason) -> None:
    with pytest.raises(ValueError, match=reason):
        mean_over_windows(values, times_ns)
    with pytest.raises(ValueError, match=reason):
        net_over_windows(values, times_ns, IdleLine(known(1), known(1), -10, 10), values)


@pytest.mark.parametrize(
    ("values", "times_ns", "reason"),
    [
        ([1, 2], [0, 1], "3 at least"),
        ([1, nan, 3], [0, 1, 2], "not a number"),
        ([1, 2, 3], [0, 2, 1], "do not increase"),
        ([1, 2, 3], [0, 1, 2, 3], "3 values and 4 times"),
    ],
)
def test_bad_windows_have_no_drift(values, times_ns, reason) -> None:
    with pytest.raises(ValueError, match=reason):
        drift(values, times_ns, 1)


@pytest.mark.parametrize(
    ("numerators", "denominators", "reason"),
    [
        ([1], [1], "2 at least"),
        ([1, 2], [1], "2 at least"),
        ([1, 2, 3], [1, 2], "3 numerators and 2 denominators"),
        ([1, nan], [1, 1], "numerators: one is not a number"),
        ([1, 1], [1, inf], "denominators: one is not a number"),
        ([1, 0], [1, 1], "positive"),
        ([1, 1], [1, -1], "positive"),
    ],
)
def test_bad_pairs_are_refused(numerators, denominators, reason) -> None:
    with pytest.raises(ValueError, match=reason):
        paired_ratio(numerators, denominators)


@pytest.mark.parametrize("samples", [[], [1], [1, nan], [1, inf], [[1, 2], [3, 4]]])
def test_bad_samples_are_refused(samples) -> None:
    with pytest.raises(ValueError, match="samples"):
        series_mean(samples)


# Ratios


def test_a_ratio_is_the_geometric_mean_of_the_rounds() -> None:
    found = paired_ratio([2 * exp(0.1), 3 * exp(0.3)], [2, 3])
    assert found.value == pytest.approx(exp(0.2))
    assert found.standard_uncertainty == pytest.approx(exp(0.2) * 0.1)
    assert (found.n, found.dof) == (2, 1)
    # The interval of the logarithm, 0.2 +- 12.7 x 0.1, has its longer part above.
    assert found.high == pytest.approx(exp(0.2 + student_t(1) * 0.1))
    assert found.low < exp(0.2 - student_t(1) * 0.1)


def test_a_ratio_of_quiet_rounds_has_a_t_interval() -> None:
    found = paired_ratio([1.001, 0.999, 1.002, 0.998, 1.000], [1] * 5)
    assert found.value == pytest.approx(1, rel=1e-5)
    assert found.half_width == pytest.approx(2.7764 * sqrt(1e-5 / 4 / 5), rel=3e-3)


def test_what_both_networks_share_cancels_in_a_ratio() -> None:
    ours, theirs = np.array([5.1, 5.4, 5.0, 5.2]), np.array([7.0, 7.3, 6.9, 7.4])
    plain = paired_ratio(ours, theirs)
    with_gain = paired_ratio(0.941 * ours, 0.941 * theirs)
    slow = np.array([1, 1.5, 2, 7])
    assert with_gain.value == pytest.approx(plain.value, rel=1e-12)
    assert with_gain.half_width == pytest.approx(plain.half_width, rel=1e-9)
    assert paired_ratio(slow * ours, slow * theirs).half_width == pytest.approx(plain.half_width, rel=1e-9)
    assert paired_ratio(theirs, ours).value == pytest.approx(1 / plain.value, rel=1e-12)


def test_what_does_not_cancel_widens_a_ratio() -> None:
    found = paired_ratio([2, 2, 2], [1, 1, 1], [Component("quantisation", 0.03)])
    assert found.value == pytest.approx(2)
    assert found.standard_uncertainty == pytest.approx(0.06)
    assert found.high == pytest.approx(2 * exp(1.959964 * 0.03))


# Series of readings


def autoregressive(n: int, memory: float, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal(n)
    for i in range(1, n):
        values[i] = memory * values[i - 1] + sqrt(1 - memory**2) * values[i]
    return values


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_a_long_series_counts_once_for_each_autocorrelation_time(memory: float) -> None:
    """(1 + memory) / (1 - memory) for first-order autoregression."""
    n, time = 100_000, (1 + memory) / (1 - memory)
    found = series_mean(5000 + 300 * autoregressive(n, memory, seed=3))
    assert found.effective_n == pytest.approx(n / time, rel=0.08)
    assert found.standard_error == pytest.approx(300 * sqrt(time / n), rel=0.06)
    assert found.mean == pytest.approx(5000, abs=4 * found.standard_error)
    # Lags up to 2.5 times the time are summed, twice as many numbers as that and one are behind the error.
    assert found.dof == pytest.approx(n / (5 * time + 1), rel=0.4)


@pytest.mark.parametrize(("n", "memory"), [(120, 0.905), (300, 0.905), (120, 0.6)])
def test_the_interval_of_a_short_series_holds(n: int, memory: float) -> None:
    """Twelve seconds at 10 Hz with a memory of 1 s: six independent readings are all that there is."""
    held, naive = 0, 0
    for seed in range(1000):
        samples = autoregressive(n, memory, seed)
        found = series_mean(samples)
        held += abs(found.mean) <= student_t(found.dof) * found.standard_error
        naive += abs(found.mean) <= student_t(n - 1) * samples.std(ddof=1) / sqrt(n)
    assert 930 <= held <= 975
    assert naive < 700


def test_readings_that_never_change_have_no_scatter() -> None:
    found = series_mean([0.1] * 50)
    assert (found.mean, found.standard_error, found.effective_n, found.dof) == (0.1, 0, 50, 49)


@pytest.mark.parametrize("samples", [[1, 3], [1, 2, 1, 2, 1, 2], [0, 0, 0, 1], list(range(20))])
def test_a_series_counts_for_two_at_least_and_for_no_more_than_it_has(samples: list[float]) -> None:
    found = series_mean(samples)
    assert 2 <= found.effective_n <= len(samples)
    assert found.dof >= 1
    assert found.standard_error >= np.std(samples, ddof=1) / sqrt(len(samples)) * (1 - 1e-12)


def test_a_series_in_another_unit_has_the_same_effective_number() -> None:
    samples = autoregressive(200, 0.8, seed=1)
    one, other = series_mean(samples), series_mean(1e6 + 1e3 * samples)
    assert other.effective_n == pytest.approx(one.effective_n, rel=1e-6)
    assert other.standard_error == pytest.approx(1e3 * one.standard_error, rel=1e-6)


# The sensor's step


def test_a_reading_that_never_moves_is_off_by_up_to_half_a_step() -> None:
    found = quantisation([4800] * 100, step_mw=400)
    assert found.systematic_mw == pytest.approx(400 / sqrt(12))
    assert found.random_mw == pytest.approx(400 / sqrt(1200))


def test_two_levels_show_no_noise() -> None:
    """Power at a threshold flips between two levels with next to no noise."""
    assert quantisation([4800, 5200] * 50, step_mw=400).systematic_mw == pytest.approx(400 / sqrt(12))


def test_three_levels_do() -> None:
    """Half a step squared of variance, less 1/12, is noise: one term of the series is left."""
    found = quantisation([400, 800, 800, 1200] * 25, step_mw=400)
    assert found.systematic_mw == pytest.approx(400 * sqrt(exp(-4 * pi**2 * (1 / 2 - 1 / 12)) / (2 * pi**2)))


def test_a_voltage_that_trembles_adds_no_levels() -> None:
    """Current in steps of 20 mA, 240 and 260 mA, times a voltage in steps of 8 mV."""
    readings = [20 * steps * (19.0 + 0.008 * (i % 5)) for i, steps in enumerate([12, 13, 13, 12, 13, 12, 12] * 10)]
    assert quantisation(readings, step_mw=380).systematic_mw == pytest.approx(380 / sqrt(12))


def test_windows_on_different_levels_show_no_noise() -> None:
    found = quantisation([400] * 50, [800] * 50, [1200] * 50, step_mw=400)
    assert found.systematic_mw == pytest.approx(400 / sqrt(12))
    assert found.random_mw == pytest.approx(400 / sqrt(12 * 150))


@pytest.mark.parametrize("noise", [0.3, 0.35, 0.4])
def test_noise_dithers_as_brute_force_says(noise: float) -> None:
    """The error of a long mean for power anywhere between two levels, by the normal distribution's own integral."""
    gaussian = NormalDist(0, noise)
    places = (np.arange(200) + 0.5) / 200
    errors = [sum(k * _share(gaussian, k - place) for k in range(-4, 6)) - place for place in places]
    rng = np.random.default_rng(5)
    windows = [np.round(place + noise * rng.standard_normal(2000)) for place in places]
    found = quantisation(*windows, step_mw=1)
    assert found.systematic_mw == pytest.approx(float(np.sqrt(np.mean(np.square(errors)))), rel=0.1)


def _share(gaussian: NormalDist, level: float) -> float:
    return gaussian.cdf(level + 0.5) - gaussian.cdf(level - 0.5)


def test_much_noise_leaves_no_systematic_error() -> None:
    readings = 400 * np.round(20 + np.random.default_rng(0).standard_normal(1000))
    assert quantisation(readings, step_mw=400).systematic_mw < 1e-3


@pytest.mark.parametrize(
    ("windows", "step_mw", "reason"),
    [
        ([], 400, "no windows"),
        ([[]], 400, "readings"),
        ([[1, nan]], 400, "not a number"),
        ([[1, 2]], 0, "step 0 mW"),
        ([[1, 2]], -1, "step -1 mW"),
        ([[1, 2]], nan, "step nan mW"),
    ],
)
def test_bad_readings_have_no_step(windows, step_mw, reason) -> None:
    with pytest.raises(ValueError, match=reason):
        quantisation(*windows, step_mw=step_mw)


# Idle, and energy net of it


def test_load_over_drifting_idle_has_the_net_energy_that_went_in() -> None:
    """Idle 4 W rising by 1 mW/s, load 3 W above it, inferences of 5 to 9 ms: 3 W x their time."""
    mid_ns = np.array(every(5, 20 * 10**9)) + 30 * 10**9
    inference_ns = np.array([5, 6, 7, 8, 9]) * 1e6
    gross_mj = (4000 + mid_ns * 1e-9 + 3000) * inference_ns * 1e-9
    idle = IdleLine(known(4010, 1, inf), known(4200, 1, inf), 10 * 10**9, 200 * 10**9)
    found = net_over_windows(gross_mj, mid_ns, idle, inference_ns)
    assert found.value == pytest.approx(3.0 * 7, rel=1e-12)
    assert found.components[0].standard_uncertainty == pytest.approx(0, abs=1e-12)
    assert idle.at_mw(mid_ns) == pytest.approx([4030, 4050, 4070, 4090, 4110])


def test_the_net_energy_carries_the_errors_of_both_idle_windows() -> None:
    idle = IdleLine(known(4000, 30, 8), known(4000, 40, 5), 0, 400)
    found = net_over_windows([50, 50], [50, 150], idle, [1e6, 3e6], [Component("quantisation", 0.1)])
    # Time between the windows: 1/8 of 1 ms and 3/8 of 3 ms with the power after, the rest with that before.
    before, after = (0.875 * 1 + 0.625 * 3) / 2 * 30e-3, (0.125 * 1 + 0.375 * 3) / 2 * 40e-3
    assert only(found, "idle before").standard_uncertainty == pytest.approx(before)
    assert only(found, "idle before").dof == 8
    assert only(found, "idle after").standard_uncertainty == pytest.approx(after)
    assert only(found, "idle after").dof == 5
    assert only(found, "quantisation").standard_uncertainty == 0.1
    scatter = only(found, "between windows").standard_uncertainty
    assert scatter == pytest.approx((46 - 38) / 2)
    assert found.standard_uncertainty == pytest.approx(sqrt(scatter**2 + before**2 + after**2 + 0.1**2))
    assert found.flags == ()


def test_the_step_of_the_idle_readings_is_not_averaged_out() -> None:
    idle = IdleLine(known(4000), known(4000), 0, 100, quantisation_mw=115)
    found = net_over_windows([50, 50], [40, 60], idle, [1e6, 1e6])
    assert found.standard_uncertainty == pytest.approx(0.115)


def test_idle_that_drifts_within_its_interval_is_not_flagged() -> None:
    # Welch: 30 and 40 mW from 10 degrees of freedom each make 50 mW with 18.5 of them.
    dof = 50**4 / ((30**4 + 40**4) / 10)
    for drift_mw, flagged in ((50 * student_t(dof) - 0.1, False), (50 * student_t(dof) + 0.1, True)):
        for sign in (1, -1):
            idle = IdleLine(known(5000, 30), known(5000 + sign * drift_mw, 40), 0, 100)
            found = net_over_windows([50, 51], [40, 60], idle, [1e6, 1e6])
            assert idle.drift_mw == pytest.approx(sign * drift_mw)
            assert idle.drift_half_width_mw == pytest.approx(50 * student_t(dof))
            assert bool(found.flags) is flagged
            assert bool(only(found, "idle drift").standard_uncertainty) is flagged
            assert found.including(gain(1, 0.1)).flags == found.flags


def test_the_flag_names_both_values_and_the_way_out() -> None:
    idle = IdleLine(known(4760, 10, inf), known(6630, 10, inf), 0, 100)
    assert idle.flag == (
        "idle drifted by +1870 mW from before to after, its 95 % interval is +-28 mW: let the device warm up for "
        "longer and lock its clocks"
    )


def test_real_drift_of_idle_need_not_be_straight() -> None:
    """Its mean lies anywhere between both ends."""
    idle = IdleLine(known(4000), known(4240), 0, 100)
    found = net_over_windows([50, 50], [40, 60], idle, [2e6, 2e6])
    assert only(found, "idle drift").standard_uncertainty == pytest.approx(240 / sqrt(12) * 2e-3)


def test_the_step_of_both_idle_windows_may_hide_a_drift() -> None:
    """One may be read too high and the other too low: 1.96 x sqrt(2) x 100 mW."""
    for drift_mw, flagged in ((277, False), (278, True)):
        idle = IdleLine(known(4800), known(4800 + drift_mw), 0, 100, quantisation_mw=100)
        assert idle.drift_half_width_mw == pytest.approx(277.18, abs=0.01)
        assert bool(idle.flag) is flagged


def test_idle_is_measured_on_both_sides() -> None:
    with pytest.raises(ValueError, match="not later"):
        IdleLine(known(1), known(1), 100, 100)
    idle = IdleLine(known(1), known(1), 0, 100)
    for mids_ns in ([-1, 50], [50, 101]):
        with pytest.raises(ValueError, match="not between the idle windows"):
            net_over_windows([5, 5], mids_ns, idle, [1e6, 1e6])
    with pytest.raises(ValueError, match="2 energies and 3 times per inference"):
        net_over_windows([5, 5], [40, 60], idle, [1e6, 1e6, 1e6])


# Drift and steadiness


def test_the_slope_of_a_line_is_per_hour() -> None:
    found = drift([50, 50.5, 51, 51.5], every(4, HOUR_NS // 4), limit=1)
    assert found.per_hour.value == pytest.approx(2)
    assert found.per_hour.half_width == pytest.approx(0, abs=1e-9)
    assert found.change == pytest.approx(1.5)
    assert found.flag == "drift of +1.5 over the run, the limit is 1: warm up for longer"


def test_the_slope_has_a_t_interval() -> None:
    # Squares around the line: 4, 2 degrees of freedom; squares of the hours: 5.
    found = drift([1 + 1, -1 + 2, -1 + 3, 1 + 4], every(4, HOUR_NS), limit=0)
    assert found.per_hour.value == pytest.approx(1)
    assert found.per_hour.half_width == pytest.approx(T2 * sqrt(2 / 5), rel=1e-5)
    assert found.flag is None


@pytest.mark.parametrize(
    ("rise", "limit", "flagged"),
    [(0.1, 0.25, True), (-0.1, 0.25, True), (0.1, 0.31, False), (0.001, 0, False)],
)
def test_drift_is_flagged_where_it_is_sure_and_large(rise: float, limit: float, flagged: bool) -> None:
    # The noise is orthogonal to lines, and hides a rise of 0.001.
    values = [60 + rise * i + d for i, d in enumerate((0.01, -0.01, -0.01, 0.01))]
    assert bool(drift(values, every(4), limit).flag) is flagged


@pytest.mark.parametrize(
    ("means", "is_steady"),
    [
        ([100, 100], False),
        ([100, 100, 100], True),
        ([97.9, 100, 102.1], False),
        ([98.1, 100, 101.9], True),
        ([50, 100, 101, 100], True),
        ([100, 101, 100, 50], False),
        ([-98, -100, -102], True),
    ],
)
def test_steady_is_that_the_last_three_agree(means: list[float], is_steady: bool) -> None:
    assert steady(means) is is_steady


def test_steadiness_has_a_tolerance_and_a_number_of_windows() -> None:
    assert steady([95, 100, 105], tolerance=0.06)
    assert not steady([95, 100, 100, 100], windows=4)
    with pytest.raises(ValueError, match="not a number"):
        steady([100, nan, 100])


# Edges


def test_edges_are_those_of_two_ticks() -> None:
    assert edges(100_000_000, 12_000_000_000) == pytest.approx(0.1 / 12 / sqrt(6))
    assert edges(0, 1) == 0
    offsets = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 100_000))
    assert edges(1, 10) == pytest.approx(float((offsets[0] - offsets[1]).std()) / 10, rel=0.01)


@pytest.mark.parametrize(("tick_ns", "window_ns"), [(10, 10), (11, 10), (-1, 10), (0, 0)])
def test_a_window_is_longer_than_a_tick(tick_ns: int, window_ns: int) -> None:
    with pytest.raises(ValueError, match="measure for longer"):
        edges(tick_ns, window_ns)


def test_a_ratio_beyond_all_numbers_is_none() -> None:
    """A total that is nothing but rounding, beside one that is something."""
    with pytest.raises(ValueError, match="measure more rounds"):
        paired_ratio([1e-200, 1e200, 1e-200], [1.0, 1.0, 1.0])
