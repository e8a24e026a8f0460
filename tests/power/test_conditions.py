"""The state of a machine that decides about its power: what is recorded, and what is said to be wrong with it."""

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from espnet_edge.power.conditions import (
    ClockRange,
    MachineConditions,
    PowerMode,
    condition_doubts,
    l4t_release,
    power_mode,
    read_conditions,
)
from sysfs_trees import Tree

ORIN_LIMITS = (729_600, 1_728_000)
SHOWN = """SOC family:tegra234  Machine:NVIDIA Jetson Orin Nano Developer Kit
cpu0: Online=1 Governor=schedutil MinFreq=1728000 MaxFreq=1728000 CurrentFreq=1728000
GPU MinFreq=1020000000 MaxFreq=1020000000 CurrentFreq=1020000000
EMC MinFreq=204000000 MaxFreq=3199000000 CurrentFreq=3199000000 FreqOverride=1
"""


def jetson(folder: Path, cpu_khz: tuple[int, int] = ORIN_LIMITS, gpu_hz: tuple[int, int] = (306, 1020)) -> Tree:
    """An Orin Nano; `gpu_hz` in MHz."""
    tree = Tree(folder)
    tree.model("NVIDIA Jetson Orin Nano Developer Kit")
    tree.put("etc/nv_tegra_release", "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic")
    tree.program("nvpmodel", 'test "$1" = -q && echo "NV Power Mode: MAXN_SUPER" && echo 2')
    for policy in (0, 4):
        tree.cpu_policy(policy, cpu_khz[1], cpu_khz)
    low, high = (mhz * 1_000_000 for mhz in gpu_hz)
    tree.gpu_devfreq("17000000.gpu", high, (low, high))
    tree.zone(0, "cpu-thermal", 48_250)
    tree.zone(1, "PMIC-Die", 100_000)
    tree.cooling(0, "cpufreq-cpu0", 0)
    tree.cooling(1, "gpu-throttle-alert", 0)
    tree.cooling(2, "pwm-fan", 3)
    return tree


def pc(folder: Path, governor: str = "powersave") -> Tree:
    tree = Tree(folder)
    tree.put("sys/class/dmi/id/product_name", "Example Workstation")
    tree.cpu_policy(0, 3_600_000, (800_000, 4_500_000), governor)
    tree.put("sys/devices/system/cpu/intel_pstate/no_turbo", 0)
    (tree.hwmon("coretemp") / "temp1_input").write_text("60000\n")
    return tree


def test_a_jetson(tmp_path: Path) -> None:
    tree = jetson(tmp_path)
    tree.put("sys/kernel/debug/bpmp/debug/clk/emc/rate", 2_133_000_000)
    (tree.hwmon("pwmfan") / "pwm1").write_text("128\n")
    (tree.hwmon("pwm_tach") / "rpm").write_text("2140\n")
    counters = tree.hwmon("soctherm_oc")
    for number, count in enumerate((0, 15, 37), start=1):
        (counters / f"oc{number}_event_cnt").write_text(f"{count}\n")
    found = read_conditions(tree.root, tree.environ)
    assert found == MachineConditions(
        board="NVIDIA Jetson Orin Nano Developer Kit",
        l4t="36.4.3",
        power_mode=PowerMode("MAXN_SUPER", 2),
        cpu_clocks=(
            ClockRange("policy0", "schedutil", 729.6, 1728.0, 1728.0),
            ClockRange("policy4", "schedutil", 729.6, 1728.0, 1728.0),
        ),
        gpu_clocks=(ClockRange("17000000.gpu", "nvhost_podgov", 306.0, 1020.0, 1020.0),),
        emc_mhz=2133.0,
        fan_pwm=128,
        fan_rpm=2140,
        throttling={"cpufreq-cpu0": 0, "gpu-throttle-alert": 0},
        throttle_events={"oc1_event_cnt": 0, "oc2_event_cnt": 15, "oc3_event_cnt": 37},
        temperature_c=48.25,
    )
    assert found.clocks_locked is False


