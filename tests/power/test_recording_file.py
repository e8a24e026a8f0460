"""Results are written whole, read back equal, and a file that is not one of ours is refused in one line."""

import copy
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from espnet_edge.errors import InputError
from espnet_edge.power.analysis import analyse
from espnet_edge.power.campaign import Settings, measure
from espnet_edge.power.conditions import MachineConditions
from espnet_edge.power.recording import Recording
from espnet_edge.power.recording_file import read_recording, recording_json
from virtual_machine import MS, S, SensorModel, VirtualMachine, VirtualMeter, sampler_of


@pytest.fixture(scope="module")
def recording() -> Recording:
    machine = VirtualMachine(20e3)
    sampler = sampler_of(machine, VirtualMeter(machine, SensorModel(tick_ns=100 * MS)))
    settings = Settings(rounds=3, window_s=2.0)
    loads = {"a": machine.load((5 * MS, 80e3)), "b": machine.load((20 * MS, 30e3))}
    recorded = measure(loads, sampler, settings, sleep=machine.sleep, snapshot=MachineConditions)
    sampler.close()
    return recorded


@pytest.fixture(scope="module")
def values(recording: Recording) -> Any:
    return json.loads(json.dumps({"power": {"recording": recording_json(recording)}}, allow_nan=False))


