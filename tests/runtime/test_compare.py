"""Two results compared: which lines belong together, what changed, whether it was measured under equal conditions."""

from dataclasses import replace
from math import exp, sqrt

import numpy as np
import pytest

from espnet_edge.errors import InputError
from espnet_edge.power.conditions import ClockRange, PowerMode
from espnet_edge.runtime.compare import Comparison, compare
from espnet_edge.runtime.compare_changes import Change
from espnet_edge.runtime.gate import apply_gates, parse_gate
from espnet_edge.runtime.result import LineMemory, Power, Result, Unknown
from results import ENVIRONMENT, energy_of, line, measured_file, power_of, result_of, snapshot

STEADY = [[10.0, 10.1, 9.9, 10.0], [10.05, 10.15, 9.95, 10.05], [9.95, 10.05, 9.85, 9.95]]
NVML = {"meter": {"source": "nvml", "device": "NVIDIA L4 (GPU-1)", "facts": {"power_limit_mw": 72000, "driver": "550"}}}
OTHER = {
    "meter": {"source": "nvml", "device": "NVIDIA L4 (GPU-2)", "facts": {"power_limit_mw": 72000, "driver": "550"}}
}


def slower(rounds: list[list[float]], factor: float) -> list[list[float]]:
    return [[factor * ms for ms in block] for block in rounds]


def one_line_result(rounds: list[list[float]] = STEADY, **changes) -> Result:
    return result_of({"onnxruntime": rounds}, **changes)


def with_energy(gross_mj: float, half_width: float = 1.0, recording: dict | None = NVML, **of_energy) -> Result:
    power = power_of(energy_of("onnxruntime", gross_mj, half_width, **of_energy))
    return one_line_result(power=power.model_copy(update={"recording": recording}))


def changed(before: Result, after: Result, metric: str) -> Change:
    change = compare(before, after).lines[0].change(metric)
    assert change is not None
    return change


def deciding(before: Result, after: Result) -> list[str]:
    return [one.what for one in compare(before, after).deciding]


def doubtful(comparison: Comparison) -> list[str]:
    return [one.what for one in comparison.differences if not one.decides]


# Changes


def test_the_p50_has_the_interval_of_welch_on_the_logarithms_of_round_medians() -> None:
    change = changed(one_line_result(), one_line_result(slower(STEADY, 1.1)), "p50")
    logs = np.log([10.0, 10.05, 9.95])
    # Both runs have the same scatter on the logarithmic scale: 4 degrees of freedom, t = 2.776 (tables).
    half_width = 2.776445 * sqrt(2) * logs.std(ddof=1) / sqrt(3)
    assert change.before == pytest.approx(exp(logs.mean()))
    assert change.percent == pytest.approx(10.0)
    low, high = change.interval_percent
    assert low == pytest.approx(100 * (1.1 * exp(-half_width) - 1), rel=1e-5)
    assert high == pytest.approx(100 * (1.1 * exp(half_width) - 1), rel=1e-5)
    assert change.verdict == "worse"


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "not told apart"), (1.2, "worse"), (0.8, "better")])
def test_a_verdict_follows_the_interval(factor, verdict) -> None:
    comparison = compare(one_line_result(), one_line_result(slower(STEADY, factor)))
    assert {change.verdict for change in comparison.lines[0].changes if change.metric in {"p50", "mean"}} == {verdict}


def test_more_images_per_second_are_better() -> None:
    change = changed(one_line_result(), one_line_result(slower(STEADY, 0.8)), "throughput")
    assert change.before == pytest.approx(100, rel=0.01)
    assert change.percent == pytest.approx(25, rel=1e-6)
    assert change.verdict == "better"


def test_one_round_has_no_interval() -> None:
    change = changed(one_line_result(STEADY[:1]), one_line_result(slower(STEADY, 2.0)), "p50")
    assert change.interval is None
    assert change.no_interval_reason == "one round has no scatter: raise --rounds"
    assert change.verdict == "no interval"


