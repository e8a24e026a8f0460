"""The paper's figures as numbers, and the filter that they went through."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from espnet_edge.power.energy import energy_j
from espnet_edge.power.trace import PowerTrace
from espnet_edge.runtime.paper.low_pass import low_passed, resampled, undone
from espnet_edge.runtime.paper.published import ESPNETV2, NETWORKS, OTHERS, accuracy_points, by_name, tx2_power

MS = 1_000_000
# Samples (counted from 1) between which the work itself runs, and its power, as read from the unfiltered figure.
PLATEAUS = {"shufflenetv1": (22, 45, 5.0), "shufflenetv2": (30, 43, 5.7), "mobilenetv1": (36, 51, 5.6)}
PLATEAUS |= {"mobilenetv2": (38, 63, 5.4), "espnetv2_cls": (31, 52, 2.5)}


def test_the_curves_have_the_areas_and_peaks_of_the_figure() -> None:
    expected = {"espnetv2_cls": (10.1, 2.86), "shufflenetv2": (12.9, 5.64), "mobilenetv1": (14.9, 5.67)}
    expected |= {"shufflenetv1": (16.1, 5.03), "mobilenetv2": (20.7, 5.46)}
    curves = tx2_power()
    assert list(curves) == [network.network for network in NETWORKS]
    for name, (area_j, peak_w) in expected.items():
        assert curves[name].energy_j == pytest.approx(area_j, abs=0.06)
        assert curves[name].peak_w == pytest.approx(peak_w, abs=0.006)
        assert len(curves[name].time_s) == len(curves[name].seen) == 84
    assert curves["espnetv2_cls"].time_s[-1] == 8.3


def test_the_authors_tables_agree_with_the_figure() -> None:
    from espnet_edge.model.published_figures import published_figures

    rows = {
        (row.network, row.width_mult): row
        for row in published_figures(tuple(by_name()))
        if row.dataset == "imagenet" and row.accuracy is not None
    }
    for network in NETWORKS:
        row = rows[network.network, network.width_mult]
        # Markers are read to 0.1, and printed figures rounded to it.
        assert network.top1 == pytest.approx(row.accuracy, abs=0.11)
        if network.flops_m is not None:
            assert network.flops_m == pytest.approx(row.macs_m, rel=0.001)
        assert accuracy_points()[network.position].curve == network.curve
    assert ESPNETV2.flops_m == 284.8


@pytest.mark.shared
def test_the_committed_numbers_are_the_digitised_ones(shared: Path) -> None:
    names = dict(
        zip(by_name(), ["ESPNetv2", "ShuffleNetv2", "MobileNetv1", "ShuffleNetv1", "MobileNetv2"], strict=True)
    )
    with (shared / "paper" / "paper_tx2_power.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for network, curve in tx2_power().items():
        assert curve.power_w == tuple(float(row[f"{names[network]}_W"]) for row in rows)
        assert curve.seen == tuple(row[f"{names[network]}_visible"] == "1" for row in rows)
        assert curve.time_s == pytest.approx([float(row["time_s"]) for row in rows])
    with (shared / "paper" / "paper_effcompare.csv").open(newline="") as file:
        points = {int(row["x_category"]): row for row in csv.DictReader(file)}
    assert points.keys() == accuracy_points().keys()
    for position, point in accuracy_points().items():
        assert point.curve == points[position]["network"].lower()
        columns = ("flops_M_axis_label", "top1_digitised", "flops_M_repo", "top1_repo")
        values = (point.flops_m, point.top1, point.readme_flops_m, point.readme_top1)
        assert values == tuple(float(cell) if (cell := points[position][name]) else None for name in columns)


@pytest.mark.parametrize("network", PLATEAUS)
def test_without_the_filter_the_figure_has_plateaus(network: str) -> None:
    first, last, power_w = PLATEAUS[network]
    raw = undone(tx2_power()[network].power_w)
    plateau = raw[first - 1 : last]
    assert plateau.mean() == pytest.approx(power_w, abs=0.12)
    # It is at rest two samples later, where the filtered curve still stands at half of its height.
    assert abs(raw[last + 2]) < 0.5
    assert tx2_power()[network].power_w[last + 2] > 0.3 * tx2_power()[network].peak_w


@pytest.mark.parametrize("network", [other.network for other in OTHERS])
def test_the_tail_of_every_curve_falls_by_the_same_factor(network: str) -> None:
    power_w = np.array(tx2_power()[network].power_w)
    last = PLATEAUS[network][1]
    tail = power_w[last + 2 : last + 8]
    assert (tail[1:] / tail[:-1]).mean() == pytest.approx(0.75, abs=0.03)


def test_the_filter_and_its_inverse() -> None:
    raw = np.array([0.0, 4.0, 4.0, 0.0, 1.0])
    assert low_passed(raw).tolist() == [0.0, 1.0, 1.75, 1.3125, 1.234375]
    assert undone(low_passed(raw)) == pytest.approx(raw)
    assert low_passed([3.0, 3.0]).tolist() == [3.0, 3.0]
    for values, kept, words in (([], 0.75, "one at least"), ([1.0], 1.0, "below 1")):
        with pytest.raises(ValueError, match=words):
            low_passed(values, kept)


def test_resampling_keeps_the_energy() -> None:
    times = np.cumsum(np.random.default_rng(0).integers(5 * MS, 45 * MS, 200))
    trace = PowerTrace(times, 1000 + 500 * np.sin(times / 3e8))
    start_ns = int(times[0]) + 7 * MS
    means = resampled(trace, start_ns, start_ns + 1_050 * MS)
    assert means.time_ns.tolist() == [start_ns + 100 * MS * i for i in range(1, 11)]
    assert means.power_mw.sum() * 1e-4 == pytest.approx(energy_j(trace, start_ns, start_ns + 1_000 * MS))
    with pytest.raises(ValueError, match="no period"):
        resampled(trace, start_ns, start_ns + 99 * MS)
    with pytest.raises(ValueError, match="outside"):
        resampled(trace, 0, 200 * MS)


def test_make_paper_exports_the_networks_that_are_compared() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    (widths,) = re.findall(r"^PAPER_WIDTHS := (.*)$", makefile, re.MULTILINE)
    assert widths.split() == [f"{network.model}={network.width_mult}" for network in NETWORKS]
