"""benchmarks/harness.py: both sides are measured in turns, and a bench that costs too much is found out."""

import importlib.util
import json
import sys
import time
from pathlib import Path

import pytest

from espnet_edge.commands import run
from espnet_edge.runtime.ort_runner import OrtRunner

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks/harness.py"


@pytest.fixture
def harness(monkeypatch):
    """The script with the tiny network alone; whole networks take too long for a test."""
    spec = importlib.util.spec_from_file_location("harness", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "harness", module)
    spec.loader.exec_module(module)
    only_tiny(module, monkeypatch, whole=False)
    return module


def only_tiny(module, monkeypatch, whole):
    def cases(folder):
        path = module._tiny(folder / "tiny.onnx")
        return [module.Case("tiny", runtime, path, whole) for runtime in module.RUNTIMES]

    monkeypatch.setattr(module, "_cases", cases)


def call(command, module, *arguments):
    return command(lambda: run(module.app, module.PROGRAM), *arguments)


def test_both_runtimes_are_measured_on_both_sides(harness, command, tmp_path):
    path = tmp_path / "harness.json"
    outcome = call(command, harness, "--rounds", 5, "--iterations", 2, "--json", path)
    assert outcome.code == 0, outcome.err
    measured = json.loads(path.read_text())
    assert [one["runtime"] for one in measured] == ["onnxruntime", "openvino"]
    for one in measured:
        assert len(one["ours_ns"]) == len(one["bare_ns"]) == 5
        assert min(one["ours_ns"] + one["bare_ns"]) > 0
        assert f"tiny   {one['runtime']}" in outcome.out
    assert outcome.out.count("no limit") == 2


def test_a_bench_that_costs_too_much_is_found_out(harness, command, monkeypatch):
    infer = OrtRunner.infer

    def slow(self, feeds):
        time.sleep(0.002)
        return infer(self, feeds)

    monkeypatch.setattr(OrtRunner, "infer", slow)
    only_tiny(harness, monkeypatch, whole=True)
    monkeypatch.setattr(harness, "TINY_ITERATIONS", 1)
    outcome = call(command, harness, "--rounds", 5, "--iterations", 3)
    assert outcome.code == 4
    assert "tiny in onnxruntime" in outcome.last_line
    line = next(line for line in outcome.out.splitlines() if "onnxruntime" in line)
    assert "DIFFERS" in line
    assert float(line.split()[3]) > 2000  # the overhead in us: the sleep, at least


def test_an_equal_bench_agrees(harness):
    bare = (1000.0, 1010.0, 990.0, 1005.0, 1001.0)
    case = harness.Measured("net", "onnxruntime", True, tuple(1.01 * ns for ns in bare), bare)
    assert case.agrees
    assert case.overhead_us == pytest.approx(0.01, rel=0.02)
    assert not harness.Measured("net", "onnxruntime", True, tuple(1.03 * ns for ns in bare), bare).agrees
    assert not harness.Measured("net", "onnxruntime", True, tuple(0.97 * ns for ns in bare), bare).agrees


@pytest.mark.parametrize("wrong", [("--rounds", 3), ("--iterations", 0), ("--threads", 0)])
def test_too_few_rounds_are_the_users_error(harness, command, wrong):
    outcome = call(command, harness, *wrong)
    assert outcome.code == 2
    assert "give 5, 1 and 1 at least" in outcome.last_line