def test_a_percentile_of_few_samples_has_no_interval() -> None:
    rounds = [[10.0 + i / 10 for i in range(10)] for _ in range(5)]
    comparison = compare(one_line_result(rounds), one_line_result(rounds))
    p99 = comparison.lines[0].change("p99")
    assert p99.before == p99.after == pytest.approx(10.9)
    assert p99.no_interval_reason == "50 samples, 100 are needed for p99: raise --rounds or --iterations"
    assert comparison.lines[0].change("p95").interval is not None


def test_few_samples_against_many_take_more_for_an_interval() -> None:
    rounds = [[10.0 + i / 100 for i in range(40)] for _ in range(5)]
    change = changed(one_line_result(rounds), one_line_result([*rounds, *rounds]), "p99")
    assert "500 are needed for p99 between runs of different rounds" in change.no_interval_reason
    assert changed(one_line_result(rounds), one_line_result(rounds), "p99").interval is not None


def test_a_percentile_that_moves_alone_is_told_apart() -> None:
    rng = np.random.default_rng(0)
    before = [list(10 + 0.01 * rng.random(40)) for _ in range(10)]
    # Three of 40 are slow now: the median stays where it is.
    after = [[*(10 + 0.01 * rng.random(37)), *(15 + 0.01 * rng.random(3))] for _ in range(10)]
    comparison = compare(one_line_result(before), one_line_result(after))
    assert comparison.lines[0].change("p95").verdict == "worse"
    assert comparison.lines[0].change("p95").percent == pytest.approx(50, rel=0.01)
    assert abs(comparison.lines[0].change("p50").percent) < 0.1


def test_the_bootstrap_gives_the_same_interval_again() -> None:
    rng = np.random.default_rng(0)
    runs = [one_line_result([list(10 + rng.random(20)) for _ in range(5)]) for _ in range(2)]
    assert changed(*runs, "p99").interval == changed(*runs, "p99").interval


def test_energies_of_one_sensor_are_compared_without_its_gain() -> None:
    change = changed(with_energy(400.0, 2.0), with_energy(440.0, 2.0), "energy")
    # Half widths of 8 degrees of freedom: t = 2.306; together 2.132 of 16, nearly.
    errors = np.array([2.0 / 400, 2.0 / 440]) / 2.306004
    dof = (errors**2).sum() ** 2 / (errors**4 / 8).sum()
    assert 15 < dof < 16
    half_width = 2.12 * sqrt((errors**2).sum())
    assert change.percent == pytest.approx(10.0)
    assert change.interval_percent[0] == pytest.approx(100 * (1.1 * exp(-half_width) - 1), rel=2e-3)
    assert change.verdict == "worse"


def test_two_sensors_add_their_gain_errors() -> None:
    change = changed(with_energy(400.0, 2.0), with_energy(410.0, 2.0, OTHER), "energy")
    assert changed(with_energy(400.0, 2.0), with_energy(410.0, 2.0), "energy").verdict == "worse"
    # 5 % of each, rectangular: 1.96 * 5 % * sqrt(2 / 3) = 8 %.
    assert change.interval_percent[1] - change.percent == pytest.approx(100 * 1.025 * (exp(0.0801) - 1), rel=0.02)
    assert change.verdict == "not told apart"
    assert changed(with_energy(400.0), with_energy(400.0, recording=None), "energy").interval_percent[1] > 8


def test_two_sensors_of_which_one_tells_no_gain_error_are_not_told_apart() -> None:
    after = with_energy(800.0, recording=OTHER)
    load = after.power.result.loads[0]
    unknown = load.model_copy(update={"total": load.total.model_copy(update={"gain_error": None})})
    result = one_line_result(power=power_of(unknown).model_copy(update={"recording": OTHER}))
    change = changed(with_energy(400.0), result, "energy")
    assert change.interval is None
    assert "gain error that is not known" in change.no_interval_reason


