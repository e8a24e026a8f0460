"""The processor's energy counters, on synthetic powercap trees in virtual time."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from espnet_edge.power.energy import counter_energy
from espnet_edge.power.meter import MeterError, NoMeterError
from espnet_edge.power.rapl import RaplMeter, open_rapl
from espnet_edge.power.trace import CounterTrace
from sysfs_trees import Tree, VirtualClock, as_nobody, rapl_pc

PACKAGE = "sys/class/powercap/intel-rapl:0"


class Load:
    """Counters that rise by their power from the time on that the clock shows; they start again after their range."""

    def __init__(self, tree: Tree, powers_w: dict[str, float], start_uj: int = 0) -> None:
        folders = {name: tree.root / "sys/class/powercap" / name for name in powers_w}
        self.ranges = {name: int((folder / "max_energy_range_uj").read_text()) for name, folder in folders.items()}
        self.files = {name: folder / "energy_uj" for name, folder in folders.items()}
        self.powers_w, self.start_uj = powers_w, start_uj

    def __call__(self, now_ns: int) -> None:
        for name, power_w in self.powers_w.items():
            energy_uj = self.start_uj + int(power_w * now_ns / 1000)
            self.files[name].write_text(f"{energy_uj % self.ranges[name]}\n")


def opened(tree: Tree, powers_w: dict[str, float] | None = None) -> RaplMeter:
    """Open with counters that move: all of them by 30 W where nothing else is said."""
    everything = [path.parent.name for path in (tree.root / "sys/class/powercap").glob("*/energy_uj")]
    load = Load(tree, dict.fromkeys(everything, 30.0) if powers_w is None else powers_w, start_uj=1000)
    return open_rapl(tree.root, clock=VirtualClock(1_000_000, load))


def refused(tree: Tree, powers_w: dict[str, float] | None = None) -> NoMeterError:
    with pytest.raises(NoMeterError) as caught:
        opened(tree, powers_w)
    return caught.value


def names(meter: RaplMeter) -> list[str]:
    return [channel.name for channel in meter.info.channels]


def test_one_socket(tmp_path: Path) -> None:
    meter = opened(rapl_pc(tmp_path))
    assert names(meter) == ["package-0", "package-0 core", "package-0 dram"]
    info = meter.info
    assert (info.source, info.sees, info.energy_total, info.power_total) == ("rapl", "cpu", ("package-0",), ())
    assert info.device == "Example CPU @ 2.50GHz, package-0"
    assert "without memory" in info.scope
    assert "package-0 dram beside it" in info.scope
    assert [channel.wrap_uj for channel in info.channels] == [262_143_328_850, 262_143_328_850, 65_712_999_613]
    assert {channel.quantity for channel in info.channels} == {"energy_uj"}
    assert info.channels[0].sensor.update_period_ns == 1_000_000
    # The counter's step is 1/2^14 J on such a processor.
    assert info.facts["package-0 step_uj"] == pytest.approx(61.035, abs=1e-3)
    meter.close()


def test_two_sockets_are_added(tmp_path: Path) -> None:
    meter = opened(rapl_pc(tmp_path, sockets=2))
    assert meter.info.energy_total == ("package-0", "package-1")
    assert meter.info.scope.startswith("the processor: package-0 + package-1; without")
    assert "package-1 dram" in names(meter)
    meter.close()


def test_zones_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    meter = opened(rapl_pc(tmp_path, sockets=11))
    assert meter.info.energy_total == tuple(f"package-{socket}" for socket in range(11))
    meter.close()


def test_the_second_view_of_a_package_is_not_counted(tmp_path: Path) -> None:
    tree = rapl_pc(tmp_path)
    tree.rapl_zone("intel-rapl-mmio:0", "package-0", 1_000_000)
    meter = opened(tree)
    assert meter.info.energy_total == ("package-0",)
    assert len(names(meter)) == 3
    meter.close()


def test_the_second_view_counts_where_it_is_the_only_one(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.rapl_zone("intel-rapl-mmio:0", "package-0", 1_000_000)
    meter = opened(tree)
    assert meter.info.energy_total == ("package-0",)
    meter.close()


def test_the_platform_is_read_but_not_added(tmp_path: Path) -> None:
    tree = rapl_pc(tmp_path)
    tree.rapl_zone("intel-rapl:1", "psys", 1_000_000)
    meter = opened(tree)
    assert "psys" in names(meter)
    assert meter.info.energy_total == ("package-0",)
    assert "psys beside it" in meter.info.scope
    meter.close()


def test_amd(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.rapl_zone("intel-rapl:0", "package-0", 1_000_000, 65_532_610_987)
    tree.rapl_zone("intel-rapl:0:0", "core", 100_000, 65_532_610_987)
    meter = opened(tree)
    assert (names(meter), meter.info.energy_total) == (["package-0", "package-0 core"], ("package-0",))
    assert meter.info.facts["package-0 step_uj"] == pytest.approx(15.258, abs=1e-3)
    meter.close()


def test_packages_of_one_name_are_told_apart(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.rapl_zone("intel-rapl:0", "package-0", 1_000_000)
    tree.rapl_zone("intel-rapl:1", "package-0", 2_000_000)
    meter = opened(tree)
    assert meter.info.energy_total == ("package-0 (intel-rapl:0)", "package-0 (intel-rapl:1)")
    meter.close()


def test_a_part_that_never_counted_is_not_there(tmp_path: Path) -> None:
    tree = rapl_pc(tmp_path)
    tree.rapl_zone("intel-rapl:0:2", "uncore", 0)
    meter = opened(tree, {"intel-rapl:0": 30.0})
    assert "package-0 uncore" not in names(meter)
    assert meter.info.facts["not_read"] == "package-0 uncore: it has not counted since the start"
    meter.close()


def test_a_part_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    tree = rapl_pc(tmp_path)
    tree.damage(tree.root / f"{PACKAGE}:0/energy_uj")
    meter = opened(tree, {"intel-rapl:0": 30.0})
    assert names(meter) == ["package-0", "package-0 dram"]
    assert meter.info.facts["not_read"] == "package-0 core: Input/output error"
    meter.close()


def test_an_unknown_range_is_not_invented(tmp_path: Path) -> None:
    tree = rapl_pc(tmp_path)
    load = Load(tree, {"intel-rapl:0": 30.0})
    (tree.root / PACKAGE / "max_energy_range_uj").unlink()
    meter = open_rapl(tree.root, clock=VirtualClock(1_000_000, load))
    assert meter.info.channels[0].wrap_uj is None
    assert meter.info.facts["package-0 step_uj"] is None
    meter.close()


def test_no_counter(tmp_path: Path) -> None:
    error = refused(Tree(tmp_path))
    assert str(tmp_path / "sys/class/powercap") in error.answer
    assert "virtual machines" in error.way_out


def test_a_platform_alone_is_no_processor(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.rapl_zone("intel-rapl:0", "psys", 1_000_000)
    assert "no counter of a processor package" in refused(tree).answer


@pytest.mark.parametrize("energy_uj", [0, 123_456_789])
def test_a_counter_that_stands_still_is_dead(tmp_path: Path, energy_uj: int) -> None:
    tree = rapl_pc(tmp_path)
    (tree.root / PACKAGE / "energy_uj").write_text(f"{energy_uj}\n")
    error = refused(tree, {})
    assert error.answer == f"package-0 stands at {energy_uj} uJ for 100 ms of work"
    assert error.way_out


def test_one_dead_package_of_two_is_enough_to_refuse(tmp_path: Path) -> None:
    error = refused(rapl_pc(tmp_path, sockets=2), {"intel-rapl:0": 30.0})
    assert error.answer.startswith("package-1 stands at 1000001 uJ")


def test_a_counter_may_move_late(tmp_path: Path) -> None:
    tree = rapl_pc(tmp_path)
    energy = tree.root / PACKAGE / "energy_uj"
    clock = VirtualClock(1_000_000, lambda now_ns: _write(energy, 5 + (now_ns > 90_000_000)))
    energy.write_text("5\n")
    meter = open_rapl(tree.root, clock=clock)
    assert clock.now_ns > 90_000_000
    meter.close()


def _write(path: Path, value: int) -> None:
    path.write_text(f"{value}\n")


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that other users may enter; pytest's are closed to them."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_counters_that_only_root_may_read(public_folder: Path) -> None:
    tree = rapl_pc(public_folder)
    for path in public_folder.glob("sys/class/powercap/*/energy_uj"):
        path.chmod(0)
    with as_nobody():
        error = refused(tree, {})
    assert error.answer == "package-0 cannot be read: Permission denied"
    for way in ("run as root", "chmod a+r", "udev", "CVE-2020-8694"):
        assert way in error.way_out


@pytest.mark.parametrize("content", ["9" * 19, "1e6", "-", ""])
def test_what_is_no_count(tmp_path: Path, content: str) -> None:
    tree = rapl_pc(tmp_path)
    (tree.root / PACKAGE / "energy_uj").write_text(content)
    assert refused(tree, {}).answer == f"package-0 cannot be read: it holds {content!r}, not a number"


def test_a_counter_that_is_broken_is_not_a_matter_of_rights(tmp_path: Path) -> None:
    tree = rapl_pc(tmp_path)
    tree.damage(tree.root / PACKAGE / "energy_uj")
    error = refused(tree, {})
    assert error.answer == "package-0 cannot be read: Input/output error"
    assert "root" not in error.way_out


def test_an_error_later_is_none_and_not_zero(tmp_path: Path) -> None:
    tree = rapl_pc(tmp_path)
    meter = opened(tree, {"intel-rapl:0": 30.0})
    core, dram = (tree.root / f"{PACKAGE}:{part}/energy_uj" for part in (0, 1))
    core.write_text("\n")
    assert meter.read().values[1:] == (None, 250_000)
    core.write_text("7\n")
    assert meter.read().values[1:] == (7, 250_000)
    dram.write_text("x\n")
    assert meter.read().values[2] is None
    meter.close()


def test_nothing_can_be_read_any_more(tmp_path: Path) -> None:
    tree = rapl_pc(tmp_path)
    load = Load(tree, {"intel-rapl:0": 30.0}, start_uj=1000)
    clock = VirtualClock(1_000_000, load)
    meter = open_rapl(tree.root, clock=clock)
    clock.watcher = None
    for path in tree.root.glob("sys/class/powercap/*/energy_uj"):
        path.write_text("gone\n")
    with pytest.raises(MeterError, match="Example CPU"):
        meter.read()
    meter.close()


def test_files_are_given_back(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    meter = opened(rapl_pc(tmp_path))
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 3
    meter.close()
    meter.close()
    refused(rapl_pc(tmp_path / "dead"), {})
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("range_uj", [262_143_328_850, 65_532_610_987, 3_000_000])
def test_energy_over_wraps(tmp_path: Path, range_uj: int) -> None:
    """The smallest range wraps ten times in the window, as a larger one does in hours."""
    tree = Tree(tmp_path)
    tree.rapl_zone("intel-rapl:0", "package-0", 0, range_uj)
    load = Load(tree, {"intel-rapl:0": 60.0}, start_uj=range_uj - 1_000_000)
    clock = VirtualClock(1_000, load)
    meter = open_rapl(tree.root, clock=clock)
    time_ns, energy_uj = [], []
    for tick in range(1, 601):
        clock.now_ns = tick * 1_000_000
        reading = meter.read()
        assert reading.values[0] is not None
        time_ns.append(reading.time_ns)
        energy_uj.append(reading.values[0])
    channel = meter.info.channels[0]
    trace = CounterTrace(np.array(time_ns), np.array(energy_uj), channel.wrap_uj)
    wraps = int((np.diff(trace.energy_uj) < 0).sum())
    assert wraps == 1 + (599 * 60_000 - 1_000_000) // range_uj
    found = counter_energy(trace, 10_000_000, 590_000_000)
    # 60 W between the counter's own ticks.
    assert found.energy_j == pytest.approx(60.0 * (found.end_ns - found.start_ns) / 1e9, rel=1e-6)
    assert found.end_ns - found.start_ns == pytest.approx(580_000_000, abs=2_000_000)
    meter.close()


def test_conditions_of_a_pc(tmp_path: Path) -> None:
    tree = rapl_pc(tmp_path)
    tree.zone(0, "acpitz", 99_000)
    tree.zone(1, "x86_pkg_temp", 61_000)
    core = tree.hwmon("coretemp")
    (core / "temp1_input").write_text("60000\n")
    (core / "temp2_input").write_text("62000\n")
    (tree.hwmon("nvme") / "temp1_input").write_text("75000\n")
    tree.cpu_policy(0, 3_600_000, (800_000, 4_500_000))
    tree.cpu_policy(10, 4_200_000, (800_000, 4_500_000))
    tree.cooling(0, "Processor", 1)
    processor = tree.cooling(1, "Processor", 0)
    tree.cooling(4, "cpufreq-cpu0", -1)  # what some drivers say before the first time
    tree.cooling(2, "intel_powerclamp", -1)
    tree.cooling(3, "Fan", 1)
    for number, count in ((0, 4), (1, 4)):
        tree.put(f"sys/devices/system/cpu/cpu{number}/thermal_throttle/package_throttle_count", count)
    meter = opened(tree)
    expected = ("temperature_c", "cpu_clock_mhz", "throttled", "thermal_throttle_events")
    assert meter.info.condition_names == expected
    # Neither ACPI's zone nor the disk is the processor; both cores show the one package's count.
    assert meter.read_conditions() == (62.0, 4200.0, 1, 4)
    processor.write_text("2\n")
    assert meter.read_conditions()[2] == 3
    meter.close()


def test_a_pc_that_tells_no_conditions(tmp_path: Path) -> None:
    meter = opened(rapl_pc(tmp_path))
    assert meter.info.condition_names == meter.read_conditions() == ()
    meter.close()


def test_amd_s_thermometer(tmp_path: Path) -> None:
    tree = rapl_pc(tmp_path)
    (tree.hwmon("k10temp") / "temp1_input").write_text("55125\n")
    meter = opened(tree)
    assert meter.read_conditions() == (55.125,)
    meter.close()