def test_a_pc(tmp_path: Path) -> None:
    tree = pc(tmp_path)
    tree.put("sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count", 4)
    found = read_conditions(tree.root, tree.environ)
    assert found == MachineConditions(
        board="Example Workstation",
        cpu_clocks=(ClockRange("policy0", "powersave", 800.0, 4500.0, 3600.0),),
        turbo=True,
        throttle_events={"package_throttle_count": 4},
        temperature_c=60.0,
    )


def test_an_empty_machine_is_unknown_and_not_zero(tmp_path: Path) -> None:
    found = read_conditions(tmp_path, {"PATH": ""})
    assert found == MachineConditions()
    assert found.clocks_locked is None
    assert condition_doubts(found, found) == []


def test_this_machine() -> None:
    found = read_conditions()
    json.dumps(dataclasses.asdict(found))  # it is stored with every result


@pytest.mark.parametrize(
    ("place", "content", "turbo"),
    [
        ("intel_pstate/no_turbo", "1", False),
        ("cpufreq/boost", "1", True),
        ("cpufreq/boost", "0", False),
        ("cpufreq/boost", "?", None),
    ],
)
def test_turbo(tmp_path: Path, place: str, content: str, turbo: bool | None) -> None:
    tree = Tree(tmp_path)
    tree.put(f"sys/devices/system/cpu/{place}", content)
    assert read_conditions(tree.root, tree.environ).turbo is turbo


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("# R32 (release), REVISION: 7.6, GCID: 1", "32.7.6"),
        ("# R38 (release), REVISION: 2, GCID: 1", "38.2.0"),
        ("something else", "something else"),
    ],
)
def test_releases_of_jetson_linux(tmp_path: Path, content: str, expected: str) -> None:
    Tree(tmp_path).put("etc/nv_tegra_release", content)
    assert l4t_release(tmp_path) == expected


@pytest.mark.parametrize(
    ("script", "mode"),
    [
        ("echo 'NV Power Mode: MAXN'; echo 0", PowerMode("MAXN", 0)),
        ("echo 'NV Fan Mode:quiet'; echo 'NV Power Mode: MODE_15W_6CORE'; echo 2", PowerMode("MODE_15W_6CORE", 2)),
        ("echo 'NVPM VERB: Current mode: NV Power Mode: 15W'", PowerMode("15W", None)),
        ("printf 'NV Power Mode: 30W\\n  3 \\n'", PowerMode("30W", 3)),
        ("printf 'NV Power Mode: \\033[2Jx\\n1\\n'", PowerMode("\\x1b[2Jx", 1)),
        ("yes 'NV Power Mode: MAXN' | head -c 200000", PowerMode("MAXN", None)),
    ],
)
def test_power_modes(tmp_path: Path, script: str, mode: PowerMode) -> None:
    tree = Tree(tmp_path)
    tree.program("nvpmodel", f"PATH=/usr/bin:/bin; {script}")
    assert power_mode(tree.root, tree.environ) == mode


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'NVPM WARN: power mode is not set!'", "power mode is not set"),
        ("echo 'need root' >&2; exit 1", "need root"),
        ("exit 3", "exit code 3"),
        ("exit 0", "no output"),
        ("printf '\\377\\376'", "nvpmodel -q: "),
    ],
)
def test_a_power_mode_that_is_not_told(tmp_path: Path, script: str, said: str) -> None:
    tree = Tree(tmp_path)
    tree.program("nvpmodel", script)
    found = power_mode(tree.root, tree.environ)
    assert (found.name, found.number) == (None, None)
    assert said in str(found.answer)
    assert found.way_out == "sudo nvpmodel -q"


def test_a_program_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    child = tmp_path / "child"
    tree.program("nvpmodel", f"PATH=/usr/bin:/bin; sleep 60 & echo $! > {child}; wait")
    started = time.monotonic()
    found = power_mode(tree.root, tree.environ, limit_s=0.5)
    assert time.monotonic() - started < 30
    assert found.answer == "nvpmodel -q: it did not answer in 0.5 s"
    status = Path("/proc", child.read_text().strip(), "stat")
    for _ in range(100):
        # A zombie's parent has not asked for it yet.
        if not status.exists() or status.read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("what nvpmodel started still runs")


