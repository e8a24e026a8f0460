"""`espnet-bench --measure power` as a user types it."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from espnet_edge.power.campaign import Settings, measure
from espnet_edge.power.conditions import MachineConditions
from espnet_edge.power.recording_file import recording_json
from espnet_edge.power.trace import SensorFacts
from espnet_edge.runtime.cli_bench import main
from fake_nvml_library import environment
from virtual_machine import MS, SensorModel, VirtualMachine, VirtualMeter, sampler_of

QUICK = ("--runtime", "onnxruntime", "--threads", 1, "--rounds", 2, "--iterations", 2, "--warmup", 1)
SHORT = ("--power-window", 0.5, "--power-rounds", 3)


@pytest.fixture
def no_meter(tmp_path, monkeypatch):
    """A machine on which nothing measures power."""
    opening = import_module("espnet_edge.power.meters")
    places = opening.Places(root=tmp_path / "empty", environ={"PATH": str(tmp_path)})
    monkeypatch.setattr(opening, "Places", lambda: places)


@pytest.fixture
def quick_campaign(monkeypatch):
    """Shorter than is honest, so that a test is over in seconds."""
    monkeypatch.setattr("espnet_edge.power.plan.MIN_IDLE_NS", 300_000_000)
    monkeypatch.setattr("espnet_edge.power.campaign._WARMUP_NS", 100_000_000)
    monkeypatch.setattr("espnet_edge.power.campaign._REST_NS", 100_000_000)
    monkeypatch.setattr("espnet_edge.power.sensor._LONGEST_RISE_S", 0.5)


@pytest.fixture(scope="module")
def trace(tmp_path_factory) -> Path:
    """A result to replay: two minutes of a meter that reads anew every 20 ms, and says so."""
    machine = VirtualMachine(8e3)
    meter = VirtualMeter(
        machine, SensorModel(20 * MS, 20 * MS, tick_ns=20 * MS), declared=SensorFacts(20 * MS, 20 * MS, 1.0, 0.05)
    )
    load, sampler = machine.load((5 * MS, 12e3)), sampler_of(machine, meter)
    recording = measure({"a": load}, sampler, Settings(), sleep=machine.sleep, snapshot=MachineConditions)
    sampler.close()
    path = tmp_path_factory.mktemp("trace") / "stored.json"
    path.write_text(json.dumps({"power": {"recording": recording_json(recording)}}))
    return path


def test_without_a_meter_every_probe_is_told(conv_artefact, command, no_meter):
    outcome = command(main, "--engine", conv_artefact(), *QUICK, "--measure", "power")
    assert (outcome.code, outcome.out) == (3, "")
    assert "nothing here gives a plausible reading of power" in outcome.last_line
    for source in ("ina3221: ", "tegrastats: tegrastats is neither on PATH", "rapl: "):
        assert source in outcome.last_line
    assert "nvml: " not in outcome.last_line  # it would not see a processor


def test_latency_that_was_asked_for_is_delivered_all_the_same(conv_artefact, command, no_meter, tmp_path):
    out = tmp_path / "result.json"
    options = (*QUICK, "--measure", "latency,power", "--json", out)
    outcome = command(main, "--engine", conv_artefact(), *options)
    assert outcome.code == 3
    assert outcome.out.splitlines()[1].split()[0] == "onnxruntime"
    assert "not measured: " in outcome.out
    assert "plausible reading" in outcome.last_line
    read = json.loads(out.read_text())
    assert len(read["latency"]["lines"][0]["samples_ns"]) == 2
    assert read["power"]["result"] is None
    assert "plausible reading" in read["power"]["unavailable"]
    assert [probe["source"] for probe in read["power"]["probes"]] == ["ina3221", "tegrastats", "rapl"]


def test_a_replayed_trace_from_start_to_figures(conv_artefact, command, trace, quick_campaign, tmp_path):
    path, out, again = conv_artefact(), tmp_path / "result.json", tmp_path / "again.json"
    options = (*QUICK, "--measure", "power", "--power-source", f"replay:{trace}", *SHORT, "--json", out)
    outcome = command(main, "--engine", path, *options)
    assert outcome.code == 0, outcome.err
    head, row, *_ = outcome.out.splitlines()
    assert head.split("  ")[0] == "runtime"
    assert row.split()[0] == "onnxruntime"
    assert "(95 %, replay counter, n=3," in outcome.out
    assert "the readings are a replayed trace" in outcome.out
    assert "onnxruntime: by replay samples " in outcome.out
    read = json.loads(out.read_text())
    assert read["latency"] is None
    (load,) = read["power"]["result"]["loads"]
    assert 7_500 < load["total"]["power_mw"]["value"] < 12_500
    assert load["total"]["gross_mj"]["n"] == 3
    # Everything is there to compute it again, and gives the same bytes.
    outcome = command(main, "--reanalyse", out, "--json", again)
    assert outcome.code == 0, outcome.err
    assert "(95 %, replay counter, n=3," in outcome.out
    assert again.read_bytes() == out.read_bytes()


def test_a_window_that_is_too_short_costs_nothing_but_the_power(conv_artefact, command, trace, quick_campaign):
    options = (*QUICK, "--measure", "latency,power", "--power-source", f"replay:{trace}", "--power-window", 0.001)
    outcome = command(main, "--engine", conv_artefact(), *options)
    assert outcome.code == 2
    assert "a window of 0.001 s does not fit a sensor" in outcome.last_line
    assert "onnxruntime" in outcome.out


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--power-source", "voltcraft"), 2, ["'voltcraft' is unknown; there are auto|nvml"]),
        (("--power-source", "replay:"), 2, ["name a file"]),
        (("--power-source", "replay:none.csv"), 2, ["none.csv", "check the path"]),
        (("--power-source", "rapl:0"), 2, ["'rapl:0' is unknown"]),
        (("--power-rounds", 2), 2, ["--power-rounds"]),
        (("--power-window", "nan"), 2, ["--power-window nan", "more than 0 and at most 3600"]),
        (("--power-window", 0), 2, ["more than 0"]),
        (("--power-window", "long"), 2, ["--power-window"]),
    ],
)
def test_wrong_options(conv_artefact, command, options, code, words):
    outcome = command(main, "--engine", conv_artefact(), *QUICK, "--measure", "power", *options)
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err.count("\n") == 1
    assert all(word in outcome.last_line for word in words), outcome.err


def test_reanalyse_wants_a_result_with_power(conv_artefact, command, tmp_path):
    latency = tmp_path / "latency.json"
    assert command(main, "--engine", conv_artefact(), *QUICK, "--json", latency).code == 0
    outcome = command(main, "--reanalyse", latency)
    assert (outcome.code, outcome.out) == (2, "")
    assert "has no recording of power" in outcome.last_line
    for option, value in (("--engine", "x.onnx"), ("--rounds", 3), ("--measure", "memory")):
        outcome = command(main, "--reanalyse", latency, option, value)
        assert outcome.code == 2
        assert f"--reanalyse measures nothing: leave out {option}" in outcome.last_line
    assert command(main).last_line == "espnet-bench: nothing to measure: name an artefact, --engine FILE"


NVML_PROGRAM = """
import espnet_edge.power.campaign as campaign, espnet_edge.power.plan as plan, espnet_edge.power.sensor as sensor
sensor._LONGEST_RISE_S = 0.5
plan.MIN_IDLE_NS, campaign._WARMUP_NS, campaign._REST_NS = 500_000_000, 200_000_000, 100_000_000
from espnet_edge.runtime.cli_bench import main
main()
"""
# 30 W and 90 W more for each core that the process uses, by a sensor and a counter that are new every 20 ms, as V100's.
NVML_CONFIG = """
clock = real
power = process 30 90
name = Tesla V100
architecture = 5
capability = 7.0
instant.window = 0.02
instant.period = 0.02
average.window = 0.02
average.period = 0.02
energy.period = 0.02
own_process = 1
"""


def test_the_command_with_a_driver_library_in_real_time(conv_artefact, tmp_path):
    out = tmp_path / "result.json"
    options = (*QUICK, "--measure", "power", "--power-source", "nvml", *SHORT, "--json", out)
    command = [sys.executable, "-c", NVML_PROGRAM, "--engine", conv_artefact(), *options]
    env = environment(NVML_CONFIG, tmp_path)
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=False, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "(95 %, NVML counter, n=3," in done.stdout
    assert "the meter sees the GPU alone, and the processor computed here" in done.stdout
    power = json.loads(out.read_text())["power"]
    (load,) = power["result"]["loads"]
    # The one core that computes; on a busy machine it gets a part of it.
    assert 25e3 < power["result"]["idle_before_mw"] + 5e3 < load["total"]["power_mw"]["value"] < 130e3
    assert load["other"]["label"] == "NVML samples"
    # There samples may also come too late to give a figure.
    assert load["difference"] is None or abs(load["difference"]) < 0.1
    meter = power["recording"]["meter"]
    assert meter["facts"]["uuid"].startswith("GPU-")
    assert {"temperature_c", "sm_clock_mhz", "throttle_reasons"} <= set(power["recording"]["conditions"]["columns"])
    assert power["recording"]["cost"]["readings"] > 200
