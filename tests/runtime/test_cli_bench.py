import json
import os
import pty
import signal
import subprocess
import sys
import time
from itertools import pairwise

import pytest

from espnet_edge.runtime.cli_bench import main
from espnet_edge.runtime.manifest import load_manifest, manifest_path
from espnet_edge.runtime.result import LineMemory, read_result

PROGRAM = "from espnet_edge.runtime.cli_bench import main; main()"
QUICK = ("--rounds", 2, "--iterations", 2, "--warmup", 1, "--threads", 1)


def run(*arguments, program=PROGRAM, **options):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def assert_one_line(result, code, *words):
    """The command ended with `code` and one line on standard error that holds `words`."""
    assert result.returncode == code, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("espnet-bench: ")
    assert result.stderr.count("\n") == 1, result.stderr
    assert all(word in result.stderr for word in words), result.stderr


def test_help_reads_well_in_a_pipe():
    result = run("--help", env={**os.environ, "COLUMNS": "80"})
    assert (result.returncode, result.stderr) == (0, "")
    assert "\x1b" not in result.stdout
    assert "\b" not in result.stdout
    assert "    espnet-bench --engine build/seg/seg.onnx --runtime onnxruntime,openvino --threads 1\n" in result.stdout
    for option in ("--engine", "--runtime", "--measure", "--threads", "--rounds", "--iterations", "--warmup"):
        assert option in result.stdout
    for option in ("--batch", "--streams", "--rate", "--photo", "--as", "--seed", "--json", "--page", "--trust"):
        assert option in result.stdout


def test_help_needs_no_library():
    block = "import sys; sys.modules.update(dict.fromkeys(['torch', 'onnx', 'onnxruntime', 'openvino', 'tensorrt']));"
    result = run("--help", program=block + PROGRAM)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("Usage: espnet-bench")


def test_with_no_library_nothing_runs(conv_artefact):
    block = "import sys; sys.modules.update(dict.fromkeys(['torch', 'onnxruntime', 'openvino']));"
    result = run("--engine", conv_artefact(), program=block + PROGRAM)
    assert_one_line(result, 3, "nothing here runs ONNX files", "pip install")


def test_a_bench_of_two_runtimes(conv_artefact, tmp_path):
    path, out = conv_artefact(), tmp_path / "result.json"
    result = run("--engine", path, "--runtime", "openvino,onnxruntime", *QUICK, "--json", out)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].split()[:5] == ["runtime", "version", "device", "threads", "n"]
    assert [line.split()[0] for line in lines[1:3]] == ["openvino", "onnxruntime"]
    assert "definitions:" in lines
    assert "doubts:" in lines
    assert "too few samples, n=4: p90 needs 64" in result.stdout
    read = json.loads(out.read_text())
    assert [entry["name"] for entry in read["lines"]] == ["openvino", "onnxruntime"]
    for entry in read["latency"]["lines"]:
        assert [len(block) for block in entry["samples_ns"]] == [2, 2]
        assert len(entry["warmup_ns"]) >= 1
    for entry in read["lines"]:
        assert entry["threads"] == 1
        assert entry["inputs"] == ["image uint8 (1,8,16,3)"]
    assert read["command"][:2] == ["--engine", str(path)]
    assert read["before"]["load_average"] >= 0
    assert read["files"][0]["sha256"] == load_manifest(path).file.sha256
    assert read["files"][0]["name"] == "conv"


def test_auto_says_what_it_skips(conv_artefact, command, tmp_path):
    path, out = conv_artefact(), tmp_path / "result.json"
    outcome = command(main, "--engine", path, *QUICK, "--json", out)
    assert outcome.code == 0
    (line,) = outcome.err.splitlines()
    assert line.startswith("espnet-bench: skipped torch: ")
    assert "tiny" in line
    assert [text.split()[0] for text in outcome.out.splitlines()[1:3]] == ["onnxruntime", "openvino"]
    (skipped,) = json.loads(out.read_text())["skipped"]
    assert (skipped["file"], skipped["runtime"]) == (str(path), "torch")


def test_a_named_runtime_must_run(conv_artefact, command):
    outcome = command(main, "--engine", conv_artefact(), "--runtime", "onnxruntime,torch", *QUICK)
    assert (outcome.code, outcome.out) == (2, "")
    assert "tiny" in outcome.last_line


