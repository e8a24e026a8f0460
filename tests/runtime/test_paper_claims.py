"""The paper's statements beside made-up results: every verdict, and none without a measurement."""

import pytest

from espnet_edge.errors import InputError
from espnet_edge.power.analysis import analyse
from espnet_edge.power.campaign import Settings, measure
from espnet_edge.power.conditions import MachineConditions
from espnet_edge.power.uncertainty import paired_ratio as paired_energy_ratio
from espnet_edge.runtime.paired import paired_ratio
from espnet_edge.runtime.paper.claims import claims_of
from espnet_edge.runtime.paper.comparison import Traced, recomputed, with_paper
from espnet_edge.runtime.paper.derived import accuracy_against_energy, efficiencies
from espnet_edge.runtime.paper.lines import settings_of
from espnet_edge.runtime.paper.pairs import Interval, Unmeasured, energy_ratio, time_ratio
from espnet_edge.runtime.paper.published import NETWORKS
from espnet_edge.runtime.paper.report import claim_lines, print_comparison
from espnet_edge.runtime.power_report import MeasuredPower, power_json
from espnet_edge.runtime.result import Breakdown, Claim, Figure, Power, Result, Unknown, result_text
from paper_results import ROUNDS, made_of, paper_result, windows_of
from results import energy_of, line, measured_file, power_of, result_of
from virtual_machine import MS, SensorModel, VirtualMachine, VirtualMeter, sampler_of

NAMES = [network.network for network in NETWORKS]
EQUAL_MJ = dict.fromkeys(NAMES, 100.0)


def claim(result: Result, words: str) -> Claim:
    found = [one for one in claims_of(result) if words in one.statement]
    assert len(found) == 1, (words, [one.statement for one in found])
    return found[0]


@pytest.mark.parametrize(("espnet_mj", "verdict"), [(60.0, "holds"), (78.0, "not told apart"), (90.0, "does not hold")])
def test_energy_for_the_same_work(espnet_mj: float, verdict: str) -> None:
    result = paper_result(mj={**EQUAL_MJ, "espnetv2_cls": espnet_mj})
    one = claim(result, "22 % less energy than ShuffleNetv2")
    assert (one.verdict, one.reason) == (verdict, None)
    assert one.paper == "-22 % (10.1 J and 12.9 J)"
    assert one.ours.startswith(f"to ShuffleNetv2 -{100 - espnet_mj:.1f} % (")
    # Of the others the figure says more.
    assert claim(result, "32 % less energy than MobileNetv1").paper.startswith("-32 %")
    assert claim(result, "38 % less energy than ShuffleNetv1").paper.startswith("-38 %")
    assert claim(result, "51 % less energy than MobileNetv2").verdict == "does not hold"


def test_power_while_it_works_and_at_every_batch() -> None:
    peak, least = "at least 43 % lower", "least power at every batch size"
    # Half of the energy in the same time is half of the power.
    result = paper_result(mj={**EQUAL_MJ, "espnetv2_cls": 50.0})
    assert claim(result, peak).verdict == claim(result, least).verdict == "holds"
    assert claim(result, peak).paper == "-43 to -50 % (peak 2.86 W)"
    # In twice the time a little more energy is still less power, but not as much less; and it is not less energy.
    result = paper_result({"espnetv2_cls": 20.0}, {**EQUAL_MJ, "espnetv2_cls": 130.0})
    assert claim(result, peak).verdict == "does not hold"
    assert claim(result, least).verdict == "holds"
    assert claim(result, "most power efficient").verdict == "does not hold"
    assert claim(result, least).source.startswith("recalled")


def test_one_network_that_is_better_decides() -> None:
    result = paper_result(mj={**EQUAL_MJ, "espnetv2_cls": 80.0, "mobilenetv1": 70.0})
    one = claim(result, "most power efficient")
    assert one.verdict == "does not hold"
    assert "to MobileNetv1 +14.3 to +14.3 % (" in one.ours
    assert "to ShuffleNetv2 -20.0 to -20.0 % (" in one.ours


@pytest.mark.parametrize(
    ("espnet_ms", "verdict"), [(11.0, "holds"), (12.5, "not told apart"), (20.0, "does not hold"), (5.0, "holds")]
)
def test_similar_speed_has_a_stated_limit(espnet_ms: float, verdict: str) -> None:
    one = claim(paper_result({"espnetv2_cls": espnet_ms}), "about as fast")
    assert one.verdict == verdict
    assert "at most 25 % slower" in one.statement
    assert "the limit is ours" in one.source


