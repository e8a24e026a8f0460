"""`espnet-cppbench` as a user types it: its result is the Python package's, figure for figure."""

import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fake_tegrastats as lines
from espnet_edge.power.analysis import analyse
from espnet_edge.power.ina3221 import open_ina3221
from espnet_edge.power.recording_file import read_recording
from espnet_edge.power.tegrastats import parse_line
from espnet_edge.power.uncertainty import Estimate
from espnet_edge.runtime.cli_bench import main as bench_main
from espnet_edge.runtime.cli_compare import main as compare_main
from espnet_edge.runtime.latency_report import latency_definitions, latency_doubts
from espnet_edge.runtime.paired import paired_ratio
from espnet_edge.runtime.result import LineLatency, Result, read_result
from espnet_edge.runtime.stats import median, summarise
from espnet_edge.version import __version__
from sysfs_trees import BOARDS, Rail, Tree, jetson_tree

QUICK = ("--threads", "1", "--rounds", "6", "--iterations", "80", "--warmup", "1", "--max-warmup", "0.1")
XAVIER_NX = BOARDS["Xavier NX"].model

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def program(cpp_tool) -> Path:
    return cpp_tool("espnet-cppbench")


@pytest.fixture
def cppbench(program, tmp_path) -> Run:
    """Runs it on a machine without any meter, unless the test says otherwise."""

    def run(*words: object, **options: Any) -> "subprocess.CompletedProcess[str]":
        environ = {**os.environ, "PATH": str(tmp_path / "bin"), "OMP_NUM_THREADS": "1", **options.pop("environ", {})}
        command = [program, *map(str, words)]
        return subprocess.run(command, check=False, capture_output=True, text=True, env=environ, timeout=120, **options)

    return run


@pytest.fixture
def two_lines(cppbench, conv_artefact, tmp_path) -> Result:
    """What it wrote of two artefacts."""
    path = tmp_path / "result.json"
    engines = (conv_artefact(name="first.onnx"), conv_artefact(name="second.onnx"))
    done = cppbench("--engine", engines[0], "--engine", engines[1], *QUICK, "--json", path)
    assert (done.returncode, done.stderr) == (0, "")
    return read_result(path)


def samples_of(line: LineLatency) -> list[int]:
    return [sample for block in line.samples_ns for sample in block]


def round_medians(line: LineLatency) -> list[float]:
    return [median(block) for block in line.samples_ns]


def test_figures_are_those_that_python_forms_from_the_samples(two_lines: Result) -> None:
    assert two_lines.latency is not None
    first, second = two_lines.latency.lines
    for line in (first, second):
        assert summarise(samples_of(line)) == line.summary
        assert list(line.summary.bounds_ms) == ["p50", "p90", "p95", "p99"]
        rate = len(samples_of(line)) * 1e9 / sum(line.elapsed_ns)
        assert line.throughput_per_s == pytest.approx(rate, rel=1e-15)
        assert len(line.warmup_ns) >= 1
        assert len(line.discarded_ns) == 6
    assert first.ratio is None
    expected = asdict(paired_ratio(round_medians(second), round_medians(first)))
    assert second.ratio is not None
    assert asdict(second.ratio) == pytest.approx(expected, rel=1e-9)


def test_it_speaks_as_python_does(two_lines: Result) -> None:
    assert two_lines.program == "espnet-cppbench"
    assert two_lines.environment.espnet_edge == __version__
    assert set(latency_definitions(two_lines)) <= set(two_lines.definitions)
    assert set(latency_doubts(two_lines)) <= set(two_lines.doubts)
    assert [line.name for line in two_lines.lines] == ["first openvino", "second openvino"]
    assert [file.weights_random for file in two_lines.files] == [True, True]
    assert two_lines.lines[0].threads == 1


