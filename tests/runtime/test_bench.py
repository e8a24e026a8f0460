import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from espnet_edge.errors import InputError
from espnet_edge.runtime import RunnerInfo, bench, open_runner
from espnet_edge.runtime.bench import random_feeds
from espnet_edge.runtime.environment import Environment, environment_doubts, load_average, read_environment
from espnet_edge.runtime.manifest import TensorInfo
from espnet_edge.runtime.report import (
    MeasuredFile,
    MeasuredRunner,
    Report,
    Skipped,
    as_json,
    definitions,
    plain_table,
    print_report,
    sample_doubts,
    write_json,
)

MS = 1_000_000
FEEDS = {"x": np.zeros((1, 2), np.float32)}


class Clock:
    """Time that passes only when a runner runs. Units: ns."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now


class ScriptedRunner:
    """Takes `durations_ms` in turn, again from the start at the end, and notes its calls."""

    inputs = outputs = ()

    def __init__(self, name, clock, durations_ms, calls):
        self.info = RunnerInfo(name, "1.0", "cpu", 2)
        self.name, self.clock, self.durations_ms, self.calls, self.count = name, clock, durations_ms, calls, 0

    def infer(self, feeds):
        assert feeds is FEEDS
        self.clock.now += round(self.durations_ms[self.count % len(self.durations_ms)] * MS)
        self.count += 1
        self.calls.append(self.name)
        return {}


def scripted(durations_ms, **options):
    """Result and calls of a bench of runners that take the given times."""
    clock, calls = Clock(), []
    runners = {name: ScriptedRunner(name, clock, times, calls) for name, times in durations_ms.items()}
    settings = {"warmup_iterations": 1, "warmup_s": 0, "iterations": 3, "rounds": 4, **options}
    return bench(runners, dict.fromkeys(runners, FEEDS), clock=clock, **settings), calls


def test_every_sample_is_kept_in_whole_nanoseconds():
    result, _ = scripted({"a": [9, 8, 1, 2, 3]}, rounds=2)
    (samples,) = result.runners
    # Warm-up 9; round 1: 8 discarded, 1, 2, 3; round 2: 9 discarded, 8, 1, 2.
    assert samples.warmup_ns == (9 * MS,)
    assert samples.discarded_ns == (8 * MS, 9 * MS)
    assert samples.samples_ns == ((1 * MS, 2 * MS, 3 * MS), (8 * MS, 1 * MS, 2 * MS))
    assert all(type(sample) is int for block in samples.samples_ns for sample in block)
    assert (samples.summary.n, samples.summary.p50_ms, samples.summary.max_ms) == (6, 2, 8)
    assert samples.round_medians_ns == (2 * MS, 2 * MS)
    assert samples.inputs == ("x float32 (1,2)",)
    assert result.settings.rounds == 2


def test_blocks_are_interleaved_in_the_seeded_order():
    names = {"a": [1], "b": [2], "c": [3]}
    result, calls = scripted(names, rounds=6, seed=3)
    expected = ["a", "b", "c"] + [name for order in result.order for name in order for _ in range(4)]
    assert calls == expected
    assert all(sorted(order) == ["a", "b", "c"] for order in result.order)
    assert len(set(result.order)) > 1
    assert scripted(names, rounds=6, seed=3)[0] == result
    assert scripted(names, rounds=6, seed=4)[0].order != result.order


def test_warm_up_lasts_until_both_iterations_and_time_are_reached():
    result, _ = scripted({"slow": [400], "fast": [10]}, warmup_iterations=3, warmup_s=0.5)
    slow, fast = result.runners
    assert (len(slow.warmup_ns), len(fast.warmup_ns)) == (3, 50)
    assert scripted({"a": [1]}, warmup_iterations=0)[0].runners[0].warmup_ns == ()


def test_ratio_is_paired_by_round():
    # Each round of 4 calls takes twice as long as the one before: only the pairs tell that b takes 3 times as long.
    slowing = [1] + [1] * 4 + [2] * 4 + [4] * 4
    result, _ = scripted({"a": slowing, "b": [3 * t for t in slowing]}, rounds=3)
    ratio = result.ratio(result.runners[1])
    assert (ratio.median, ratio.minimum, ratio.maximum) == (3, 3, 3)
    assert result.ratio(result.runners[0]).median == 1
    result, _ = scripted({"a": [1], "b": [1] + [2] * 4 + [3] * 4 + [7] * 4}, rounds=3)
    ratio = result.ratio(result.runners[1])
    assert (ratio.median, ratio.minimum, ratio.maximum) == (3, 2, 7)


def test_progress_is_told_between_blocks():
    told = []
    _, calls = scripted({"a": [1], "b": [1]}, rounds=2, progress=lambda *step: told.append(step))
    assert [done for _, done, _ in told] == [0, 1, 2, 3, 4, 5, 6]
    assert {total for _, _, total in told} == {6}
    assert told[0][0] == "warm-up: a"
    assert told[2][0].startswith("round 1 of 2: ")
    assert len(calls) == 2 + 2 * 2 * 4


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"iterations": 0}, {"warmup_iterations": -1}, {"seed": -1}])
def test_wrong_numbers(wrong):
    (name,) = wrong
    with pytest.raises(InputError, match=f"{name} {wrong[name]}"):
        scripted({"a": [1]}, **wrong)


def test_wrong_feeds(conv_artefact):
    with pytest.raises(InputError, match="one at least"):
        bench({}, {})
    with open_runner(conv_artefact()) as runner:
        with pytest.raises(InputError, match="feeds"):
            bench({"a": runner}, {"b": {}})
        with pytest.raises(InputError, match="image: not given"):
            bench({"a": runner}, {"a": {}})


def test_a_real_bench(conv_artefact):
    path = conv_artefact()
    with open_runner(path, threads=1) as ort, open_runner(path, "openvino", threads=1) as openvino:
        runners = {"ort": ort, "ov": openvino}
        feeds = random_feeds(ort.inputs, batch=None, seed=0, source="conv.onnx")
        result = bench(runners, dict.fromkeys(runners, feeds), warmup_s=0, rounds=2, iterations=3)
    for samples in result.runners:
        assert samples.summary.n == 6
        assert 0 < samples.summary.min_ms <= samples.summary.p50_ms <= samples.summary.p99_ms <= 1000


def info(dtype, shape):
    return TensorInfo(name="x", dtype=dtype, shape=shape, layout="any", meaning="")


def test_random_feeds_have_dtype_shape_and_seed():
    for dtype in ("float32", "float16", "uint8", "int32", "int64"):
        array = random_feeds([info(dtype, (2, 300))], batch=None, seed=1, source="f")["x"]
        assert (array.dtype, array.shape) == (dtype, (2, 300))
        np.testing.assert_array_equal(array, random_feeds([info(dtype, (2, 300))], batch=2, seed=1, source="f")["x"])
        assert (array != random_feeds([info(dtype, (2, 300))], batch=None, seed=2, source="f")["x"]).any()
        if dtype.startswith("int"):
            assert set(array.ravel()) == {0, 1}
        if dtype == "uint8":
            assert array.min() < 5
            assert array.max() > 250


def test_batch_of_random_feeds():
    assert random_feeds([info("uint8", ("batch", 4))], batch=None, seed=0, source="f")["x"].shape == (1, 4)
    assert random_feeds([info("uint8", ("batch", 4))], batch=3, seed=0, source="f")["x"].shape == (3, 4)
    with pytest.raises(InputError, match=r"--batch 3: f\.onnx has the fixed batch 1.*--batch 1,3,3"):
        random_feeds([info("uint8", (1, 4))], batch=3, seed=0, source="f.onnx")
    with pytest.raises(InputError, match="x has the free size 'width'"):
        random_feeds([info("uint8", (1, "width"))], batch=None, seed=0, source="f.onnx")
    with pytest.raises(InputError, match="no memory for inputs of shape"):
        random_feeds([info("uint8", ("batch", 1 << 20, 1 << 20))], batch=1 << 20, seed=0, source="f.onnx")


ENVIRONMENT = Environment(
    board=None,
    cpu="Some CPU",
    machine="x86_64",
    cores=2,
    usable_cores=2,
    cpu_limit=None,
    governor="performance",
    os="Linux 6.1",
    python="3.11.7",
    espnet_edge="0.1.0",
    libraries={"numpy": "2.0"},
)


def report_of(result, skipped=(), environment=ENVIRONMENT, load=(0.1, 1.0)):
    file = MeasuredFile("seg.onnx", "ab" * 32, "seg", "espnetv2_seg")
    runners = tuple(MeasuredRunner(samples.name, samples.info, samples.inputs, file) for samples in result.runners)
    return Report(runners, result, None, skipped, environment, *load, "2026-01-01T00:00:00+00:00")


def test_the_table_has_aligned_columns():
    lines = plain_table([{"runtime": "onnxruntime", "n": "5"}, {"runtime": "torch", "n": "500"}])
    assert lines == ["runtime        n", "onnxruntime    5", "torch        500"]


def test_the_printed_report(capsys):
    result, _ = scripted({"onnxruntime": [2], "torch": [5]}, iterations=25)
    print_report(report_of(result))
    head, first, second, *rest = capsys.readouterr().out.splitlines()
    assert head.split() == [
        "runtime",
        "version",
        "device",
        "threads",
        "n",
        "p50",
        "ms",
        "p90",
        "ms",
        "p99",
        "ms",
        "ratio",
    ]
    assert first.split() == ["onnxruntime", "1.0", "cpu", "2", "100", "2.000", "2.000", "2.000", "1.00"]
    assert second.split() == ["torch", "1.0", "cpu", "2", "100", "5.000", "5.000", "5.000", "2.50", "[2.50..2.50]"]
    text = "\n".join(rest)
    assert "one call of infer, from the input arrays ready in memory" in text
    assert "numpy's 'linear'" in text.lower()
    assert "4 rounds of one block for each line" in text
    assert "then 25 timed ones" in text
    assert "at least 1 iterations and 0 s each" in text
    assert "Some CPU, 2 of 2 cores, governor performance, Linux 6.1, Python 3.11.7" in text
    assert "doubts" not in text


def test_several_engines_have_a_column():
    result, _ = scripted({"a": [2], "b": [5]})
    report = report_of(result)
    first, second = report.runners
    report = replace(report, runners=(first, replace(second, file=replace(second.file, path="cls.onnx"))))
    assert "seg.onnx: x float32 (1,2); cls.onnx: x float32 (1,2)" in definitions(report)[0]
    assert [file["path"] for file in as_json(report)["files"]] == ["seg.onnx", "cls.onnx"]


@pytest.mark.parametrize("n", [1, 2, 60, 99, 100])
def test_doubt_about_the_tail(n):
    result, _ = scripted({"a": [1]}, rounds=1, iterations=n)
    doubts = sample_doubts(result)
    if n == 1:
        assert "that sample" in doubts[0]
    elif n < 100:
        assert f"p99 of {n} samples is an interpolation between the two slowest" in doubts[0]
    else:
        assert doubts == []


def test_doubts_about_drift_and_ties():
    drifting = [1] + [10] * 26 + [12] * 26 + [10] * 26 + [10] * 26
    result, _ = scripted({"a": [11], "b": drifting}, iterations=25)
    drift, tie = sample_doubts(result)
    assert "b 20% (10.000 to 12.000 ms)" in drift
    assert "raise --rounds" in drift
    assert "b and a cannot be told apart" in tie


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


def test_json_has_every_sample(tmp_path):
    result, _ = scripted({"a": [1], "b": [2]})
    path = tmp_path / "result.json"
    write_json(path, report_of(result, skipped=(Skipped("seg.onnx", "torch", "no weights"),)))
    read = json.loads(path.read_text())
    assert read["schema_version"] == 2
    assert read["measure"] == ["latency"]
    latency = read["latency"]["runners"][1]
    assert latency["name"] == "b"
    assert latency["samples_ns"] == [[2 * MS] * 3] * 4
    assert latency["discarded_ns"] == [2 * MS] * 4
    assert latency["ratio"] == {"median": 2, "minimum": 2, "maximum": 2, "rounds": 4, "low": None, "high": None}
    assert read["runners"][0]["info"] == {
        "runtime": "a",
        "version": "1.0",
        "device": "cpu",
        "threads": 2,
        "device_name": None,
        "graph": None,
        "graph_fallback_reason": None,
    }
    assert read["runners"][0]["file"] == "seg.onnx"
    assert read["files"] == [{"path": "seg.onnx", "sha256": "ab" * 32, "name": "seg", "network": "espnetv2_seg"}]
    assert read["environment"] == asdict(ENVIRONMENT)
    assert read["load_average"] == {"before": 0.1, "after": 1.0}
    assert read["skipped"] == [{"engine": "seg.onnx", "runtime": "torch", "reason": "no weights"}]
    assert read["latency"]["order"] == [list(order) for order in result.order]
    assert read["latency"]["settings"]["iterations"] == 3
    assert len(read["doubts"]) == 1
