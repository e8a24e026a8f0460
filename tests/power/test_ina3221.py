"""The power sensors of Jetson boards, on synthetic sysfs trees of every generation."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from espnet_edge.power.energy import energy_j, mean_power_mw
from espnet_edge.power.ina3221 import Ina3221Meter, open_ina3221
from espnet_edge.power.meter import Meter, MeterError, NoMeterError
from espnet_edge.power.trace import PowerTrace
from sysfs_trees import BOARDS, Rail, Tree, VirtualClock, as_nobody, jetson_tree


def opened(tree: Tree, clock: VirtualClock | None = None) -> Ina3221Meter:
    return open_ina3221(tree.root, clock=clock or VirtualClock())


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def readings(meter: Meter) -> dict[str, int | None]:
    reading = meter.read()
    assert reading is not None
    return dict(zip((channel.name for channel in meter.info.channels), reading.values, strict=True))


def refused(tree: Tree) -> NoMeterError:
    with pytest.raises(NoMeterError) as caught:
        opened(tree)
    return caught.value


@pytest.mark.parametrize("name", BOARDS)
def test_the_total_of_every_board(tmp_path: Path, name: str) -> None:
    board = BOARDS[name]
    meter = opened(jetson_tree(tmp_path, name))
    powers_mw = readings(meter)
    assert meter.info.power_total == board.total
    assert sum(powers_mw[rail] or 0 for rail in meter.info.power_total) == board.total_mw
    assert (meter.info.source, meter.info.sees, meter.info.no_total_reason) == ("ina3221", "machine", None)
    assert meter.info.device.startswith(board.model)
    assert "carrier" in meter.info.scope
    meter.close()


@pytest.mark.parametrize("name", BOARDS)
def test_every_rail_of_every_board(tmp_path: Path, name: str) -> None:
    board = BOARDS[name]
    hwmon = [rail for rails in (board.hwmon or {}).values() for rail in rails if rail.label != "NC"]
    expected = {str(rail.label): rail.voltage_mv * rail.current_ma // 1000 for rail in hwmon}
    expected |= {label: power_mw for rails in (board.iio or {}).values() for label, power_mw in rails}
    if board.ina238_uw is not None:
        expected["VIN"] = board.ina238_uw // 1000
    meter = opened(jetson_tree(tmp_path, name))
    # Neither in4 to in7 and curr4, which are sums and shunt voltages, nor the two that are not connected.
    assert readings(meter) == expected
    assert all(channel.quantity == "power_mw" for channel in meter.info.channels)
    meter.close()


def test_hwmon_numbers_do_not_matter(tmp_path: Path) -> None:
    names = []
    for number in (0, 9):
        meter = opened(jetson_tree(tmp_path / str(number), "AGX Orin", first_hwmon=number))
        names.append([channel.name for channel in meter.info.channels])
        meter.close()
    assert names[0] == names[1] == ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"]


def test_a_board_without_links_of_drivers_is_found_by_its_class(tmp_path: Path) -> None:
    tree = jetson_tree(tmp_path, "Thor")
    for name in ("ina3221", "ina238"):
        for link in (tree.root / "sys/bus/i2c/drivers" / name).iterdir():
            link.unlink()
    meter = opened(tree)
    assert readings(meter) == {"VDD_GPU": 4560, "VDD_CPU_SOC_MSS": 4560, "VIN_SYS_5V0": 5000, "VIN": 21250}
    meter.close()


def test_the_ina238_of_thor_is_vin_without_a_label_too(tmp_path: Path) -> None:
    tree = jetson_tree(tmp_path, "Thor")
    (tree.chip("2-0044") / "in1_label").unlink()
    meter = opened(tree)
    assert meter.info.power_total == ("VIN",)
    meter.close()


def test_an_ina238_elsewhere_is_no_vin(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.model("Some other board")
    tree.ina238(5_000_400)
    meter = opened(tree)
    assert readings(meter) == {"(2-0044 channel 1)": 5000}
    assert meter.info.power_total == ()
    meter.close()


def test_thor_without_vin_has_no_total(tmp_path: Path) -> None:
    tree = jetson_tree(tmp_path, "Thor")
    tree.damage(tree.chip("2-0044") / "power1_input")
    meter = opened(tree)
    assert meter.info.power_total == ()
    assert "VIN" in str(meter.info.no_total_reason)
    assert "Input/output error" in str(meter.info.no_total_reason)
    assert list(readings(meter)) == ["VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"]
    meter.close()


def test_an_unknown_board_is_measured_rail_by_rail(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.model("Carrier of a start-up")
    tree.ina3221("1-0040", [Rail("VDD_IN", 5000, 800), Rail("VDD_LAMP", 5000, 80)])
    meter = opened(tree)
    assert meter.info.power_total == meter.info.energy_total == ()
    assert "Carrier of a start-up" in str(meter.info.no_total_reason)
    assert readings(meter) == {"VDD_IN": 4000, "VDD_LAMP": 400}
    meter.close()


def test_a_board_without_a_model_is_known_by_its_rails(tmp_path: Path) -> None:
    tree = jetson_tree(tmp_path, "AGX Orin")
    (tree.root / "proc/device-tree/model").unlink()
    meter = opened(tree)
    assert meter.info.power_total == BOARDS["AGX Orin"].total
    assert meter.info.device.startswith("unknown board")
    meter.close()


@pytest.mark.parametrize("name", ["in2_input", "curr2_input"])
def test_a_channel_that_fails_is_missing_and_not_zero(tmp_path: Path, name: str) -> None:
    tree = jetson_tree(tmp_path, "Orin Nano")
    tree.damage(tree.chip("1-0040") / name)
    meter = opened(tree)
    assert readings(meter) == {"VDD_IN": 4760, "VDD_SOC": 1440}
    assert meter.info.facts["not_read"] == "VDD_CPU_GPU_CV (1-0040 channel 2): Input/output error"
    assert meter.info.power_total == ("VDD_IN",)
    meter.close()


def test_a_sum_without_one_of_its_rails_is_no_total(tmp_path: Path) -> None:
    tree = jetson_tree(tmp_path, "AGX Xavier")
    tree.damage(tree.chip("1-0041") / "curr2_input")
    meter = opened(tree)
    assert meter.info.power_total == ()
    assert "VDDRQ" in str(meter.info.no_total_reason)
    assert "VDDRQ" not in readings(meter)
    meter.close()


def test_a_channel_that_is_switched_off_is_no_rail(tmp_path: Path) -> None:
    tree = jetson_tree(tmp_path, "Orin Nano")
    (tree.chip("1-0040") / "in3_enable").write_text("0\n")
    meter = opened(tree)
    assert list(readings(meter)) == ["VDD_IN", "VDD_CPU_GPU_CV"]
    assert meter.info.facts["not_read"] is None
    meter.close()


def test_a_rail_that_fails_later_is_none(tmp_path: Path) -> None:
    tree = jetson_tree(tmp_path, "Orin Nano")
    meter = opened(tree)
    current = tree.chip("1-0040") / "curr1_input"
    current.write_text("garbage\n")
    assert readings(meter)["VDD_IN"] is None
    current.write_text("1000\n")
    assert readings(meter)["VDD_IN"] == 5000
    meter.close()


def test_zero_is_a_reading(tmp_path: Path) -> None:
    tree = jetson_tree(tmp_path, "Orin Nano")
    (tree.chip("1-0040") / "curr2_input").write_text("0\n")
    meter = opened(tree)
    assert readings(meter)["VDD_CPU_GPU_CV"] == 0
    meter.close()


def test_a_current_below_zero_stays_what_it_is(tmp_path: Path) -> None:
    tree = jetson_tree(tmp_path, "Orin Nano")
    (tree.chip("1-0040") / "curr2_input").write_text("-8\n")
    meter = opened(tree)
    assert readings(meter)["VDD_CPU_GPU_CV"] == -40
    meter.close()


def test_power_is_rounded_to_the_nearest(tmp_path: Path) -> None:
    tree = jetson_tree(tmp_path, "Orin Nano")
    chip = tree.chip("1-0040")
    (chip / "in1_input").write_text("4984\n")
    (chip / "in2_input").write_text("4992\n")
    meter = opened(tree)
    # 4984 x 952 = 4744768 uW; 4992 x 104 = 519168 uW.
    assert readings(meter) == {"VDD_IN": 4745, "VDD_CPU_GPU_CV": 519, "VDD_SOC": 1440}
    meter.close()


def test_rails_of_one_name_are_told_apart_by_their_place(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.ina3221("1-0040", [Rail("VDD_X", 5000, 8), Rail(None, 5000, 16)])
    tree.ina3221("1-0041", [Rail("VDD_X", 5000, 24)])
    meter = opened(tree)
    assert readings(meter) == {
        "VDD_X (1-0040 channel 1)": 40,
        "(1-0040 channel 2)": 80,
        "VDD_X (1-0041 channel 1)": 120,
    }
    assert meter.info.power_total == ()
    meter.close()


def test_a_total_that_is_there_twice_is_no_total(tmp_path: Path) -> None:
    tree = jetson_tree(tmp_path, "Orin Nano")
    tree.ina3221("1-0041", [Rail("VDD_IN", 5000, 8)])
    meter = opened(tree)
    assert meter.info.power_total == ()
    assert "twice" in str(meter.info.no_total_reason)
    meter.close()


def test_a_label_that_is_missing_hides_no_total(tmp_path: Path) -> None:
    tree = jetson_tree(tmp_path, "Orin Nano")
    (tree.chip("1-0040") / "in3_label").unlink()
    meter = opened(tree)
    assert readings(meter) == {"VDD_IN": 4760, "VDD_CPU_GPU_CV": 520, "(1-0040 channel 3)": 1440}
    assert meter.info.power_total == ("VDD_IN",)
    meter.close()


def test_a_label_cannot_trouble_a_terminal(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.ina3221("1-0040", [Rail("\x1b[2J" + "x" * 3000, 5000, 8)])
    meter = opened(tree)
    name = meter.info.channels[0].name
    assert name.isprintable()
    assert len(name) <= 40
    meter.close()


@pytest.mark.parametrize("content", ["", "1.5", "0x10", "9" * 19, "5 000", "\x00", "9" * 5000, "ma 100", "é"])
def test_what_is_no_number_is_no_reading(tmp_path: Path, content: str) -> None:
    tree = jetson_tree(tmp_path, "Orin Nano")
    (tree.chip("1-0040") / "curr2_input").write_text(content)
    meter = opened(tree)
    assert list(readings(meter)) == ["VDD_IN", "VDD_SOC"]
    assert "VDD_CPU_GPU_CV" in str(meter.info.facts["not_read"])
    meter.close()


def test_a_file_without_end_is_read_no_further_than_a_page(tmp_path: Path) -> None:
    tree = jetson_tree(tmp_path, "Orin Nano")
    path = tree.chip("1-0040") / "curr2_input"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: a terabyte of zeros
    meter = opened(tree)
    assert "longer than 4096 bytes" in str(meter.info.facts["not_read"])
    meter.close()


def test_a_pipe_stops_nobody(tmp_path: Path) -> None:
    tree = jetson_tree(tmp_path, "Orin Nano")
    path = tree.chip("1-0040") / "curr2_input"
    path.unlink()
    os.mkfifo(path)
    meter = opened(tree)
    assert list(readings(meter)) == ["VDD_IN", "VDD_SOC"]
    meter.close()


def test_more_than_any_board_draws_is_no_reading(tmp_path: Path) -> None:
    tree = jetson_tree(tmp_path, "Orin Nano")
    (tree.chip("1-0040") / "curr1_input").write_text("200008\n")  # 1000.04 W
    meter = opened(tree)
    assert "more than any Jetson draws" in str(meter.info.facts["not_read"])
    assert meter.info.power_total == ()
    (tree.chip("1-0040") / "curr2_input").write_text("-99999999\n")
    assert readings(meter)["VDD_CPU_GPU_CV"] is None
    meter.close()


def test_no_chip(tmp_path: Path) -> None:
    error = refused(Tree(tmp_path))
    assert str(tmp_path / "sys/bus/i2c/drivers") in error.answer
    assert error.way_out


def test_other_chips_are_no_sensors(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    folder = tree.hwmon("nct6775")
    (folder / "in1_input").write_text("1000\n")
    (folder / "curr1_input").write_text("1000\n")
    # What USB-C negotiated is no measurement.
    tree.put("sys/class/power_supply/ucsi-source-psy-1-0008/voltage_now", 5_000_000)
    tree.put("sys/class/power_supply/ucsi-source-psy-1-0008/current_now", 3_000_000)
    assert "no INA3221" in refused(tree).answer


def test_all_rails_fail(tmp_path: Path) -> None:
    tree = jetson_tree(tmp_path, "Orin Nano")
    for channel in (1, 2, 3):
        tree.damage(tree.chip("1-0040") / f"curr{channel}_input")
    error = refused(tree)
    assert "VDD_IN (1-0040 channel 1): Input/output error" in error.answer
    assert "dmesg" in error.way_out


def test_all_channels_are_off(tmp_path: Path) -> None:
    tree = jetson_tree(tmp_path, "Orin Nano")
    for channel in (1, 2, 3):
        (tree.chip("1-0040") / f"in{channel}_enable").write_text("0\n")
    assert "switched off" in refused(tree).answer


@pytest.mark.parametrize("current", ["0", "-8"])
def test_all_rails_at_zero_are_no_sensor(tmp_path: Path, current: str) -> None:
    tree = jetson_tree(tmp_path, "Orin Nano")
    for channel in (1, 2, 3):
        (tree.chip("1-0040") / f"curr{channel}_input").write_text(f"{current}\n")
    assert "3 rails" in refused(tree).answer


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that other users may enter; pytest's are closed to them."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_rails_that_only_root_may_read(public_folder: Path) -> None:
    tree = jetson_tree(public_folder, "AGX Orin")
    for path in public_folder.glob("sys/devices/platform/bus/*/hwmon/*/*_input"):
        path.chmod(0)
    with as_nobody():
        error = refused(tree)
    assert "Permission denied" in error.answer
    assert "VDD_GPU_SOC (1-0040 channel 1)" in error.answer
    assert "root" in error.way_out
    assert "chmod a+r" in error.way_out


def test_one_rail_that_only_root_may_read(public_folder: Path) -> None:
    tree = jetson_tree(public_folder, "Orin Nano")
    (tree.chip("1-0040") / "curr1_input").chmod(0)
    with as_nobody():
        meter = opened(tree)
    assert meter.info.power_total == ()
    assert "VDD_IN (1-0040 channel 1): Permission denied" in str(meter.info.no_total_reason)
    meter.close()


def test_nothing_can_be_read_any_more(tmp_path: Path) -> None:
    tree = jetson_tree(tmp_path, "Nano")
    meter = opened(tree)
    for channel in (0, 1, 2):
        (tree.chip("6-0040") / f"in_power{channel}_input").write_text("\n")
    with pytest.raises(MeterError, match=r"Jetson Nano.*no rail can be read"):
        meter.read()
    meter.close()


def test_a_file_that_failed_is_opened_again(tmp_path: Path) -> None:
    tree = jetson_tree(tmp_path, "Nano")
    zone = tree.zone(0, "thermal-fan-est", 0)
    tree.damage(zone)
    meter = opened(tree)
    assert meter.read_conditions() == (None,)
    zone.unlink()  # as when its driver is loaded anew
    zone.write_text("40500\n")
    assert meter.read_conditions() == (40.5,)
    meter.close()


def test_closing_gives_all_files_back(tmp_path: Path) -> None:
    tree = jetson_tree(tmp_path, "AGX Orin")
    tree.zone(0, "tj-thermal", 50_000)
    before = open_files()
    meter = opened(tree)
    meter.read()
    meter.read_conditions()
    assert open_files() > before
    meter.close()
    meter.close()
    assert open_files() == before


def test_refusing_gives_all_files_back(tmp_path: Path) -> None:
    tree = jetson_tree(tmp_path, "Orin Nano")
    for channel in (1, 2, 3):
        (tree.chip("1-0040") / f"curr{channel}_input").write_text("0\n")
    before = open_files()
    refused(tree)
    assert open_files() == before


def test_the_instant_is_the_middle_of_the_reading(tmp_path: Path) -> None:
    clock = VirtualClock(step_ns=40)
    meter = opened(jetson_tree(tmp_path, "Orin Nano"), clock)
    start_ns = clock.now_ns
    reading = meter.read()
    assert reading.time_ns == start_ns + 60  # looked at after 40 and 80
    meter.close()


def test_energy_of_a_load_that_steps(tmp_path: Path) -> None:
    tree = jetson_tree(tmp_path, "AGX Orin")
    current = tree.chip("1-0040") / "curr1_input"
    # 180 mA before, 1180 mA after: 19 W more from 0.5 s on.
    clock = VirtualClock(500, lambda now_ns: _write(current, 180 if now_ns < 500_000_000 else 1180))
    meter = opened(tree, clock)
    time_ns, total_mw = [], []
    for tick in range(101):
        clock.now_ns = tick * 10_000_000
        reading = meter.read()
        powers = dict(zip((channel.name for channel in meter.info.channels), reading.values, strict=True))
        time_ns.append(reading.time_ns)
        total_mw.append(sum(powers[rail] or 0 for rail in meter.info.power_total))
    trace = PowerTrace(np.array(time_ns), np.array(total_mw))
    assert mean_power_mw(trace, 100_000_000, 400_000_000) == pytest.approx(9160)
    assert mean_power_mw(trace, 600_000_000, 900_000_000) == pytest.approx(28160)
    # Over the step the trapezoid rule gives the half of one interval's difference: 9.5 W x 10 ms.
    assert energy_j(trace, 100_000_000, 900_000_000) == pytest.approx(0.4 * 9.16 + 0.4 * 28.16 + 0.095, abs=1e-3)
    meter.close()


def _write(path: Path, value: int) -> None:
    path.write_text(f"{value}\n")


def test_the_step_follows_from_shunt_and_voltage(tmp_path: Path) -> None:
    meter = opened(jetson_tree(tmp_path, "AGX Orin"))
    steps = {channel.name: channel.sensor.step_mw for channel in meter.info.channels}
    # 40 uV over 2 mOhm are 20 mA, at 19 V and at 5 V.
    assert steps == {"VDD_GPU_SOC": 380.0, "VDD_CPU_CV": 380.0, "VIN_SYS_5V0": 100.0, "VDDQ_VDD2_1V8AO": 100.0}
    # The chip's offset is two steps, its gain that of the class.
    assert [channel.sensor.offset_mw for channel in meter.info.channels] == [2 * step for step in steps.values()]
    assert {channel.sensor.gain_error for channel in meter.info.channels} == {0.015}
    assert meter.info.facts["1-0040 channel 1 shunt_uohm"] == 2000
    meter.close()


def test_without_shunt_the_step_is_that_of_recorded_lines(tmp_path: Path) -> None:
    meter = opened(jetson_tree(tmp_path, "TX2"))
    steps = {channel.name: channel.sensor.step_mw for channel in meter.info.channels}
    assert (steps["VDD_IN"], steps["VDD_SYS_GPU"], steps["VDD_MUX"]) == (38.0, 77.0, None)
    sensor = meter.info.channels[0].sensor
    assert (sensor.update_period_ns, sensor.averaging_window_ns, sensor.gain_error) == (None, None, 0.015)
    assert meter.info.channels[0].sensor.offset_mw in {38.0 * 2, 77.0 * 2}
    assert "NVIDIA's driver" in sensor.source
    meter.close()


@pytest.mark.parametrize(
    ("interval_ms", "samples", "period_ms", "window_ms"),
    [
        # One sample: the current's conversion is a sixth of the turn through three channels.
        (6, 1, 6.0, 1.0),
        # 16 samples of 6.5 ms each: the plain mean of the same age is of 31.
        (104, 16, 6.5, 201.5),
        (0, 1, None, None),
        (7, 0, None, None),
    ],
)
def test_period_and_window_are_those_of_the_driver_s_settings(
    tmp_path: Path, interval_ms: int, samples: int, period_ms: float | None, window_ms: float | None
) -> None:
    tree = jetson_tree(tmp_path, "Orin Nano")
    chip = tree.chip("1-0040")
    (chip / "update_interval").write_text(f"{interval_ms}\n")
    (chip / "samples").write_text(f"{samples}\n")
    meter = opened(tree)
    sensor = meter.info.channels[0].sensor
    expected = [None if ms is None else round(ms * 1e6) for ms in (period_ms, window_ms)]
    assert [sensor.update_period_ns, sensor.averaging_window_ns] == expected
    assert meter.info.facts["1-0040 update_interval"] == interval_ms
    assert meter.info.facts["1-0040 samples"] == samples
    meter.close()


def test_an_ina238_tells_its_period_where_its_driver_does(tmp_path: Path) -> None:
    tree = jetson_tree(tmp_path, "Thor")
    (tree.chip("2-0044") / "update_interval").write_text("50\n")
    meter = opened(tree)
    vin = next(channel.sensor for channel in meter.info.channels if channel.name == "VIN")
    assert (vin.update_period_ns, vin.averaging_window_ns, vin.step_mw) == (50_000_000, None, None)
    meter.close()


def test_fewer_channels_are_measured_for_longer_each(tmp_path: Path) -> None:
    tree = jetson_tree(tmp_path, "Orin Nano")
    chip = tree.chip("1-0040")
    (chip / "update_interval").write_text("4\n")
    (chip / "in3_enable").write_text("0\n")
    meter = opened(tree)
    assert meter.info.channels[0].sensor.averaging_window_ns == 1_000_000  # 4 ms over two channels, half of it
    (chip / "in3_enable").unlink()
    meter.close()
    meter = opened(tree)
    assert meter.info.channels[0].sensor.averaging_window_ns is None
    meter.close()


def test_conditions_of_a_jetson(tmp_path: Path) -> None:
    tree = jetson_tree(tmp_path, "Orin Nano")
    tree.zone(0, "cpu-thermal", 48_250)
    tree.zone(1, "cv0-thermal", -256_000)
    tree.zone(2, "PMIC-Die", 100_000)
    tree.zone(10, "gpu-thermal", 51_500)
    tree.damage(tree.zone(11, "soc0-thermal", 0))
    clock = tree.gpu_devfreq("17000000.gpu", 624_750_000, (306_000_000, 1_020_000_000))
    tree.gpu_devfreq("15480000.nvdec", 793_600_000, (0, 0))
    tree.cpu_policy(0, 1_728_000, (729_600, 1_728_000))
    tree.cpu_policy(4, 729_600, (729_600, 1_728_000))
    tree.put("sys/kernel/debug/bpmp/debug/clk/emc/rate", 2_133_000_000)
    tree.cooling(0, "pwm-fan", 3)
    tree.cooling(1, "hot-surface-alert", 1)
    alert = tree.cooling(2, "gpu-throttle-alert", 0)
    tree.cooling(3, "devfreq-17000000.gpu", 0)
    (tree.hwmon("other") / "oc1_event_cnt").write_text("1000\n")
    counters = tree.hwmon("soctherm_oc")
    for number, count in enumerate((1, 0, 27), start=1):
        (counters / f"oc{number}_event_cnt").write_text(f"{count}\n")
    meter = opened(tree)
    names = meter.info.condition_names
    assert names == (
        "temperature_c",
        "gpu_clock_mhz",
        "emc_clock_mhz",
        "cpu_clock_mhz",
        "throttled",
        "overcurrent_events",
    )
    assert meter.read_conditions() == (51.5, 624.75, 2133.0, 1728.0, 0, 28)
    alert.write_text("1\n")
    (tree.chip("1-0040") / "curr1_crit_alarm").write_text("1\n")
    (counters / "oc3_event_cnt").write_text("30\n")
    clock.write_text("0\n")
    after = dict(zip(names, meter.read_conditions(), strict=True))
    assert (after["throttled"], after["overcurrent_events"]) == (2, 31)
    assert after["gpu_clock_mhz"] is None  # its power is off, which is no clock
    alert.write_text("broken\n")
    after = dict(zip(names, meter.read_conditions(), strict=True))
    assert after["throttled"] is None  # what cannot be read may be what throttles
    meter.close()


@pytest.mark.parametrize("millidegrees", [-256_000, 200_000, "off"])
def test_a_sensor_that_cannot_be_right_is_no_temperature(tmp_path: Path, millidegrees: object) -> None:
    tree = jetson_tree(tmp_path, "Orin Nano")
    tree.zone(0, "gpu-thermal", millidegrees)
    meter = opened(tree)
    assert dict(zip(meter.info.condition_names, meter.read_conditions(), strict=True))["temperature_c"] is None
    meter.close()


def test_a_board_that_tells_no_conditions(tmp_path: Path) -> None:
    meter = opened(jetson_tree(tmp_path, "Nano"))
    assert meter.info.condition_names == meter.read_conditions() == ()
    meter.close()


def test_a_clock_of_the_memory_that_root_alone_can_read_is_not_promised(public_folder: Path) -> None:
    tree = jetson_tree(public_folder, "Orin Nano")
    tree.put("sys/kernel/debug/bpmp/debug/clk/emc/rate", 2_133_000_000)
    (tree.root / "sys/kernel/debug").chmod(0)
    with as_nobody():
        meter = opened(tree)
    assert "emc_clock_mhz" not in meter.info.condition_names
    meter.close()
