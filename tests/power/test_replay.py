"""Stored traces as meters: read at the pace at which they were recorded, or refused in one line."""

import json
from pathlib import Path

import pytest

from espnet_edge.errors import InputError
from espnet_edge.power.campaign import Settings, measure
from espnet_edge.power.conditions import MachineConditions
from espnet_edge.power.meter import MeterError
from espnet_edge.power.recording_file import recording_json
from espnet_edge.power.replay import ReplayMeter, open_replay
from virtual_machine import MS, S, SensorModel, VirtualMachine, VirtualMeter, sampler_of


class VirtualClock:
    def __init__(self) -> None:
        self.now_ns = 99 * S

    def __call__(self) -> int:
        return self.now_ns


def csv(folder: Path, text: str | bytes) -> Path:
    path = folder / "trace.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def opened(folder: Path, text: str, clock: VirtualClock | None = None) -> ReplayMeter:
    return open_replay(csv(folder, text), clock=clock or VirtualClock())


def test_rows_come_when_their_time_has_come(tmp_path: Path) -> None:
    clock = VirtualClock()
    meter = opened(tmp_path, "time_s,VDD_IN_w,VDD_SOC_w\n1000,5,1\n1000.1,6.5,\n1000.2,7,2\n1000.3,8,2\n", clock)
    first = meter.read()
    assert first is not None
    assert (first.time_ns, first.values) == (99 * S, (5000.0, 1000.0))
    assert meter.read() is None
    clock.now_ns += 100 * MS
    second = meter.read()
    assert second is not None
    assert (second.time_ns, second.values) == (99 * S + 100 * MS, (6500.0, None))
    # The newest counts: nobody asked in time for the one before.
    clock.now_ns += 200 * MS
    last = meter.read()
    assert last is not None
    assert (last.time_ns, last.values) == (99 * S + 300 * MS, (8000.0, 2000.0))
    with pytest.raises(MeterError, match=r"came to its end after 0\.3 s"):
        meter.read()
    meter.close()


def test_the_total_is_the_boards_or_the_only_column(tmp_path: Path) -> None:
    meter = opened(tmp_path, "time_ms,VDD_IN_mw,VDD_CPU_GPU_CV_mw,VDD_SOC_mw\n0,5000,1,1\n100,5000,1,1\n")
    assert meter.info.power_total == ("VDD_IN",)
    assert "module" in meter.info.scope
    assert opened(tmp_path, "time_ns,gpu_w\n0,5\n7,5\n").info.power_total == ("gpu",)
    meter = opened(tmp_path, "time_us,package_uj\n0,5\n7,5\n")
    assert (meter.info.power_total, meter.info.energy_total) == ((), ("package",))
    meter = opened(tmp_path, "time_s,left_w,right_w\n0,5,1\n7,5,1\n")
    assert (meter.info.power_total, meter.info.energy_total) == ((), ())
    assert "no board in the table has the rails" in str(meter.info.no_total_reason)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it needs a header with time_s"),
        ("time_s,a_w\n", "it needs a header"),
        ("1,2\n3,4\n", "it needs a header"),
        ("seconds,a_w\n0,1\n", "it needs a header"),
        ("time_s,a_w,a_w\n0,1,2\n", "each name once"),
        ("time_s,a_volt\n0,1\n", "the column 'a_volt' names no unit"),
        ("time_s,_w\n0,1\n", "names no unit"),
        ("time_s,a_w\n0,1,2\n", "line 2: 3 cells, the header has 2"),
        ("time_s,a_w\n0,one\n", "line 2: .*'one'"),
        ("time_s,a_w\n0,nan\n", "line 2: a cell is not finite"),
        ("time_s,a_w\n0,1e999\n", "line 2: a cell is not finite"),
        ("time_s,a_w\n1,1\n1,1\n", "times in time_s do not increase"),
        ("time_s,a_w\n2,1\n1,1\n", "do not increase"),
        ("time_s,a_w\n,1\n1,1\n", "missing in a row"),
        ("time_s,a_w\n\n\n", "it needs a header"),
        ("time_s,a_w\n0,1\n1e300,2\n", "an instant at inf ns"),
        ("time_s,a_w\n0,1\n1e15,2\n", r"an instant at 1e\+24 ns"),
        ("time_s,a_w\n0,1\n1,1e308\n", "a of inf mw is not between"),
        ("time_s,a_uj\n0,1\n1,-2\n", "a of -2 uj is not between 0 and"),
        # They would be read as each other.
        ("time_s,total_w,total_uj\n0,1,5\n1,2,6\n", "two columns are of total"),
        ("time_s,total_w,total_mw\n0,1,1000\n1,2,2000\n", "two columns are of total"),
        ("time_s,a_w\n\n0,one\n", "line 3: .*'one'"),
        (b"\xff\xfe\x00\x01", "is no CSV file"),
    ],
)
def test_what_is_no_trace(text: str | bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words) as caught:
        open_replay(csv(tmp_path, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["time_s," + "x" * 100_000 + "\n0,1\n", "time_s,a_w\n0," + "x" * 100_000 + "\n"])
def test_messages_repeat_a_few_characters_of_a_file(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_replay(csv(tmp_path, text))
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_files_of_other_programs(tmp_path: Path) -> None:
    """A mark of the byte order, line ends of Windows, empty lines at the end."""
    meter = open_replay(csv(tmp_path, b"\xef\xbb\xbftime_s, total_w\r\n0, 5\r\n1, 6\r\n\r\n"))
    assert meter.info.power_total == ("total",)
    assert meter.info.device == "trace.csv"


def test_files_that_are_not_there_or_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="check the path"):
        open_replay(tmp_path / "none.csv")
    with pytest.raises(InputError, match="check the path"):
        open_replay(tmp_path)
    with pytest.raises(InputError, match="check the path"):
        open_replay(Path("/dev/zero"))
    monkeypatch.setattr("espnet_edge.power.recording_file.MAX_FILE_BYTES", 10)
    with pytest.raises(InputError, match="at most 10 are read"):
        open_replay(csv(tmp_path, "time_s,a_w\n0,1\n1,1\n"))


def test_a_result_is_replayed_with_its_conditions_and_facts(tmp_path: Path) -> None:
    machine = VirtualMachine(20e3)
    sampler = sampler_of(machine, VirtualMeter(machine, SensorModel(tick_ns=100 * MS)))
    load, settings = machine.load((5 * MS, 80e3)), Settings(rounds=3, window_s=1.0)
    recording = measure({"a": load}, sampler, settings, sleep=machine.sleep, snapshot=MachineConditions)
    sampler.close()
    path = tmp_path / "result.json"
    path.write_text(json.dumps({"power": {"recording": recording_json(recording)}}))
    clock = VirtualClock()
    meter = open_replay(path, clock=clock)
    assert (meter.info.source, meter.info.channels) == ("replay", recording.meter.channels)
    assert meter.info.energy_total == ("energy",)
    assert "result.json" in meter.info.device
    reading = meter.read()
    assert reading is not None
    assert reading.values == tuple(column[0] for column in recording.readings.columns.values())
    clock.now_ns += 30 * S
    assert meter.read_conditions() == (50.0,)