def test_blocks_run_in_the_order_that_python_draws(two_lines: Result) -> None:
    generator = np.random.default_rng(0)
    names = [line.name for line in two_lines.lines]
    assert two_lines.latency is not None
    assert two_lines.latency.order == tuple(tuple(names[i] for i in generator.permutation(2)) for _ in range(6))
    starts = [{line.name: line.starts_ns[number][0] for line in two_lines.latency.lines} for number in range(6)]
    assert [tuple(sorted(times, key=times.__getitem__)) for times in starts] == list(two_lines.latency.order)


def test_compare_reads_it(two_lines: Result, tmp_path, command) -> None:
    path = tmp_path / "result.json"
    outcome = command(compare_main, path, path)
    assert outcome.code == 0
    assert "first openvino" in outcome.out


def test_page_reads_it(two_lines: Result, tmp_path, command) -> None:
    pytest.importorskip("matplotlib")
    from espnet_edge.runtime.cli_page import main as page_main

    outcome = command(page_main, tmp_path / "result.json", "--out", tmp_path / "page")
    assert outcome.code == 0
    assert "second openvino" in (tmp_path / "page/index.html").read_text()


def test_the_table_has_the_files_numbers(cppbench, conv_artefact, tmp_path) -> None:
    done = cppbench("--engine", conv_artefact(), *QUICK, "--json", tmp_path / "a.json")
    result = read_result(tmp_path / "a.json")
    assert result.latency is not None
    summary = result.latency.lines[0].summary
    header, row = (line.split() for line in done.stdout.splitlines()[:2])
    assert header[:5] == ["runtime", "version", "device", "threads", "n"]
    assert row[:5] == ["openvino", result.lines[0].version, "cpu", "1", "480"]
    assert row[5:9] == [f"{value:.3f}" for value in (summary.p50_ms, summary.p90_ms, summary.p95_ms, summary.p99_ms)]
    for line in (*result.definitions, *result.doubts):
        assert f"  - {line}\n" in done.stdout