def test_counts() -> None:
    result = paper_result()
    assert claim(result, "about 300 million").verdict == "holds"
    assert claim(result, "ESPNetv2 2.0 has 284.8 million").verdict == "holds"
    assert claim(result, "MobileNetv2 1.0 has 300 million").verdict == "holds"
    other_form = claim(result, "ShuffleNetv1 1.5 has 292 million")
    assert (other_form.verdict, other_form.ours) == ("does not hold", "ShuffleNetv1 1.5 298.2 M")
    assert "stem" in (other_form.reason or "")
    heavy = [one.model_copy(update={"conv_macs": 900_000_000}) for one in result.files]
    assert claim(paper_result(files=tuple(heavy)), "about 300 million").verdict == "does not hold"
    unknown = [one.model_copy(update={"conv_macs": None}) for one in result.files]
    assert claim(paper_result(files=tuple(unknown)), "about 300 million").verdict == "not measured"


def test_no_verdict_without_a_measurement() -> None:
    without_power = [
        one for one in claims_of(paper_result()) if "energy" in one.statement or "power" in one.statement.lower()
    ]
    assert len(without_power) == 8 - 1
    for one in without_power:
        assert (one.verdict, one.ours) == ("not measured", "-")
        assert one.reason == "power was not measured: --measure latency,power"
    assert claim(paper_result(), "accurate").verdict == "not measured"
    assert claim(paper_result(latency=None), "about as fast").reason == "latency was not measured"

    unavailable = power_of().model_copy(update={"result": None, "unavailable": "no meter is here"})
    assert claim(paper_result(power=unavailable), "51 %").reason == "no meter is here"

    measured = paper_result(mj={**EQUAL_MJ, "espnetv2_cls": 30.0})
    assert measured.power is not None
    assert measured.power.result is not None
    first = measured.power.result.loads[0]
    unknown = first.total.model_copy(update={"gross_mj": Unknown(reason="its readings have gaps")})
    loads = (first.model_copy(update={"total": unknown}), *measured.power.result.loads[1:])
    assert claim(paper_result(power=power_of(*loads)), "51 %").reason == "its readings have gaps"


def test_a_network_that_is_missing_leaves_what_it_decides_open() -> None:
    whole = paper_result(mj={**EQUAL_MJ, "espnetv2_cls": 30.0})
    lines = tuple(one for one in whole.lines if not one.name.startswith("mobilenetv1"))
    kept = {"lines": lines, "latency": None}
    part = whole.model_copy(update=kept)
    one = claim(part, "most power efficient")
    assert one.verdict == "not measured"
    assert one.reason == ("MobileNetv1 0.75 was not measured at batch 1; MobileNetv1 0.75 was not measured at batch 4")
    assert "ShuffleNetv2 -70.0 to -70.0 %" in one.ours
    assert claim(part, "about 300 million").reason == "not all five networks were measured"


def test_two_runtimes_have_claims_of_their_own() -> None:
    first, second = paper_result(), paper_result({"espnetv2_cls": 30.0}, runtime="openvino")
    assert first.latency is not None
    assert second.latency is not None
    both = first.model_copy(
        update={
            "lines": (*first.lines, *second.lines),
            "latency": first.latency.model_copy(update={"lines": (*first.latency.lines, *second.latency.lines)}),
        }
    )
    assert [setting.name for setting in settings_of(both)] == ["onnxruntime", "openvino"]
    assert claim(both, "slower than each, at every batch size (onnxruntime)").verdict == "holds"
    verdicts = [one.verdict for one in claims_of(both) if "about as fast" in one.statement]
    assert verdicts == ["holds", "does not hold"]


def test_other_networks_and_widths_are_no_part_of_it() -> None:
    assert settings_of(paper_result()) != ()
    assert settings_of(result_of(files=(measured_file("espnetv2_cls", width_mult=0.5),))) == ()
    other = made_of(
        files=(measured_file("espnetv2_seg"),), lines=(line("seg", "espnetv2_seg.onnx"),), latency=None, memory=None
    )
    with pytest.raises(InputError, match=r"no line of the result is of the paper's networks \(ESPNetv2 2.0, "):
        recomputed(other)