def test_auto_keeps_quiet_about_what_is_not_installed_and_all_does_not(conv_artefact, command, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    path = conv_artefact()
    assert "openvino" not in command(main, "--engine", path, *QUICK).err
    outcome = command(main, "--engine", path, "--runtime", "all", *QUICK)
    assert outcome.code == 0
    assert "skipped openvino: openvino is not installed" in outcome.err
    outcome = command(main, "--engine", path, "--runtime", "openvino", *QUICK)
    assert outcome.code == 3
    assert "pip install 'espnet-edge[openvino]'" in outcome.last_line


def test_several_engines_and_a_free_batch(conv_artefact, command, tmp_path):
    fixed, free, out = conv_artefact(), conv_artefact("batch", name="free.onnx"), tmp_path / "result.json"
    one = ("--runtime", "onnxruntime", *QUICK)
    outcome = command(main, "--engine", fixed, "--engine", free, *one, "--json", out)
    assert outcome.code == 0
    assert [line.split()[0] for line in outcome.out.splitlines()[:3]] == ["engine", str(fixed), str(free)]
    read = json.loads(out.read_text())
    assert [entry["name"] for entry in read["lines"]] == ["conv onnxruntime", "free onnxruntime"]
    assert command(main, "--engine", free, "--batch", 3, *one, "--json", out).code == 0
    (entry,) = json.loads(out.read_text())["lines"]
    assert (entry["inputs"], entry["batch"]) == (["image uint8 (3,8,16,3)"], 3)
    outcome = command(main, "--engine", fixed, "--batch", 3, *one)
    assert outcome.code == 2
    assert "has the fixed batch 1" in outcome.last_line


def test_trust(conv_artefact, command, tmp_path):
    path, out = conv_artefact(), tmp_path / "result.json"
    manifest_path(path).unlink()
    assert_one_line(run("--engine", path), 4, "no manifest", "--trust")
    outcome = command(main, "--engine", path, "--trust", "--runtime", "onnxruntime", *QUICK, "--json", out)
    assert outcome.code == 0
    (file,) = json.loads(out.read_text())["files"]
    assert file["name"] is None
    assert len(file["sha256"]) == 64


def test_a_changed_file_is_not_run(conv_artefact):
    path = conv_artefact()
    path.write_bytes(path.read_bytes() + b"\0")
    assert_one_line(run("--engine", path), 4, "sha256")


def test_an_engine(conv_artefact):
    onnx = conv_artefact()
    engine = onnx.with_suffix(".trt")
    engine.write_bytes(b"an engine")
    load_manifest(onnx).write(engine)
    assert_one_line(run("--engine", engine), 4, "sha256")
    for options in ((), ("--runtime", "tensorrt_rtx"), ("--runtime", "all")):
        assert_one_line(run("--engine", engine, "--trust", *options), 3, "runs on a GPU", f"--engine {onnx}")


def test_a_broken_file_that_no_runtime_opens(conv_artefact):
    path = conv_artefact()
    manifest_path(path).unlink()
    path.write_bytes(b"broken")
    result = run("--engine", path, "--trust")
    # The libraries' own protobuf reader writes to standard error before ours does.
    assert "Traceback" not in result.stderr
    assert "onnxruntime cannot read it" in result.stderr.splitlines()[-1]
    assert (result.returncode, result.stdout) == (2, "")


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--measure", "power,speed"), 2, ["'speed' is unknown; there are latency, power, memory, operators"]),
        (("--runtime", "tflite"), 2, ["'tflite' is unknown; there are auto, all, onnxruntime"]),
        (("--runtime", "onnxruntime,"), 2, ["'' is unknown"]),
        (("--runtime", "tensorrt"), 2, ["tensorrt runs engines"]),
        (("--device", "tpu"), 2, ["--device"]),
        (("--rounds", "0"), 2, ["--rounds", "--help"]),
        (("--iterations", "many"), 2, ["--iterations"]),
        (("--threads", "0"), 2, ["--threads"]),
        (("--batch", "0"), 2, ["--batch '0'", "from 1 to"]),
        (("--batch", "1,,2"), 2, ["--batch '1,,2'", "1,2,4"]),
        (("--batch", "2,2"), 2, ["--batch '2,2'", "each size once"]),
        (("--batch", "999999999999"), 2, ["--batch '999999999999'", "from 1 to"]),
        (("--streams", "0"), 2, ["--streams"]),
        (("--rate", "0"), 2, ["rate", "more than 0"]),
        (("--rate", "nan"), 2, ["--rate nan"]),
        (("--rate", "1e9"), 2, ["rate"]),
        (("--block", "1e99"), 2, ["--block"]),
        (("--block", "nan"), 2, ["--block"]),
        (("--max-warmup", "-1"), 2, ["--max-warmup"]),
        (("--as", "trtexec-9"), 2, ["trtexec-9", "trtexec-10"]),
        (("--as", "trtexec-10", "--rounds", 3), 2, ["--as trtexec-10", "leave out --rounds"]),
        (("--as", "trtexec-10", "--streams", 3), 2, ["--streams 3"]),
        (("--photo", "none.jpg"), 2, ["none.jpg"]),
        (("--streams", 2, "--measure", "latency,memory"), 2, ["--streams 2", "memory is measured of one stream"]),
        (("--json", "-"), 2, ["--json -", "name a file"]),
        (("--json", "/dev/full"), 2, ["--json /dev/full", "name a file"]),
        (("--page", "/dev/null"), 2, ["--page /dev/null", "name a file"]),
        (("--page", "no/such/folder/x.html"), 2, ["no/such/folder/x.html"]),
        (("--frobnicate",), 2, ["--frobnicate"]),
        (("--json", "no/such/folder/x.json"), 2, ["no/such/folder/x.json"]),
        (("--engine", "none.onnx"), 2, ["none.onnx: no such file"]),
    ],
)
def test_wrong_options(conv_artefact, command, options, code, words):
    outcome = command(main, "--engine", conv_artefact(), *options)
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err.count("\n") == 1
    assert all(word in outcome.last_line for word in words), outcome.err