def test_an_offset_of_one_sensor_matters_as_far_as_it_is_another_share() -> None:
    def of(gross_mj: float, offset_mj: float) -> Result:
        load = energy_of("onnxruntime", gross_mj, 0.0)
        total = load.total.model_copy(update={"offset_mj": offset_mj})
        return one_line_result(
            power=power_of(load.model_copy(update={"total": total})).model_copy(update={"recording": NVML})
        )

    assert changed(of(400.0, 40.0), of(200.0, 20.0), "energy").interval_percent == pytest.approx((-50.0, -50.0))
    # Half the time at half the power: 10 mJ of 400 and 5 of 100 differ by 2.5 %.
    half_width = 1.959964 * 0.025 / sqrt(3)
    low, _high = changed(of(400.0, 10.0), of(100.0, 5.0), "energy").interval_percent
    assert low == pytest.approx(100 * (0.25 * exp(-half_width) - 1))


def test_net_energy_near_zero_has_no_percent() -> None:
    change = changed(with_energy(400.0, 2.0, net_mj=1.0), with_energy(400.0, 2.0, net_mj=9.0), "net")
    assert change.percent is None
    assert change.interval_percent is None
    low, high = change.interval
    assert (low + high) / 2 == pytest.approx(8.0)
    assert change.verdict == "worse"


def test_energy_that_is_not_known_is_missing_with_its_reason() -> None:
    load = energy_of("onnxruntime", 400.0)
    load = load.model_copy(update={"total": load.total.model_copy(update={"net_mj": Unknown(reason="no idle")})})
    comparison = compare(with_energy(400.0), one_line_result(power=power_of(load)))
    assert comparison.lines[0].missing["net"] == "not known: no idle"
    assert comparison.lines[0].change("energy") is not None
    missing = compare(with_energy(400.0), one_line_result()).lines[0].missing
    assert missing["energy"] == "not in the second result"
    assert compare(one_line_result(), one_line_result()).lines[0].missing["energy"] == "in neither result"


def test_memory_is_told_apart_beyond_one_percent() -> None:
    memories = [(LineMemory(name="onnxruntime", peak_rss_bytes=peak, gpu_bytes=0),) for peak in (200 << 20, 210 << 20)]
    before, after = (one_line_result(memory=memory) for memory in memories)
    change = changed(before, after, "memory")
    assert change.interval_percent == pytest.approx((4.0, 6.0))
    assert change.verdict == "worse"
    noise = one_line_result(memory=(LineMemory(name="onnxruntime", peak_rss_bytes=201 << 20),))
    assert changed(before, noise, "memory").verdict == "not told apart"
    assert changed(before, before, "memory").verdict == "not told apart"
    assert changed(before, after, "gpu_memory").percent is None


def test_a_change_beyond_all_numbers_has_no_interval() -> None:
    change = changed(one_line_result([[1.0], [1.0]]), one_line_result([[1e-6], [1e16]]), "p50")
    assert change.interval is None
    assert "beyond all numbers" in change.no_interval_reason


@pytest.mark.parametrize(("gross_mj", "half_width"), [(1e305, 1.0), (-1e305, 1.0), (400.0, 1e305)])
def test_energy_beyond_all_numbers_has_no_interval(gross_mj, half_width) -> None:
    change = changed(with_energy(1e300, 1.0), with_energy(gross_mj, half_width), "energy")
    assert change.interval is None
    assert change.percent is None


def test_a_sample_of_no_time_is_not_compared() -> None:
    missing = compare(one_line_result(), one_line_result([[0.0, 1.0], [1.0, 1.0]])).lines[0].missing
    assert "0 ns" in missing["p50"]


# Lines


def test_lines_of_one_kind_belong_together_whatever_they_are_called() -> None:
    after = one_line_result(lines=(line("a.onnx onnxruntime"),), latency=None, memory=None)
    comparison = compare(one_line_result(), after)
    assert [(one.before.name, one.after.name) for one in comparison.lines] == [("onnxruntime", "a.onnx onnxruntime")]
    assert "a.onnx onnxruntime is compared with onnxruntime" in comparison.notes


