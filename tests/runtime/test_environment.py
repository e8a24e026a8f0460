"""What the machine says of itself, and the doubts that follow."""

from dataclasses import replace

import pytest

from espnet_edge.runtime.environment import environment_doubts, load_average, read_environment
from results import ENVIRONMENT


@pytest.mark.parametrize(
    ("changes", "threads", "loads", "words"),
    [
        ({}, 2, (0.4, 2.3), []),
        ({}, 2, (None, None), []),
        ({}, 2, (3.1, 3.2), ["load average 3.1 on 2 cores before", "stop it"]),
        ({}, 1, (0.1, 2.9), ["load average 2.9 on 2 cores at the end", "stop it"]),
        ({"cores": 16, "usable_cores": 2}, 2, (3.0, 4.0), []),
        ({}, 4, (0, 0), ["4 threads on 2 usable cores", "use --threads 2"]),
        ({"cpu_limit": 1.5}, 2, (0, 0), ["allows 1.5 cores and 2 threads", "use --threads 1"]),
        ({"cpu_limit": 2.0}, 2, (0, 0), []),
        ({"governor": "powersave"}, 2, (0, 0), ["governor is powersave", "performance"]),
        ({"governor": None}, 2, (0, 0), []),
    ],
)
def test_doubts_about_the_machine(changes, threads, loads, words):
    doubts = environment_doubts(replace(ENVIRONMENT, **changes), threads, *loads)
    assert len(doubts) == bool(words)
    assert all(word in doubts[0] for word in words)


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_what_a_board_says_of_itself(tmp_path):
    write(
        tmp_path,
        {
            "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
            "proc/cpuinfo": "processor\t: 0\nmodel name\t: ARMv8 Processor rev 1 (v8l)\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
        },
    )
    environment = read_environment(tmp_path)
    assert environment.board == "NVIDIA Jetson Orin Nano Developer Kit"
    assert environment.cpu == "ARMv8 Processor rev 1 (v8l)"
    assert environment.governor == "schedutil"
    assert environment.line.startswith("NVIDIA Jetson Orin Nano Developer Kit, ARMv8 Processor rev 1 (v8l), ")
    assert "governor schedutil" in environment.line


def test_a_machine_that_says_nothing(tmp_path):
    environment = read_environment(tmp_path)
    assert (environment.board, environment.cpu, environment.governor, environment.cpu_limit) == (None,) * 4
    assert environment.machine in environment.line


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, None),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/a/cpu.max": "200000 100000\n",
            },
            2,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5),
        (
            {
                "proc/self/cgroup": "9:name=systemd:/\n4:cpu,cpuacct:/docker/x\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
    ],
)
def test_limit_of_the_control_group(tmp_path, files, limit):
    write(tmp_path, files)
    assert read_environment(tmp_path).cpu_limit == limit


def test_this_machine():
    environment = read_environment()
    assert environment.usable_cores >= 1
    assert {"numpy", "onnxruntime", "openvino", "torch"} <= environment.libraries.keys()
    assert load_average() >= 0