def written(folder: Path, data: object) -> Path:
    path = folder / "result.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_what_was_written_gives_the_same_figures(recording: Recording, values: Any, tmp_path: Path) -> None:
    again = read_recording(written(tmp_path, values))
    assert analyse(again) == analyse(recording)
    assert again.stretches == recording.stretches
    assert again.plans == recording.plans


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no JSON"),
        ("no json", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[1, 2]", "has no recording of power"),
        ("{}", "has no recording of power"),
        ('{"power": 3}', "has no recording of power"),
        ('{"power": {"unavailable": "no meter here"}}', "has no recording of power: no meter here"),
        ('{"power": {"recording": []}}', "power.recording"),
        ('{"power": {"schema_version": 99, "recording": []}}', "schema version 99, this program reads 1"),
        ('{"power": {"recording": {}}}', "power.recording.meter"),
    ],
)
def test_what_is_no_result(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        read_recording(written(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="check the path"):
        read_recording(tmp_path / "none.json")
    with pytest.raises(InputError, match="check the path"):
        read_recording(tmp_path)
    with pytest.raises(InputError, match="check the path"):
        read_recording(Path("/dev/zero"))
    (tmp_path / "binary.json").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="is no JSON"):
        read_recording(tmp_path / "binary.json")
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(InputError, match="check the path"):
        read_recording(tmp_path / "pipe.json")
    monkeypatch.setattr("espnet_edge.power.recording_file.MAX_FILE_BYTES", 100)
    with pytest.raises(InputError, match="at most 100 are read"):
        read_recording(tmp_path / "binary.json")


def changed(values: Any, where: str, value: object) -> Any:
    """A copy with another value at a path of keys and indices."""
    result = copy.deepcopy(values)
    *path, last = (int(part) if part.lstrip("-").isdigit() else part for part in where.split("."))
    entry = result["power"]["recording"]
    for part in path:
        entry = entry[part]
    entry[last] = value
    return result


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        ("readings.time_ns.5", 0, "the instants of the readings do not increase"),
        ("readings.time_ns.5", "soon", r"power\.recording\.readings\.time_ns\.5"),
        ("readings.columns", {"power": []}, "the meter has"),
        ("readings.columns.power", [1.0], "are 1, at"),
        ("readings.columns.power.3", float("nan"), "NaN is no number"),
        ("readings.columns.power.3", float("inf"), "Infinity is no number"),
        ("readings.columns.power.3", 1e300, "readings of power have a value beyond"),
        ("meter.power_total", ["VDD_IN"], "the total names the channel VDD_IN"),
        ("meter.power_total", ["energy"], "the total names the channel energy"),
        ("plans", {}, "it measured nothing"),
        ("stretches.3.name", "c", "stretch 3 is of 'c'"),
        ("stretches.3.start_ns", 10**18, "stretch 3 do not increase"),
        ("stretches.3.marks.0.inferences", 10**9, "stretch 3 do not increase"),
        ("stretches.3.window_end_ns", 10**18, "stretch 3"),
        ("plans.a.sample_period_ns", 0, "plan of a"),
        ("plans.a.rounds", -1, "plan of a"),
        ("sensor.update_period_ns", -5, "sensor"),
        ("cost.wall_ns", "long", r"cost\.wall_ns"),
        ("cost.wall_ns", 10**300, "a whole number has 301 digits"),
        ("sensor.gain_error", -0.1, "its sensor has errors of"),
        ("stretches.3.marks.-1.inferences", 2**62, "stretch 3 do not increase"),
        ("stretches.0.pauses", [{"start_ns": 0, "end_ns": 1}], "the pauses of stretch 0 overlap, or reach outside"),
    ],
)
def test_what_contradicts_itself(values: Any, where: str, value: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_recording(written(tmp_path, changed(values, where, value)))
    assert "\n" not in str(caught.value)


def test_a_number_beyond_floats_is_none(values: Any, tmp_path: Path) -> None:
    """Also where it is no part of the recording: the whole file is written again."""
    text = json.dumps({**values, "latency": "here"}).replace('"here"', "1e400")
    with pytest.raises(InputError, match="1e400 is too large"):
        read_recording(written(tmp_path, text))


def test_loads_that_never_ran_or_only_paused(values: Any, tmp_path: Path) -> None:
    stretches = values["power"]["recording"]["stretches"]
    others = [stretch for stretch in stretches if (stretch["kind"], stretch["name"]) != ("load", "b")]
    with pytest.raises(InputError, match="it has a plan of b, and no stretch in which that ran"):
        read_recording(written(tmp_path, changed(values, "stretches", others)))
    number = next(i for i, stretch in enumerate(stretches) if stretch["kind"] == "load")
    start_ns, end_ns = (stretches[number][f"window_{side}_ns"] for side in ("start", "end"))
    for pauses, words in (
        ([{"start_ns": start_ns, "end_ns": end_ns}], "nothing but pauses in its window"),
        ([{"start_ns": start_ns, "end_ns": start_ns + 2}, {"start_ns": start_ns, "end_ns": start_ns + 1}], "overlap"),
    ):
        with pytest.raises(InputError, match=words):
            read_recording(written(tmp_path, changed(values, f"stretches.{number}.pauses", pauses)))


def places_in(value: Any, path: str = "") -> list[str]:
    """Paths of all single values, of long lists only a few."""
    if isinstance(value, dict):
        return [place for key, entry in value.items() for place in places_in(entry, f"{path}.{key}")]
    if isinstance(value, list):
        few = range(0, len(value), max(1, len(value) // 5))
        return [place for i in few for place in places_in(value[i], f"{path}.{i}")]
    return [path.lstrip(".")]


def test_changed_numbers_are_refused_or_give_figures_but_nothing_else(values: Any, tmp_path: Path) -> None:
    """No change of a single value lets the analysis fail in any other way."""
    picked, places = np.random.default_rng(3), places_in(values["power"]["recording"])
    strange = (0, -1, 1, 2**62, 10**299, 1e300, 0.5, None, "x", True, [], {})
    for _ in range(150):
        data = changed(values, places[picked.integers(len(places))], strange[picked.integers(len(strange))])
        try:
            analyse(read_recording(written(tmp_path, data)))
        except InputError:
            continue


def test_a_recording_of_nothing_but_silence_is_unknown(recording: Recording) -> None:
    silent = replace(recording, readings=replace(recording.readings, time_ns=(), columns={"power": (), "energy": ()}))
    report = analyse(silent)
    assert all(hasattr(load.total.gross_mj, "reason") for load in report.loads)
    assert report.loads[0].inference_ms == pytest.approx(5, abs=0.01)
    assert recording.readings.time_ns[-1] - recording.readings.time_ns[0] > 60 * S