def test_ratios_are_those_of_the_rounds() -> None:
    result = paper_result({"espnetv2_cls": 8.0}, {**EQUAL_MJ, "espnetv2_cls": 50.0}, jitter=0.01)
    mine, other = "cls onnxruntime, batch 1", "mobilenetv1 onnxruntime, batch 1"
    latencies = [result.latency_of(name) for name in (mine, other)]
    expected = paired_ratio(*([block[0] for block in one.samples_ns] for one in latencies if one is not None))
    found = time_ratio(result, mine, other)
    assert isinstance(found, Interval)
    assert (found.value, found.low, found.high) == (expected.median, expected.low, expected.high)
    assert found.low < 0.8 < found.high

    loads = [result.energy_of(name) for name in (mine, other)]
    windows = ([window["gross_mj"] for window in load.total.windows] for load in loads if load is not None)
    of_energies = paired_energy_ratio(*windows)
    found = energy_ratio(result, mine, other)
    assert isinstance(found, Interval)
    assert (found.value, found.high) == pytest.approx((of_energies.value, of_energies.high))
    assert found.low == pytest.approx(found.value**2 / found.high)

    # Without windows the figures' own intervals are put together, as if they were independent.
    loads = (energy_of(mine, 50.0, 3.0), energy_of(other, 100.0, 4.0))
    bare = energy_ratio(paper_result(power=power_of(*loads)), mine, other)
    assert isinstance(bare, Interval)
    assert (bare.value, bare.high) == pytest.approx((0.5, 0.5 * (1 + (0.06**2 + 0.04**2) ** 0.5)))
    wide = (energy_of(mine, 50.0, 60.0), energy_of(other, 100.0, 4.0))
    assert isinstance(energy_ratio(paper_result(power=power_of(*wide)), mine, other), Unmeasured)


def test_what_the_rounds_share_widens_the_interval() -> None:
    mine, other = "cls onnxruntime, batch 1", "mobilenetv1 onnxruntime, batch 1"
    narrow = paper_result(mj=EQUAL_MJ)
    assert narrow.power is not None
    assert narrow.power.result is not None
    budget = ({"name": "quantisation", "standard_uncertainty": 5.0, "contained": False},)

    def with_budget(load):
        figure = load.total.gross_mj.model_copy(update={"components": budget})
        return load.model_copy(update={"total": load.total.model_copy(update={"gross_mj": figure})})

    wide = paper_result(power=power_of(*map(with_budget, narrow.power.result.loads)))
    found = [energy_ratio(result, mine, other) for result in (narrow, wide)]
    assert all(isinstance(one, Interval) for one in found)
    # Two of 5 % each, times nearly two for 95 %.
    assert found[0].high < 1.01
    assert found[1].high == pytest.approx(1 + 1.96 * 0.05 * 2**0.5, abs=0.02)


def test_too_few_rounds_give_no_verdict() -> None:
    result = paper_result()
    assert result.latency is not None
    cut = [one.model_copy(update={"samples_ns": one.samples_ns[:2]}) for one in result.latency.lines]
    short = paper_result(latency=result.latency.model_copy(update={"lines": tuple(cut)}))
    one = claim(short, "about as fast")
    assert one.verdict == "not measured"
    assert "2 rounds have both, 5 are needed" in (one.reason or "")


def test_figures_of_an_image() -> None:
    breakdown = Breakdown(line="cls onnxruntime, batch 1", weights_bytes=14 << 10, activations_bytes=86 << 10)
    result = with_paper(
        paper_result({"espnetv2_cls": 8.0}, {**EQUAL_MJ, "espnetv2_cls": 50.0}, jitter=0.0, breakdowns=(breakdown,)),
        Traced(reason="none"),
    )
    first, second = efficiencies(result)[:2]
    assert (first.network, first.batch, second.batch) == ("espnetv2_cls", 1, 4)
    for one in (first, second):
        assert one.ms_per_image == pytest.approx(8.0)
        assert one.gross_j is not None
        assert one.gross_j.value == pytest.approx(0.05)
        assert one.images_per_j == pytest.approx(20)
        # 8 ms over 286.09 M; 50 mJ likewise.
        assert one.ps_per_mac == pytest.approx(27.963, rel=1e-4)
        assert one.pj_per_mac == pytest.approx(174.77, rel=1e-4)
        assert one.top1 == 72.1
    assert first.ns_per_kib == pytest.approx(8e6 / 100)
    assert first.nj_per_kib == pytest.approx(0.05e9 / 100)
    assert second.ns_per_kib is None
    points = accuracy_against_energy(result)
    assert [(name, top1) for name, top1, _ in points[::2]] == [
        (f"{n.model} onnxruntime, batch 1", n.top1) for n in NETWORKS
    ]
    bare = efficiencies(paper_result(latency=None))[0]
    assert (bare.ms_per_image, bare.gross_j, bare.images_per_j, bare.ps_per_mac, bare.top1) == (None,) * 5


def test_the_comparison_is_printed_and_kept(capsys: pytest.CaptureFixture[str]) -> None:
    result = with_paper(paper_result(mj=EQUAL_MJ, jitter=0.01), Traced(reason="no meter"))
    assert result.paper is not None
    assert result.paper.networks == tuple(NAMES)
    assert result.paper.batches == (1, 4)
    assert result.paper.top1["shufflenetv2"] == 72.5
    assert Result.model_validate_json(result_text(result)) == result
    assert recomputed(result) == result
    print_comparison(result)
    printed = capsys.readouterr().out
    assert "ESPNetv2 2.0" in printed
    assert "J/image" in printed
    assert "power over time: no meter" in printed
    for text in claim_lines(result.paper.claims):
        assert f"  {text}\n" in printed