def test_lines_that_only_threads_tell_apart_belong_together_by_name() -> None:
    def swept(*names: str) -> Result:
        lines = tuple(line(name, threads=int(name[-1])) for name in names)
        return result_of(dict.fromkeys(names, STEADY), lines=lines)

    comparison = compare(swept("threads 1", "threads 2"), swept("threads 2", "threads 1", "threads 4"))
    assert [(one.before.name, one.after.name) for one in comparison.lines] == [
        ("threads 2", "threads 2"),
        ("threads 1", "threads 1"),
    ]
    assert comparison.only_after == ("threads 4",)
    assert comparison.deciding == ()


def test_another_precision_belongs_together_by_name_and_is_noted() -> None:
    comparison = compare(one_line_result(), one_line_result(files=(measured_file(precision="int8", sha256="cd" * 32),)))
    assert "onnxruntime: precision fp32 before, int8 after" in comparison.notes
    assert any("another file than before, abababababab became cdcdcdcdcdcd" in note for note in comparison.notes)
    assert comparison.differences == ()


def test_lines_of_one_result_alone_are_listed() -> None:
    comparison = compare(result_of(), one_line_result())
    assert comparison.only_before == ("openvino",)
    assert comparison.only_after == ()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"files": (measured_file("mobilenetv2", path="espnetv2_cls.onnx"),)}, "mobilenetv2 2 imagenet"),
        ({"files": (measured_file(width_mult=1.0),)}, "espnetv2_cls 1 imagenet"),
        ({"files": (measured_file(network=None, path="espnetv2_cls.onnx"),)}, "espnetv2_cls.onnx in"),
        ({"lines": (line(batch=8),)}, "batch 8"),
    ],
)
def test_results_of_other_networks_are_refused_with_both(changes, told) -> None:
    with pytest.raises(InputError) as error:
        compare(one_line_result(), one_line_result(**changes))
    assert "espnetv2_cls 2 imagenet in onnxruntime on cpu, batch 1 before" in str(error.value)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_one_result_twice_is_no_change() -> None:
    result = with_energy(400.0)
    comparison = compare(result, result)
    assert {change.difference for change in comparison.lines[0].changes} == {0}
    assert {change.verdict for change in comparison.lines[0].changes} <= {"not told apart", "no interval"}
    assert comparison.notes == ("both results are the same one: nothing can have changed",)
    assert comparison.differences == ()


# Conditions

LOCKED = ClockRange("policy0", "performance", 2000.0, 2000.0, 2000.0)


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ({}, {"environment": replace(ENVIRONMENT, cpu="Intel Xeon")}, "cpu"),
        ({}, {"environment": replace(ENVIRONMENT, board="Orin")}, "board"),
        ({}, {"environment": replace(ENVIRONMENT, usable_cores=1)}, "usable cores"),
        ({}, {"environment": replace(ENVIRONMENT, governor="powersave")}, "governor"),
        ({}, {"before": snapshot(turbo=True)}, "turbo"),
        (
            {"before": snapshot(power_mode=PowerMode("MAXN", 0))},
            {"before": snapshot(power_mode=PowerMode("15W", 2))},
            "power mode",
        ),
        (
            {"before": snapshot(cpu_clocks=(LOCKED,))},
            {"before": snapshot(cpu_clocks=(replace(LOCKED, min_mhz=400.0),))},
            "CPU clock policy0",
        ),
        (
            {"before": snapshot(gpu_clocks=(LOCKED,))},
            {"before": snapshot(gpu_clocks=(replace(LOCKED, max_mhz=900.0),))},
            "GPU clock policy0",
        ),
        ({}, {"lines": (line(threads=1),)}, "threads of onnxruntime"),
        ({}, {"lines": (line(device="cuda"),)}, "device of onnxruntime"),
        ({"lines": (line(device_name="L4"),)}, {"lines": (line(device_name="T4"),)}, "device name of onnxruntime"),
    ],
)
def test_what_decides_about_a_figure_must_be_equal(before, after, what) -> None:
    first, second = one_line_result(**before), one_line_result(**after)
    assert deciding(first, second) == [what]
    assert deciding(first, first) == []