def test_ctrl_c_keeps_complete_rounds(program, conv_artefact, tmp_path) -> None:
    path = tmp_path / "a.json"
    words = ("--engine", conv_artefact(), *QUICK[:2], "--rounds", 1000, "--block", 0.05, "--max-warmup", 0)
    with subprocess.Popen(
        [program, *map(str, words), "--json", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        time.sleep(2.0)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    result = read_result(path)
    assert result.latency is not None
    rounds = len(result.latency.order)
    assert process.returncode == 130
    assert 0 < rounds < 1000
    assert result.partial == f"interrupted in round {rounds + 1} of 1000"
    assert out.startswith(f"partial: {result.partial}\n")
    assert err == f"espnet-cppbench: {result.partial}; what was measured until then is above and in the file\n"


def test_ctrl_c_before_anything_leaves_the_old_file(program, conv_artefact, tmp_path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    words = ("--engine", conv_artefact(), "--warmup", 1_000_000, "--json", path)
    with subprocess.Popen(
        [program, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        time.sleep(2.0)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err == "espnet-cppbench: interrupted; no file is half written\n"
    assert path.read_text() == "old"
    assert sorted(tmp_path.glob(".*")) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing to measure: name an artefact, --engine FILE"),
        (("--engine", "{engine}", "--engine", "{engine}"), "--engine {engine} is given twice; leave one out"),
        (("--engine", "{engine}", "--rounds", 0), "--rounds 0: give 1 to 10000"),
        (("--engine", "{engine}", "--block", "nan"), "--block nan: give 0 to 3600"),
        (("--engine", "{engine}", "--max-warmup", -1), "--max-warmup -1.0: give 0 to 3600"),
        (("--engine", "{engine}", "--power-window", 0), "--power-window 0: give seconds, more than 0 and at most 3600"),
        (("--engine", "{engine}", "--power-source", "x"), "power source 'x' is unknown; there are auto|ina3221|teg"),
        (("--engine", "{engine}", "--measure", "x"), "--measure 'x' is unknown; there are latency, power"),
        (("--engine", "{engine}", "--json", "{engine}.json"), "would replace a file of this command"),
        (("--engine", "{engine}", "--json", "/nowhere/a.json"), "name a file in a folder that is there"),
        (("--engine", "{engine}", "--batch", 3), "has the fixed batch 1; leave the option out, or export with --batch"),
        (("--engine", "{engine}", "--batch", 0), "give a whole number from 1 to 65536"),
        (("--engine", "{engine}", "--nonsense"), "No such option: --nonsense"),
        (("--engine", "missing.onnx"), "missing.onnx"),
    ],
)
def test_wrong_input_is_one_line_and_code_2(cppbench, conv_artefact, words, said) -> None:
    engine = conv_artefact()
    done = cppbench(*(str(word).format(engine=engine) for word in words))
    assert (done.returncode, done.stdout) == (2, "")
    assert said.format(engine=engine) in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_that_its_manifest_does_not_describe(cppbench, conv_artefact) -> None:
    engine = conv_artefact()
    manifest = Path(f"{engine}.json")
    values = json.loads(manifest.read_text())
    values["file"]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(values))
    done = cppbench("--engine", engine, *QUICK)
    assert (done.returncode, done.stdout) == (4, "")
    assert "sha256" in done.stderr.lower()


def test_help_and_version(cppbench) -> None:
    assert "espnet-cppbench --engine build/seg/seg.trt" in cppbench("--help").stdout
    assert cppbench("--version").stdout.startswith(f"espnet-cppbench {__version__} (")


# Power. ---------------------------------------------------------------------------------------------------------------


def tegrastats_program(tmp_path: Path, script: str) -> None:
    """A program of that name on the PATH of `cppbench`."""
    path = tmp_path / "bin/tegrastats"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def board_root(tmp_path: Path, model: str = XAVIER_NX) -> Path:
    """A root without chips, of a board."""
    tree = Tree(tmp_path / "root")
    tree.model(model)
    return tree.root


def printing(line: str) -> str:
    return f"while true; do echo '{line}'; sleep 0.1; done"


def test_without_a_meter_every_probe_is_told(cppbench, conv_artefact, tmp_path) -> None:
    done = cppbench("--engine", conv_artefact(), "--measure", "power", "--sysfs-root", tmp_path / "empty")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(
        "espnet-cppbench: --power-source auto: nothing here gives a plausible reading of power. ina3221: no INA3221 "
    )
    assert "tegrastats: tegrastats is neither on PATH nor in /usr/bin (nothing to do: Jetson boards" in done.stderr


def test_latency_is_delivered_where_there_is_no_meter(cppbench, conv_artefact, tmp_path) -> None:
    path = tmp_path / "a.json"
    words = ("--engine", conv_artefact(), *QUICK, "--measure", "latency,power", "--sysfs-root", tmp_path / "empty")
    done = cppbench(*words, "--json", path)
    result = read_result(path)
    assert done.returncode == 3
    assert "p50 ms" in done.stdout
    assert "not measured: --power-source auto: nothing here" in done.stdout
    assert result.power is not None
    assert result.latency is not None
    assert [probe["source"] for probe in result.power.probes] == ["ina3221", "tegrastats"]
    assert f"espnet-cppbench: {result.power.unavailable}\n" == done.stderr


def test_ctrl_c_in_power_keeps_latency(program, conv_artefact, tmp_path) -> None:
    tegrastats_program(tmp_path, printing("RAM 1/2MB VDD_IN 5000mW/5000mW"))
    path = tmp_path / "a.json"
    words = ("--engine", conv_artefact(), *QUICK, "--measure", "latency,power", "--sysfs-root", board_root(tmp_path))
    environ = {**os.environ, "PATH": str(tmp_path / "bin"), "OMP_NUM_THREADS": "1"}
    command = [program, *map(str, words), "--json", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ) as process:
        time.sleep(4.0)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    result = read_result(path)
    assert process.returncode == 130
    assert err == "espnet-cppbench: interrupted in power; what was measured until then is above and in the file\n"
    assert "not measured: interrupted before three rounds were complete" in out
    assert result.latency is not None
    assert result.power is not None
    assert result.power.unavailable == "interrupted before three rounds were complete"


@pytest.mark.shared
def test_recorded_lines_are_read_as_python_reads_them(cppbench, shared) -> None:
    corpus = (shared / "traces/tegrastats_corpus.jsonl").read_text().splitlines()
    texts = [json.loads(entry)["line"] for entry in corpus]
    compare_lines(cppbench, texts)


def test_lines_cut_anywhere_are_read_as_python_reads_them(cppbench) -> None:
    whole = [lines.TX2, lines.AGX_XAVIER, lines.ORIN_NANO, lines.AGX_ORIN_AS_ROOT, lines.THOR, lines.THOR_AS_USER]
    whole += [lines.TX2_NX, lines.TK1]
    cut = [line[:size] for line in whole for size in range(1, len(line) + 1)]
    tails = [line[size:] for line in whole for size in range(0, len(line), 7)]
    garbled = [line.replace("mW", other) for line in whole for other in ("", "W", "mW ", "/5", "\t")]
    compare_lines(cppbench, [*cut, *tails, *garbled, "", " ", "RAM 1/2MB " + "x" * 5000, "RAM 1/2MB A 1/2 3 B 4/5"])


def compare_lines(cppbench: Run, texts: list[str]) -> None:
    done = cppbench("--parse-tegrastats", input="".join(f"{text}\n" for text in texts))
    assert done.returncode == 0
    found = [json.loads(line) for line in done.stdout.splitlines()]
    expected = [{name: list(power) for name, power in parse_line(text).items()} for text in texts]
    assert found == expected
    assert any(found)


@pytest.mark.parametrize("board", [name for name, board in BOARDS.items() if board.hwmon and name != "Thor"])
def test_the_chips_of_a_board_are_read_as_python_reads_them(cppbench, tmp_path, board) -> None:
    tree = jetson_tree(tmp_path / "root", board)
    meter = open_ina3221(tree.root)
    reading = meter.read()
    meter.close()
    shown = shown_meter(cppbench, "--sysfs-root", tree.root)
    assert_same_meter(shown, meter.info)
    assert reading is not None
    assert shown["readings_mw"] == list(reading.values)


def test_rails_that_cannot_be_read_are_left_out(cppbench, tmp_path) -> None:
    tree = jetson_tree(tmp_path / "root", "AGX Xavier")
    tree.damage(tree.chip("1-0041") / "curr3_input")
    (tree.chip("1-0040") / "in1_input").write_text("nonsense\n")
    meter = open_ina3221(tree.root)
    meter.close()
    assert meter.info.no_total_reason is not None
    assert_same_meter(shown_meter(cppbench, "--sysfs-root", tree.root), meter.info)


def test_rails_without_labels_are_told_apart(cppbench, tmp_path) -> None:
    tree = Tree(tmp_path / "root")
    tree.ina3221("1-0040", [Rail(None, 5000, 100), Rail("A", 5000, 200), Rail("A", 5000, 300)])
    meter = open_ina3221(tree.root)
    meter.close()
    assert_same_meter(shown_meter(cppbench, "--sysfs-root", tree.root), meter.info)


def test_chips_that_say_nothing(cppbench, tmp_path) -> None:
    tree = jetson_tree(tmp_path / "zero", "Xavier NX")
    for channel in (1, 2, 3):
        (tree.chip("7-0040") / f"curr{channel}_input").write_text("0\n")
    done = cppbench("--show-meter", "--sysfs-root", tree.root)
    assert done.returncode == 3
    assert "ina3221: the 3 rails that can be read draw 0 mW or less, which no board does" in done.stderr
    thor = jetson_tree(tmp_path / "thor", "Thor")
    done = cppbench("--show-meter", "--sysfs-root", thor.root)
    assert "ina3221: its driver does not say how often it measures: no update_interval in" in done.stderr
    older = jetson_tree(tmp_path / "older", "Nano")
    done = cppbench("--show-meter", "--power-source", "ina3221", "--sysfs-root", older.root)
    assert "NVIDIA's older driver ina3221x does not say how often it measures (take --power-source" in done.stderr


def test_tegrastats_is_started_and_read(cppbench, tmp_path) -> None:
    tegrastats_program(tmp_path, "echo warming up\n" + printing(lines.ORIN_NANO))
    root = board_root(tmp_path, BOARDS["Orin Nano"].model)
    shown = shown_meter(cppbench, "--power-source", "tegrastats", "--sysfs-root", root)
    assert shown["readings_mw"] == [12479, 4667, 2817]
    assert shown["meter"]["power_total"] == ["VDD_IN"]
    assert shown["meter"]["channels"][0]["sensor"]["update_period_ns"] == 100_000_000


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (printing(lines.TX2_NX), "tegrastats: tegrastats prints no power rails (run as root"),
        (printing("RAM 1/2MB VDD_IN 0mW/0mW"), "tegrastats prints 0 mW for every rail"),
        (printing("RAM 1/2MB VDD_IN 9999999mW/1mW"), "prints 9999999 mW for VDD_IN, more than any board draws"),
        ("echo not allowed >&2; exit 3", "tegrastats ended with exit code 3 (not allowed)"),
        ("kill -9 $$", "tegrastats was ended by signal 9"),
    ],
)
def test_a_tegrastats_that_gives_nothing(cppbench, tmp_path, script, said) -> None:
    tegrastats_program(tmp_path, script)
    done = cppbench("--show-meter", "--power-source", "tegrastats", "--sysfs-root", board_root(tmp_path))
    assert (done.returncode, done.stdout) == (3, "")
    assert said in done.stderr