def test_a_program_that_cannot_run(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.program("nvpmodel", "").write_text("no program\n")
    found = power_mode(tree.root, tree.environ)
    assert found.name is None
    assert "Exec format error" in str(found.answer)


def test_no_nvpmodel(tmp_path: Path) -> None:
    found = power_mode(tmp_path, {"PATH": str(tmp_path)})
    assert "neither on PATH nor in /usr/sbin" in str(found.answer)
    assert "apt install" in str(found.way_out)


def test_nvpmodel_in_its_usual_place(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    program = tree.put("usr/sbin/nvpmodel", "#!/bin/sh\necho 'NV Power Mode: 15W'")
    program.chmod(0o755)
    assert power_mode(tree.root, {"PATH": str(tmp_path)}) == PowerMode("15W")


def test_what_jetson_clocks_shows_to_root(tmp_path: Path) -> None:
    tree = jetson(tmp_path)
    tree.put("shown", SHOWN)
    tree.program("jetson_clocks", f'PATH=/usr/bin:/bin; test "$1" = --show && cat {tmp_path}/shown')
    found = read_conditions(tree.root, tree.environ)
    assert found.jetson_clocks[2] == "GPU MinFreq=1020000000 MaxFreq=1020000000 CurrentFreq=1020000000"
    assert len(found.jetson_clocks) == 4


@pytest.mark.parametrize("script", ["echo 'Error: run as root'; exit 1", "echo MinFreq; exit 1", "echo hello"])
def test_jetson_clocks_that_shows_nothing(tmp_path: Path, script: str) -> None:
    tree = jetson(tmp_path)
    tree.program("jetson_clocks", script)
    assert read_conditions(tree.root, tree.environ).jetson_clocks == ()


def test_programs_of_jetsons_are_not_asked_elsewhere(tmp_path: Path) -> None:
    tree = pc(tmp_path)
    for name in ("nvpmodel", "jetson_clocks"):
        tree.program(name, f"echo asked > {tmp_path}/asked; echo 'NV Power Mode: X MinFreq'")
    found = read_conditions(tree.root, tree.environ)
    assert (found.power_mode, found.jetson_clocks) == (None, ())
    assert not (tmp_path / "asked").exists()


def test_locked_clocks_raise_no_doubt(tmp_path: Path) -> None:
    tree = jetson(tmp_path, (1_728_000, 1_728_000), (1020, 1020))
    found = read_conditions(tree.root, tree.environ)
    assert found.clocks_locked is True
    assert condition_doubts(found, found) == []


def test_a_limit_that_cannot_be_read_is_no_lock(tmp_path: Path) -> None:
    tree = jetson(tmp_path, (1_728_000, 1_728_000), (1020, 1020))
    (tree.root / "sys/class/devfreq/17000000.gpu/min_freq").write_text("?\n")
    found = read_conditions(tree.root, tree.environ)
    assert found.clocks_locked is None
    assert any(
        "GPU's clocks are not locked (nvhost_podgov, ? to 1020 MHz)" in d for d in condition_doubts(found, found)
    )


def test_clocks_of_a_jetson_that_move(tmp_path: Path) -> None:
    tree = jetson(tmp_path)
    found = read_conditions(tree.root, tree.environ)
    assert condition_doubts(found, found) == [
        "the CPU's clocks are not locked (schedutil, 729.6 to 1728 MHz); sudo jetson_clocks, after nvpmodel",
        "the GPU's clocks are not locked (nvhost_podgov, 306 to 1020 MHz); sudo jetson_clocks, after nvpmodel",
    ]
    assert len(condition_doubts(found, found, measures_cpu=False)) == 1
    assert condition_doubts(found, found, measures_cpu=False, measures_gpu=False) == []


def test_the_governor_of_a_pc(tmp_path: Path) -> None:
    tree = pc(tmp_path)
    found = read_conditions(tree.root, tree.environ)
    governor, turbo = condition_doubts(found, found)
    assert governor == (
        "the CPU's governor is powersave (powersave, 800 to 4500 MHz): its clocks follow the load; "
        "sudo cpupower frequency-set -g performance"
    )
    assert "no_turbo" in turbo
    assert condition_doubts(found, found, measures_cpu=False) == []


def test_performance_without_turbo_raises_no_doubt(tmp_path: Path) -> None:
    tree = pc(tmp_path, "performance")
    tree.put("sys/devices/system/cpu/intel_pstate/no_turbo", 1)
    found = read_conditions(tree.root, tree.environ)
    assert condition_doubts(found, found) == []


CALM = MachineConditions(
    board="b",
    l4t="36.4.3",
    power_mode=PowerMode("MAXN", 0),
    cpu_clocks=(ClockRange("policy0", "performance", 1728.0, 1728.0, 1728.0),),
    gpu_clocks=(ClockRange("17000000.gpu", "nvhost_podgov", 1020.0, 1020.0, 1020.0),),
    throttling={"cpu-throttle-alert": 0, "cpufreq-cpu0": 0},
    throttle_events={"oc3_event_cnt": 27},
    temperature_c=50.0,
)


def moved(clocks: Sequence[ClockRange], **limits: float | str) -> tuple[ClockRange, ...]:
    return tuple(replace(clock, **limits) for clock in clocks)


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ({"power_mode": PowerMode("15W", 1)}, "the power mode went from MAXN to 15W"),
        ({"power_mode": PowerMode("MAXN", 7)}, "the power mode went from MAXN to MAXN"),
        ({"power_mode": PowerMode(None, answer="need root", way_out="sudo nvpmodel -q")}, "not known: need root; sudo"),
        ({"throttling": {"cpu-throttle-alert": 1, "cpufreq-cpu0": 4}}, "cpu-throttle-alert at 1, cpufreq-cpu0 at 4"),
        ({"throttle_events": {"oc3_event_cnt": 30}}, "slowed down 3 times (oc3_event_cnt went from 27 to 30)"),
        ({"temperature_c": 55.1}, "went from 50.0 to 55.1 C"),
        ({"temperature_c": 44.9}, "went from 50.0 to 44.9 C"),
        ({"cpu_clocks": moved(CALM.cpu_clocks, max_mhz=1510.0)}, "1728 to 1728 MHz before, performance, 1728 to 1510"),
        ({"cpu_clocks": moved(CALM.cpu_clocks, governor="schedutil")}, "schedutil, 1728 to 1728 MHz after"),
        ({"cpu_clocks": ()}, "policy0: performance, 1728 to 1728 MHz before, switched off after"),
        ({"gpu_clocks": moved(CALM.gpu_clocks, min_mhz=306.0)}, "the GPU's clock settings changed (17000000.gpu"),
    ],
)
def test_what_changes_in_the_middle(after: dict[str, object], said: str) -> None:
    doubts = condition_doubts(CALM, replace(CALM, **after))  # type: ignore[arg-type]
    assert len(doubts) == 1
    assert said in doubts[0]
    assert ";" in doubts[0]  # the way out