def test_other_inputs_decide() -> None:
    after = line().model_copy(update={"inputs": ("image uint8 (1,448,448,3)",)})
    assert deciding(one_line_result(), one_line_result(lines=(after,))) == ["inputs of onnxruntime"]


def test_where_a_clock_happens_to_be_is_no_setting() -> None:
    moved = one_line_result(before=snapshot(cpu_clocks=(replace(LOCKED, current_mhz=1990.0),)))
    assert compare(one_line_result(before=snapshot(cpu_clocks=(LOCKED,))), moved).differences == ()


@pytest.mark.parametrize(
    ("after", "what"),
    [
        ({"lines": (line(version="1.33.0"),)}, "version of onnxruntime"),
        ({"lines": (line(graph=True),)}, "CUDA graph of onnxruntime"),
        ({"before": snapshot().model_copy(update={"load_average": 0.7})}, "load average"),
        ({"environment": replace(ENVIRONMENT, os="Linux 6.2")}, "system"),
    ],
)
def test_other_differences_are_doubts(after, what) -> None:
    comparison = compare(one_line_result(), one_line_result(**after))
    assert doubtful(comparison) == [what]
    assert comparison.deciding == ()


def test_a_warmer_machine_is_a_doubt_beyond_five_degrees() -> None:
    before, near, far = (one_line_result(before=snapshot(temperature_c=t)) for t in (50.0, 55.0, 55.1))
    assert doubtful(compare(before, near)) == []
    assert doubtful(compare(before, far)) == ["temperature in C"]


def test_settings_of_a_gpu_and_its_clock_under_load_decide() -> None:
    def with_recording(limit_mw: int, clock_mhz: float, driver: str = "550") -> Result:
        facts = {"power_limit_mw": limit_mw, "driver": driver}
        columns = {"sm_clock_mhz": (210.0, clock_mhz, clock_mhz, None)}
        recording = {"meter": {**NVML["meter"], "facts": facts}, "conditions": {"columns": columns}}
        return with_energy(400.0, recording=recording)

    before = with_recording(72000, 1500.0)
    assert deciding(before, with_recording(60000, 1500.0)) == ["GPU, power_limit_mw"]
    assert deciding(before, with_recording(72000, 1400.0)) == ["GPU clock, its median in MHz"]
    assert deciding(before, with_recording(72000, 1480.0)) == []
    assert doubtful(compare(before, with_recording(72000, 1500.0, "560"))) == ["GPU driver"]


def test_another_meter_is_a_doubt() -> None:
    assert doubtful(compare(with_energy(400.0), with_energy(400.0, recording=OTHER))) == ["power meter, its device"]
    assert doubtful(compare(with_energy(400.0), with_energy(400.0, recording=None))) == ["power meter"]
    assert doubtful(compare(with_energy(400.0), one_line_result(power=Power(schema_version=1, unavailable="no")))) == []


def test_doubts_about_the_results_themselves_are_told() -> None:
    partial = one_line_result(partial="interrupted in round 3 of 5", doubts=("load average 3.0", "other"))
    doubts = compare(one_line_result(), partial).doubts
    assert doubts == (
        "the second result is not complete (interrupted in round 3 of 5): measure it again",
        "the second result has 2 doubts of its own, such as: load average 3.0",
    )
    newer = one_line_result(started="2026-11-26T09:00:00+00:00")
    assert "the first result is the newer one" in compare(newer, one_line_result()).doubts[0]


