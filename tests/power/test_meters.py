"""Choosing a meter: by a plausible reading of what computes."""

import stat
from pathlib import Path

import pytest

from espnet_edge.errors import InputError, UnavailableError
from espnet_edge.power.meters import NoPowerError, Places, Probe, open_meter, probe_meters
from fake_tegrastats import ORIN_NANO
from sysfs_trees import jetson_tree


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """An empty machine."""
    (tmp_path / "bin").mkdir()
    return Places(tmp_path, {"PATH": str(tmp_path / "bin")})


def tegrastats(places: Places, line: str) -> None:
    program = places.root / "bin" / "tegrastats"
    program.write_text(f"#!/bin/sh\nwhile :; do echo '{line}'; /bin/sleep 0.05; done\n")
    program.chmod(stat.S_IRWXU)


@pytest.mark.parametrize(
    ("computes_on", "asked"),
    [
        (["gpu"], ["ina3221", "tegrastats", "nvml"]),
        (["cpu"], ["ina3221", "tegrastats", "rapl"]),
        # Off a board no meter sees both.
        (["cpu", "gpu"], ["ina3221", "tegrastats"]),
    ],
)
def test_auto_asks_what_sees_all_that_computes(places: Places, computes_on: list[str], asked: list[str]) -> None:
    with pytest.raises(NoPowerError) as caught:
        open_meter(computes_on=computes_on, places=places)
    assert isinstance(caught.value, UnavailableError)
    assert [probe.source for probe in caught.value.probes] == asked
    for probe in caught.value.probes:
        assert f"{probe.source}: {probe.answer} ({probe.way_out})" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_boards_own_rails_come_first(places: Places) -> None:
    jetson_tree(places.root, "AGX Orin")
    tegrastats(places, ORIN_NANO)
    for computes_on in (["gpu"], ["cpu"], ["cpu", "gpu"]):
        meter = open_meter(computes_on=computes_on, places=places)
        assert meter.info.source == "ina3221"
        assert meter.info.power_total == ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")
        meter.close()


def test_tegrastats_where_the_chips_cannot_be_read_and_told_which_board_it_is(places: Places) -> None:
    tegrastats(places, ORIN_NANO)
    meter = open_meter(places=places)
    assert (meter.info.source, meter.info.power_total) == ("tegrastats", ("VDD_IN",))
    meter.close()
    model = places.root / "proc/device-tree/model"
    model.parent.mkdir(parents=True)
    model.write_text("NVIDIA Jetson AGX Orin Developer Kit\0")
    meter = open_meter("tegrastats", places=places)
    assert meter.info.power_total == ()
    assert "is no rail of the Jetson AGX Orin" in str(meter.info.no_total_reason)
    meter.close()


def test_what_is_named_is_asked_alone(places: Places) -> None:
    tegrastats(places, ORIN_NANO)
    with pytest.raises(NoPowerError) as caught:
        open_meter("rapl", places=places)
    assert [probe.source for probe in caught.value.probes] == ["rapl"]
    assert str(caught.value).startswith("--power-source rapl: ")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("wattmeter", "'wattmeter' is unknown; there are auto|nvml"),
        ("", "'' is unknown"),
        ("rapl:0", "'rapl:0' is unknown"),
        ("auto:nvml", "'auto:nvml' is unknown"),
        ("nvml:", "name a GPU's UUID"),
        ("replay:", "name a file"),
        ("replay", "name a file"),
        ("replay:none.json", "none.json"),
    ],
)
def test_wrong_names(spec: str, words: str, places: Places) -> None:
    with pytest.raises(InputError, match=words):
        open_meter(spec, places=places)


def test_a_trace_is_opened_by_its_path_with_colons(places: Places) -> None:
    path = places.root / "a:b.csv"
    path.write_text("time_s,total_w\n0,5\n60,5\n")
    assert open_meter(f"replay:{path}", places=places).info.source == "replay"


def test_a_trace_that_is_too_short_is_refused_before_anything_is_measured(places: Places) -> None:
    path = places.root / "short.csv"
    path.write_text("time_s,total_w\n0,5\n59.9,5\n")
    with pytest.raises(InputError, match=r"short\.csv is a trace of 59\.9 s: idle .* takes 60 s; replay a longer one"):
        open_meter(f"replay:{path}", places=places)


@pytest.mark.parametrize(
    ("computes_on", "told"),
    [
        (
            ["cpu"],
            ["NVML was not asked: it sees the GPU alone, and the processor computes (--power-source nvml asks it)"],
        ),
        (
            ["gpu"],
            ["RAPL was not asked: it sees the processor alone, and the GPU computes (--power-source rapl asks it)"],
        ),
        (
            ["cpu", "gpu"],
            [
                "NVML was not asked: it sees the GPU alone, and the GPU and the processor compute",
                "RAPL was not asked: it sees the processor alone, and the GPU and the processor compute",
            ],
        ),
    ],
)
def test_what_auto_does_not_ask_is_told_with_the_reason(
    places: Places, computes_on: list[str], told: list[str]
) -> None:
    with pytest.raises(NoPowerError) as caught:
        open_meter(computes_on=computes_on, places=places)
    assert str(caught.value).count("was not asked") == len(told)
    for text in told:
        assert text in str(caught.value)
    with pytest.raises(NoPowerError) as named:
        open_meter("rapl", computes_on=computes_on, places=places)
    assert "was not asked" not in str(named.value)


def test_each_kind_is_probed_once(places: Places) -> None:
    found = dict(probe_meters(places))
    assert list(found) == ["nvml", "ina3221", "tegrastats", "rapl"]
    assert all(isinstance(probe, Probe) and probe.answer and probe.way_out for probe in found.values())