@pytest.mark.parametrize(
    "after",
    [
        {"temperature_c": 54.9},
        {"temperature_c": None},
        {"throttling": {"cpu-throttle-alert": None, "cpufreq-cpu0": -1}},
        {"throttle_events": {"oc3_event_cnt": None}},
        {"cpu_clocks": moved(CALM.cpu_clocks, current_mhz=1700.0)},
        {"fan_rpm": 4000},
    ],
)
def test_what_is_no_matter(after: dict[str, object]) -> None:
    assert condition_doubts(CALM, replace(CALM, **after)) == []  # type: ignore[arg-type]


def test_throttling_before_is_seen_too() -> None:
    (doubt,) = condition_doubts(replace(CALM, throttling={"gpu-throttle-alert": 2}), CALM)
    assert "gpu-throttle-alert at 2" in doubt


def test_a_scripted_run_that_heats_up(tmp_path: Path) -> None:
    tree = jetson(tmp_path, (1_728_000, 1_728_000), (1020, 1020))
    before = read_conditions(tree.root, tree.environ)
    tree.zone(0, "cpu-thermal", 99_500)
    tree.cooling(0, "cpufreq-cpu0", 3)
    tree.cooling(1, "gpu-throttle-alert", 1)
    after = read_conditions(tree.root, tree.environ)
    throttled, heated = condition_doubts(before, after)
    assert "cpufreq-cpu0 at 3, gpu-throttle-alert at 1" in throttled
    assert "48.2 to 99.5 C" in heated