def test_claims_of_a_whole_measurement_of_power() -> None:
    """In virtual time, with powers and times that are known: windows that a real measurement leaves are understood."""
    known = {"espnetv2_cls": (8 * MS, 30e3), "shufflenetv2": (8 * MS, 60e3), "mobilenetv1": (6 * MS, 60e3)}
    known |= {"shufflenetv1": (10 * MS, 40e3), "mobilenetv2": (4 * MS, 62e3)}
    machine = VirtualMachine(20e3)
    sampler = sampler_of(machine, VirtualMeter(machine, SensorModel(tick_ns=100 * MS)))
    base = paper_result(batches=(1,))
    loads = {
        one.name: machine.load(known[network])
        for one in base.lines
        if (network := base.file_of(one).network) is not None
    }
    recording = measure(loads, sampler, Settings(), sleep=machine.sleep, snapshot=MachineConditions)
    sampler.close()
    measured = power_json(MeasuredPower(recording, analyse(recording)))
    result = Result.model_validate_json(result_text(made_of(**{**vars(base), "power": Power.model_validate(measured)})))

    ratio = energy_ratio(result, base.lines[0].name, base.lines[1].name)
    assert isinstance(ratio, Interval)
    assert ratio.value == pytest.approx(0.5, abs=0.01)
    assert ratio.low < 0.5 < ratio.high
    power = energy_ratio(result, base.lines[0].name, base.lines[4].name, "power_mw")
    assert isinstance(power, Interval)
    assert power.value == pytest.approx(30 / 62, abs=0.01)
    # 240 mJ against 480, 360, 400 and 248.
    assert claim(result, "22 % less energy than ShuffleNetv2").verdict == "holds"
    assert claim(result, "32 % less energy than MobileNetv1").verdict == "holds"
    assert claim(result, "38 % less energy than ShuffleNetv1").verdict == "holds"
    assert claim(result, "51 % less energy than MobileNetv2").verdict == "does not hold"
    assert claim(result, "most power efficient").verdict == "holds"
    # 30 W against 40 is 25 % less.
    assert claim(result, "at least 43 % lower").verdict == "does not hold"
    assert claim(result, "least power at every batch").verdict == "holds"


def test_runtimes_share_what_none_measured_and_what_was_measured_comes_first() -> None:
    first, second = paper_result(), paper_result({"espnetv2_cls": 40.0}, runtime="openvino")
    latency = first.latency.model_copy(update={"lines": (*first.latency.lines, *second.latency.lines)})
    both = first.model_copy(update={"lines": (*first.lines, *second.lines), "latency": latency})
    claims = claims_of(both)
    speed = [claim for claim in claims if "about as fast" in claim.statement]
    assert [claim.verdict for claim in speed] == ["holds", "does not hold"]
    assert [claim.statement.rpartition(" (")[2] for claim in speed] == ["onnxruntime)", "openvino)"]
    assert sum("less energy than ShuffleNetv2" in claim.statement for claim in claims) == 1
    measured = [claim.verdict != "not measured" for claim in claims]
    assert measured == sorted(measured, reverse=True)


def test_claims_are_three_lines() -> None:
    claims = claims_of(paper_result())
    lines = claim_lines([next(claim for claim in claims if claim.verdict == "not measured")])
    assert len(lines) == 3
    assert lines[0].startswith("not measured  For the same work")
    assert lines[2].endswith("here: - (power was not measured: --measure latency,power)")


def test_intervals_hold_their_95_percent() -> None:
    """Windows whose energies scatter by 3 % around equal means: nineteen of twenty intervals contain 1."""
    import numpy as np

    random = np.random.default_rng(0)
    inside = 0
    names = ("cls onnxruntime, batch 1", "mobilenetv1 onnxruntime, batch 1")
    base = paper_result(mj=EQUAL_MJ, batches=(1,))
    for _ in range(400):
        loads = []
        for name in names:
            load = windows_of(name, 100.0, [10.0] * ROUNDS, 0, 0.0)
            windows = [{**w, "gross_mj": 100.0 * random.normal(1, 0.03)} for w in load.total.windows]
            figure = Figure(value=100.0, half_width=3.0, n=ROUNDS, dof=ROUNDS - 1.0)
            update = {"windows": tuple(windows), "gross_mj": figure}
            loads.append(load.model_copy(update={"total": load.total.model_copy(update=update)}))
        ratio = energy_ratio(base.model_copy(update={"power": power_of(*loads)}), *names)
        assert isinstance(ratio, Interval)
        inside += ratio.low <= 1 <= ratio.high
    # 380 expected, a standard deviation of 4.4.
    assert 366 <= inside <= 394