def test_a_warm_up_that_did_not_come_to_rest_is_a_doubt() -> None:
    result = one_line_result()
    unsteady = result.latency.lines[0].model_copy(update={"steady": False})
    after = one_line_result(latency=result.latency.model_copy(update={"lines": (unsteady,)}))
    assert compare(result, after).doubts == (
        "onnxruntime: its warm-up did not come to rest in the second result; measure again",
    )


# Simulated runs

RUNS, ROUNDS, ITERATIONS, TRUE_RATIO = 500, 5, 20, 1.03


def simulated(rng: np.random.Generator, ms: float) -> list[list[float]]:
    """Rounds that differ by 1 %, and inferences by 2 % around them."""
    centres = ms * np.exp(rng.normal(0, 0.01, (ROUNDS, 1)))
    return (centres * np.exp(rng.normal(0, 0.02, (ROUNDS, ITERATIONS)))).tolist()


@pytest.fixture(scope="module")
def simulations() -> list[Comparison]:
    rng = np.random.default_rng(20)
    pairs = [(simulated(rng, 10.0), simulated(rng, 10.0 * TRUE_RATIO)) for _ in range(RUNS)]
    return [compare(one_line_result(a, memory=None), one_line_result(b, memory=None)) for a, b in pairs]


@pytest.mark.parametrize("metric", ["p50", "p90", "p95", "p99", "mean", "throughput"])
def test_intervals_cover_the_truth_as_often_as_they_say(simulations, metric) -> None:
    truth = 100 * ((1 / TRUE_RATIO if metric == "throughput" else TRUE_RATIO) - 1)
    changes = [comparison.lines[0].change(metric) for comparison in simulations]
    covered = np.mean([low <= truth <= high for low, high in (change.interval_percent for change in changes)])
    assert 0.93 <= covered <= 0.97


def test_intervals_of_energy_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(21)
    covered = 0
    for _ in range(RUNS):
        runs = [mj * (1 + 0.02 * rng.standard_normal(9)) for mj in (400.0, 400.0 * TRUE_RATIO)]
        results = [with_energy(run.mean(), 2.306004 * run.std(ddof=1) / 3) for run in runs]
        low, high = changed(*results, "energy").interval_percent
        covered += low <= 100 * (TRUE_RATIO - 1) <= high
    assert 0.93 <= covered / RUNS <= 0.97


def test_a_gate_on_equal_runs_trips_as_rarely_as_stated() -> None:
    rng = np.random.default_rng(22)
    gates = [parse_gate(text) for text in ("p50>0%", "p50>1%", "p50<0%", "p99>0%")]
    tripped = np.zeros(len(gates))
    for _ in range(RUNS):
        a, b = (one_line_result(simulated(rng, 10.0), memory=None) for _ in range(2))
        tripped += [outcome.tripped for outcome in apply_gates(gates, compare(a, b))]
    # 2.5 % of 500 are 12.5; three standard deviations more are 23.
    assert (tripped <= 23).all()
    assert tripped[1] <= tripped[0]
    assert tripped.sum() > 0


def test_a_gate_finds_what_is_clearly_beyond_its_limit(simulations) -> None:
    found = [apply_gates([parse_gate("p50>1%")], comparison)[0].tripped for comparison in simulations]
    # Rounds differ by 1 %: the standard error of a change is 0.7 %, and the true one is some three of them beyond 1 %.
    assert np.mean(found) > 0.9


def test_clocks_that_neither_run_knows_are_a_doubt() -> None:
    unknown = one_line_result(environment=replace(ENVIRONMENT, governor=None))
    (doubt,) = (one for one in compare(unknown, unknown).differences if "clocks" in one.what)
    assert not doubt.decides
    assert doubt.text == "clocks, governor and power mode: unknown before, unknown after"


def test_another_rate_is_another_measurement() -> None:
    slow, fast = (one_line_result(lines=(line("onnxruntime", rate_hz=rate),), latency=None) for rate in (5.0, 30.0))
    (found,) = compare(slow, fast).differences
    assert found.decides
    assert found.text == "rate hz of onnxruntime: 5 before, 30 after"