def test_wrong_files(conv_artefact, command, tmp_path):
    path = conv_artefact()
    before = path.read_bytes()
    for target in (path, manifest_path(path)):
        outcome = command(main, "--engine", path, "--json", target)
        assert outcome.code == 2
        assert "would replace" in outcome.last_line
    assert path.read_bytes() == before
    assert "name a file" in command(main, "--engine", path, "--json", tmp_path).last_line
    assert "given twice" in command(main, "--engine", path, "--engine", path).last_line
    assert command(main).code == 2


def test_one_line_and_exit_code_from_the_shell(conv_artefact):
    assert_one_line(run("--engine", conv_artefact(), "--measure", "heat"), 2, "'heat' is unknown")
    assert_one_line(run("--engine", "none.onnx"), 2, "no such file")


def interrupted(conv_artefact, out, after: str):
    """The command, stopped by Ctrl-C 0.7 s after the `after` of the bench began for the first time."""
    program = (
        "import espnet_edge.runtime.bench as _, sys; module = sys.modules['espnet_edge.runtime.bench'];"
        f"original = module.{after};"
        f"module.{after} = lambda *a, **k: (print('started', flush=True), original(*a, **k))[1];" + PROGRAM
    )
    options = ("--runtime", "onnxruntime", "--rounds", 10000, "--max-warmup", 60, "--json", out)
    with subprocess.Popen(
        [sys.executable, "-c", program, "--engine", str(conv_artefact()), *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "started\n"
        time.sleep(0.2 if after == "_warm_up" else 1.5)
        process.send_signal(signal.SIGINT)
        printed, error = process.communicate(timeout=30)
    return process.returncode, printed, error


def test_an_interrupt_before_the_first_round_leaves_the_old_json(conv_artefact, tmp_path):
    out = tmp_path / "result.json"
    out.write_text("old")
    code, printed, error = interrupted(conv_artefact, out, "_warm_up")
    assert (code, printed) == (130, "")
    assert error == "espnet-bench: interrupted; no file is half written\n"
    assert out.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir() if "result" in file.name] == ["result.json"]


def test_an_interrupt_after_a_round_keeps_what_was_measured(conv_artefact, tmp_path):
    out = tmp_path / "result.json"
    code, printed, error = interrupted(conv_artefact, out, "_block")
    assert code == 130
    assert "Traceback" not in error
    assert error.endswith("; what was measured until then is above and in the file\n")
    assert error.count("\n") == 1
    assert "partial: interrupted in round " in printed
    result = read_result(out)
    assert result.partial.startswith("interrupted in round ")
    (line,) = result.latency.lines
    assert 1 <= len(line.samples_ns) < 10000
    assert all(len(block) == 10 for block in line.samples_ns)


def test_batches_are_lines_of_one_run(conv_artefact, command, tmp_path):
    free, out = conv_artefact("batch", name="free.onnx"), tmp_path / "result.json"
    outcome = command(
        main, "--engine", free, "--runtime", "onnxruntime,openvino", "--batch", "1,4", *QUICK, "--json", out
    )
    assert outcome.code == 0
    assert outcome.out.splitlines()[0].split()[3:5] == ["threads", "batch"]
    result = read_result(out)
    names = ["onnxruntime, batch 1", "openvino, batch 1", "onnxruntime, batch 4", "openvino, batch 4"]
    assert [line.name for line in result.lines] == names
    assert [line.batch for line in result.lines] == [1, 1, 4, 4]
    assert len(result.files) == 1
    for line in result.latency.lines:
        batch, seconds = 4 if "batch 4" in line.name else 1, sum(line.elapsed_ns) / 1e9
        assert line.throughput_per_s == pytest.approx(batch * line.summary.n / seconds)


def test_streams_run_at_the_same_time(conv_artefact, command, tmp_path):
    out = tmp_path / "result.json"
    options = ("--runtime", "onnxruntime", "--streams", 2, *QUICK, "--json", out)
    assert command(main, "--engine", conv_artefact(), *options).code == 0
    result = read_result(out)
    assert result.lines[0].streams == 2
    assert [len(block) for block in result.latency.lines[0].samples_ns] == [4, 4]


def test_a_fixed_rate(conv_artefact, command, tmp_path):
    out = tmp_path / "result.json"
    options = ("--runtime", "onnxruntime", "--rate", 50, "--rounds", 2, "--iterations", 3, "--json", out)
    outcome = command(main, "--engine", conv_artefact(), *options)
    assert outcome.code == 0
    assert "50 arrive per second by a timetable" in outcome.out
    (line,) = read_result(out).latency.lines
    for block in line.starts_ns:
        assert [later - earlier for earlier, later in pairwise(block)] == [20_000_000] * 2
    assert line.service_summary.n == line.summary.n == 6
    assert line.throughput_per_s <= 50
    assert read_result(out).lines[0].rate_hz == 50


def test_a_page_of_what_was_measured(conv_artefact, command, tmp_path):
    page = tmp_path / "page.html"
    options = ("--runtime", "onnxruntime", *QUICK, "--page", page)
    assert command(main, "--engine", conv_artefact(), *options).code == 0
    assert page.read_text().startswith("<!doctype html>")
    outcome = command(main, "--engine", conv_artefact(), *options, "--json", page)
    assert outcome.code == 2
    assert "would replace" in outcome.last_line


def test_where_the_time_goes(conv_artefact, command, tmp_path):
    out = tmp_path / "result.json"
    options = ("--runtime", "onnxruntime", "--threads", 1, "--measure", "operators", "--json", out)
    outcome = command(main, "--engine", conv_artefact(), *options)
    assert outcome.code == 0
    assert outcome.out.splitlines()[0].split() == ["measured", "operator", "count", "ms", "share"]
    (part,) = read_result(out).breakdowns
    assert part.operators["Conv"] >= 1


def test_what_cannot_be_measured_at_all_is_no_success(conv_artefact, command, monkeypatch):
    monkeypatch.setattr(
        "espnet_edge.runtime.measuring.measured_memory",
        lambda request: LineMemory(name=request.name, unavailable="the process was ended by SIGKILL"),
    )
    outcome = command(main, "--engine", conv_artefact(), "--runtime", "onnxruntime", "--measure", "memory")
    assert outcome.code == 3
    assert "no memory is known: the process was ended by SIGKILL" in outcome.last_line
    assert "not measured" in outcome.out


def test_memory_of_a_line_is_that_of_a_process_of_its_own(conv_artefact, command, tmp_path):
    out = tmp_path / "result.json"
    options = ("--runtime", "onnxruntime", "--measure", "memory", "--json", out)
    outcome = command(main, "--engine", conv_artefact(), *options)
    assert outcome.code == 0
    (memory,) = read_result(out).memory
    assert 5 << 20 < memory.before_rss_bytes < memory.loaded_rss_bytes <= memory.peak_rss_bytes < 1 << 30
    assert memory.gpu_bytes is None
    assert outcome.out.splitlines()[0].split()[:2] == ["runtime", "RSS"]


@pytest.mark.parametrize("columns", [80, 140])
def test_on_a_terminal_there_is_a_bar_and_no_number_is_cut(conv_artefact, columns):
    parent, child = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "--engine", str(conv_artefact()), "--runtime", "onnxruntime,openvino"]
        + [str(word) for word in QUICK],
        stdin=child,
        stdout=child,
        stderr=child,
        env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm"},
    ):
        os.close(child)
        shown = read_all(parent)
    assert "round 2 of 2" in shown
    assert "…" not in shown
    assert "definitions" in shown
    assert ("───" in shown) == (columns == 140)


def read_all(terminal):
    data = b""
    try:
        while block := os.read(terminal, 65536):
            data += block
    except OSError:
        # Linux reports the end of a pseudo-terminal as an input/output error.
        pass
    finally:
        os.close(terminal)
    return data.decode()