def test_what_was_recorded_gives_figures_in_python(cpp_build, two_lines, tmp_path, command) -> None:
    """A campaign on a made-up machine: 5 ms at 12 W and 10 ms at 8 W, 4 W when idle."""
    test, part = cpp_build / "tests/test_tool_bench_power", tmp_path / "part.json"
    environ = {**os.environ, "ESPNET_POWER_PART": str(part)}
    subprocess.run([test], env=environ, check=True, capture_output=True)
    path = tmp_path / "power.json"
    values = json.loads((tmp_path / "result.json").read_text())
    power = part.read_text().replace('"z"', '"first openvino"').replace('"a"', '"second openvino"')
    path.write_text(json.dumps({**values, "power": json.loads(power)}))
    first, second = analyse(read_recording(path)).loads
    assert (first.name, second.name) == ("first openvino", "second openvino")
    for load, gross_mj, net_mj in ((first, 60, 40), (second, 80, 40)):
        assert isinstance(load.total.gross_mj, Estimate)
        assert isinstance(load.total.net_mj, Estimate)
        assert load.total.gross_mj.value == pytest.approx(gross_mj, rel=0.01)
        assert load.total.net_mj.value == pytest.approx(net_mj, rel=0.01)
    outcome = command(bench_main, "--reanalyse", path, "--json", tmp_path / "again.json")
    assert outcome.code == 0
    again = read_result(tmp_path / "again.json")
    assert again.power is not None
    assert again.power.result is not None


def shown_meter(cppbench: Run, *words: object) -> Mapping[str, Any]:
    done = cppbench("--show-meter", *words)
    assert (done.returncode, done.stderr) == (0, "")
    shown: Mapping[str, Any] = json.loads(done.stdout)
    return shown


def assert_same_meter(shown: Mapping[str, Any], info: Any) -> None:
    """But for what only Python tells: conditions, and how long a reading takes."""
    meter, expected = dict(shown["meter"]), json.loads(json.dumps(asdict(info)))
    for name in ("condition_names", "facts"):
        del meter[name], expected[name]
    assert meter == expected
