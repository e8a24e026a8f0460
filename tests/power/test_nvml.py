"""The meter of NVIDIA GPUs: the real nvidia-ml-py on an imitated driver library."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from espnet_edge.power.energy import counter_energy, energy_j
from espnet_edge.power.nvml_facts import (
    architecture_name,
    energy_sensor_facts,
    power_sensor_facts,
    throttle_reason_names,
    throttling_names,
)
from espnet_edge.power.trace import CounterTrace, PowerTrace
from fake_nvml_library import environment, run

pynvml: Any = pytest.importorskip("pynvml")
FIRST = "GPU-00000000-1111-2222-3333-444444444444"
SECOND = "GPU-00000001-1111-2222-3333-444444444444"
MS = 1_000_000


@pytest.fixture
def asked(tmp_path: Path) -> Callable[..., Any]:
    """asked(program, old_driver=520) -> what the program answers in a process with the imitated library."""

    def ask(program: str, **options: int) -> Any:
        return run(program, environment("", tmp_path, **options))

    return ask


def test_channels_values_and_units(asked) -> None:
    found = asked("""
meter = opened("power = constant 123.456\\ncall_us = 200")
at(7)
users = load_fake().fake_nvml_users()
reading = meter.read()
took_ns = clock() - 7_000_000_000
channels = [(c.name, c.quantity, c.wrap_uj) for c in meter.info.channels]
info = meter.info
answer([channels, reading.values, reading.time_ns, took_ns, info.power_total, info.energy_total, info.sees, info.scope,
        info.source, info.device, users])
""")
    channels, values, time_ns, took_ns, power_total, energy_total, sees, scope, source, device, users = found
    assert channels == [
        ["power.instant", "power_mw", None],
        ["power.average", "power_mw", None],
        ["energy", "energy_uj", None],
    ]
    # The counter of the configuration stands at 1000 J when time is 0.
    assert values == [123_456, 123_456, 1_000_000_000 + 7 * 123_456_000]
    # One call for everything, and the instant is its middle.
    assert took_ns == 200_000
    assert time_ns == 7_000_000_000 + 100_000
    assert (power_total, energy_total, sees, source) == (["power.instant"], ["energy"], "gpu", "nvml")
    assert "not the processor" in scope
    assert device == f"NVIDIA RTX A5000 ({FIRST})"
    assert users == 1


def test_no_plausible_reading_is_no_meter(asked) -> None:
    nothing = "instant = {0}\naverage = {0}\nusage = {0}\nenergy = {0}\n"
    found = asked(f"""
texts = {{
    **{{status: {nothing!r}.format(status) for status in ("not_supported", "zero", "garbage", "unknown")}},
    "jetson": {nothing!r}.format("not_supported") + "name = Orin (nvgpu)",
    "limit": "power = constant 700\\nenergy = not_supported",
    "limits": "power = constant 600\\nlimit_mw = 150000\\ndefault_limit_mw = 150000\\nenforced_limit_mw = 201000",
    "no limit": "power = constant 9000\\n"
                + "\\n".join(f"{{name}}limit_mw = not_supported" for name in ("", "default_", "enforced_")),
    "above all": "power = constant 10001\\nenergy = not_supported\\nlimit_mw = 4000000000",
}}
def reads(text):
    meter = opened(text)
    values = meter.read().values
    meter.close()
    return values
found = {{name: attempt(reads, text) for name, text in texts.items()}}
answer([found, load_fake().fake_nvml_users()])
""")
    found, users = found
    assert users == 0  # what was opened is given back
    assert all(found[name]["error"] == "NoMeterError" for name in found if name not in ("limits", "no limit"))
    for name, word in [("not_supported", "Not Supported"), ("unknown", "Unknown Error")]:
        text = found[name]["text"]
        assert text.startswith("NVIDIA RTX A5000 gives no plausible reading: power.instant (field 186): " + word)
        assert f"power.average (field 185): {word}" in text
        assert "power.instant of the module (field 186): Not Supported" in text
        assert f"power.usage (nvmlDeviceGetPowerUsage): {word}" in text
        assert f"energy (field 83): {word}" in text
        assert f"energy (nvmlDeviceGetTotalEnergyConsumption): {word}" in text
    assert "power.instant (field 186): 0 mW" in found["zero"]["text"]
    assert "energy (field 83): 0 mJ since the driver was loaded" in found["zero"]["text"]
    assert "4294967295 mW, more than any GPU draws" in found["garbage"]["text"]
    assert "700000 mW, more than 3 times the power limit of 230000 mW" in found["limit"]["text"]
    assert "10001000 mW, more than any GPU draws" in found["above all"]["text"]
    assert found["limits"][0] == 600_000
    assert found["no limit"][0] == 9_000_000
    assert "--power-source ina3221" in found["jetson"]["way_out"]
    assert "vGPU" in found["not_supported"]["way_out"]


def test_what_works_is_taken(asked) -> None:
    found = asked("""
texts = {
    "average": "instant = not_supported",
    "usage": "instant = not_supported\\naverage = zero\\npower = constant 90",
    "function": "energy_field = not_supported\\npower = constant 50",
    "power": "energy = not_supported",
    "energy": "instant = garbage\\naverage = not_supported\\nusage = not_supported",
    "module": "scopes = module\\npower = constant 300\\nmodule_w = 150",
    "both": "scopes = both\\npower = constant 300",
}
def look(text):
    meter = opened(text)
    at(1)
    info, values = meter.info, meter.read().values
    meter.close()
    channels = [c.name for c in info.channels]
    return [channels, values, info.power_total, info.energy_total, info.sees, info.scope]
answer({name: look(text) for name, text in texts.items()})
""")
    instant, average, energy = "power.instant", "power.average", "energy"
    assert found["average"][0] == [average, energy]
    assert found["average"][2] == [average]
    assert found["usage"][:4] == [["power.usage", energy], [90_000, 1_090_000_000], ["power.usage"], [energy]]
    assert found["function"][:2] == [[instant, average, energy], [50_000, 50_000, 1_050_000_000]]
    assert found["power"][:4] == [[instant, average], [100_000, 100_000], [instant], []]
    assert found["energy"][:4] == [[energy], [1_100_000_000], [], [energy]]
    # The counter is of the GPU and the power of the module: they are not the same total.
    assert found["module"][:5] == [
        [instant, average, energy],
        [450_000, 450_000, 1_300_000_000],
        [instant],
        [],
        "machine",
    ]
    assert "GPU and CPU" in found["module"][5]
    assert found["both"][1][0] == 300_000
    assert found["both"][4] == "gpu"


def test_a_channel_that_fails_later(asked) -> None:
    found = asked("""
meter = opened("instant = ok 2:not_supported 3:garbage 4:zero 5:ok 8:gpu_lost\\naverage = ok 8:gpu_lost\\n"
               "energy = ok 6:no_permission 7:zero 8:gpu_lost\\nreturn.nvmlDeviceGetFieldValues = ok 9:unknown")
def values(seconds):
    at(seconds)
    return attempt(lambda: meter.read().values)
answer([values(seconds) for seconds in (1, 2, 3, 4, 5, 6, 7, 8, 9)])
""")
    powers, energies = [values[0] for values in found[:7]], [values[2] for values in found[:7]]
    assert powers == [100_000, None, None, None, 100_000, 100_000, 100_000]
    # After a reset a counter may well stand at 0: that is for the reader of the trace to see.
    assert energies == [1_100_000_000, 1_200_000_000, 1_300_000_000, 1_400_000_000, 1_500_000_000, None, 0]
    lost, unknown = found[7:]
    assert lost["error"] == unknown["error"] == "MeterError"
    assert lost["text"] == (
        f"NVIDIA RTX A5000 ({FIRST}) gives nothing now: power.instant: GPU is lost; power.average: GPU is lost; "
        "energy: GPU is lost"
    )
    assert "power.average: Unknown Error" in unknown["text"]


def test_one_gpu_is_named_by_its_uuid(asked) -> None:
    found = asked(f"""
two = "gpus = 2\\n1.name = NVIDIA T4\\n0.power = constant 50\\n1.power = constant 60\\n0.mig_uuid = MIG-aaaa"
blocked = two + "\\n0.return.nvmlDeviceGetHandleByIndex_v2 = no_permission"
def power(text, uuid=None):
    meter = opened(text, uuid)
    values = meter.read().values
    meter.close()
    return [values[0], meter.info.facts["uuid"], meter.info.facts["index"]]
answer({{
    "none": attempt(power, two),
    "first": power(two, "{FIRST}"),
    "second": power(two, "{SECOND}"),
    "beginning": power(two, "gpu-00000001"),
    "several": attempt(power, two, "GPU-0000"),
    "empty": attempt(power, two, ""),
    "short": attempt(power, "", "GPU-"),
    "unknown": attempt(power, two, "GPU-9\\x1b[31m"),
    "mig": attempt(power, two, "MIG-aaaa"),
    "no mig": attempt(power, two, "mig-bbbb"),
    "one left": power(blocked),
    "all blocked": attempt(power, "return.nvmlDeviceGetHandleByIndex_v2 = no_permission"),
    "no gpu": attempt(power, "gpus = 0", "{FIRST}"),
    "no count": attempt(power, "return.nvmlDeviceGetCount_v2 = gpu_lost"),
    "users": load_fake().fake_nvml_users(),
}})
""")
    there = f"0 NVIDIA RTX A5000 {FIRST}; 1 NVIDIA T4 {SECOND}"
    assert found["none"]["error"] == "InputError"
    assert found["none"]["text"] == (
        f"2 GPUs are here, one is measured: {there}; name it with --power-source nvml:UUID"
    )
    assert found["first"] == [50_000, FIRST, 0]
    assert found["second"] == found["beginning"] == found["one left"] == [60_000, SECOND, 1]
    assert found["several"]["text"] == f"2 GPUs have a UUID that begins with 'GPU-0000'; here are: {there}"
    for name in ("empty", "short", "unknown"):
        assert found[name]["error"] == "InputError"
        assert found[name]["text"].startswith("no GPU has a UUID that begins with ")
    assert "\x1b" not in found["unknown"]["text"]
    assert found["unknown"]["text"].endswith(there)
    assert found["mig"]["error"] == found["no mig"]["error"] == "InputError"
    assert found["mig"]["text"] == (
        "MIG-aaaa is a MIG instance, and power is measured of the whole GPU only; take that: "
        f"--power-source nvml:{FIRST}"
    )
    assert there in found["no mig"]["text"]
    assert found["all blocked"]["text"] == "NVML opens no GPU: GPU 0: Insufficient Permissions"
    assert "/dev/nvidiactl" in found["all blocked"]["way_out"]
    assert (found["no gpu"]["error"], found["no gpu"]["text"]) == ("NoMeterError", "NVML starts and sees no GPU")
    assert found["no count"]["text"] == "NVML does not count its GPUs: GPU is lost"
    assert "Xid" in found["no count"]["way_out"]
    assert found["users"] == 0


def test_each_reason_for_no_nvml_has_its_way_out(asked, tmp_path: Path) -> None:
    starts = asked("""
codes = ("driver_not_loaded", "version_mismatch", "no_permission", "unknown")
found = {code: attempt(opened, f"return.nvmlInitWithFlags = {code}") for code in codes}
import sys
sys.modules["pynvml"] = None
answer({**found, "no nvidia-ml-py": attempt(open_nvml)})
""")
    ways_out = {
        "driver_not_loaded": "modprobe nvidia",
        "version_mismatch": "restart the machine",
        "no_permission": "/dev/nvidiactl",
        "unknown": "nvidia-smi",
        "no nvidia-ml-py": "pip install 'espnet-edge[nvml]'",
    }
    for name, way_out in ways_out.items():
        assert starts[name]["error"] == "NoMeterError"
        assert way_out in starts[name]["way_out"], name
    assert starts["version_mismatch"]["text"].startswith("NVML does not start: ")
    # A file that is no library stands before any that the machine may have.
    (tmp_path / "libnvidia-ml.so.1").write_text("this is no library " * 10)
    absent = run(
        'first = attempt(open_nvml)\nsys.modules["pynvml"] = None\nanswer([first, attempt(open_nvml)])\n',
        {**environment("", tmp_path), "LD_LIBRARY_PATH": str(tmp_path)},
    )
    for found in absent:
        assert found["error"] == "NoMeterError"
        assert "install NVIDIA's driver" in found["way_out"]
    assert "libnvidia-ml.so.1 is not there" in absent[1]["text"]


def test_closing_gives_nvml_back_once(asked) -> None:
    found = asked("""
first, second = opened(""), opened("")
users = [load_fake().fake_nvml_users()]
first.close()
first.close()
users.append(load_fake().fake_nvml_users())
works = second.read().values[0]
failures = [attempt(first.read), attempt(first.read_conditions)]
second.close()
answer([users, works, failures, load_fake().fake_nvml_users()])
""")
    users, works, failures, left = found
    assert (users, works, left) == ([2, 1], 100_000, 0)
    assert all(failure["error"] == "MeterError" and "is closed" in failure["text"] for failure in failures)


def test_conditions(asked) -> None:
    found = asked("""
meter = opened("temperature = 40 2.5:71\\nsm_clock = 1695 2.5:1200\\nmemory_clock = 8001 2:405\\n"
               "throttle = 1 2.5:0x60\\npstate = 8 2:0 3:32\\nutilisation = 0 2:97 3:not_supported")
def conditions(seconds):
    at(seconds)
    return meter.read_conditions()
timed = [conditions(seconds) for seconds in (1, 2.5, 3)]
meter.close()
names = ("nvmlDeviceGetTemperature", "nvmlDeviceGetClockInfo", "nvmlDeviceGetCurrentClocksEventReasons",
         "nvmlDeviceGetCurrentClocksThrottleReasons", "nvmlDeviceGetPerformanceState", "nvmlDeviceGetUtilizationRates")
absent = opened("\\n".join(f"return.{name} = not_supported" for name in names))
answer([meter.info.condition_names, timed, absent.read_conditions()])
""")
    names, timed, absent = found
    assert names == [
        "temperature_c",
        "sm_clock_mhz",
        "memory_clock_mhz",
        "throttle_reasons",
        "performance_state",
        "utilisation_percent",
    ]
    assert timed[0] == [40, 1695, 8001, 1, 8, 0]
    assert timed[1] == [71, 1200, 405, 0x60, 0, 97]
    assert timed[2] == [71, 1200, 405, 0x60, None, None]
    assert absent == [None] * 6


def test_facts(asked) -> None:
    found = asked("""
full = opened("driver = 535.104.05\\ncuda_driver = 12020\\nmig = 1\\necc = 1\\nlimit_mw = 150000\\n"
              "enforced_limit_mw = 140000\\npersistence = 0\\ncompute_processes = 3\\ngraphics_processes = 2\\n"
              "capability = 9.0\\narchitecture = 9\\nname = NVIDIA H100 PCIe\\napplication_sm_clock = 1410")
first = [dict(full.info.facts), full.info.scope, [vars(c.sensor) for c in full.info.channels]]
full.close()
functions = ("nvmlSystemGetDriverVersion", "nvmlSystemGetCudaDriverVersion", "nvmlDeviceGetVbiosVersion",
    "nvmlDeviceGetCudaComputeCapability", "nvmlDeviceGetArchitecture", "nvmlDeviceGetPowerManagementLimit",
    "nvmlDeviceGetPowerManagementDefaultLimit", "nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetPersistenceMode",
    "nvmlDeviceGetApplicationsClock", "nvmlDeviceGetMaxClockInfo", "nvmlDeviceGetEccMode", "nvmlDeviceGetMigMode",
    "nvmlDeviceGetCurrPcieLinkGeneration", "nvmlDeviceGetCurrPcieLinkWidth", "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetComputeRunningProcesses_v2", "nvmlDeviceGetGraphicsRunningProcesses_v3",
    "nvmlDeviceGetGraphicsRunningProcesses_v2")
bare = opened("\\n".join(f"return.{function} = not_supported" for function in functions))
second = [dict(bare.info.facts), [vars(c.sensor) for c in bare.info.channels]]
bare.close()
other = opened("own_process = 1\\ncompute_processes = 2\\nmig = 0\\n"
               "return.nvmlDeviceGetCudaComputeCapability = not_supported")
names = ("architecture", "ecc", "mig", "persistence_mode", "other_processes")
answer([first, second, [other.info.facts[name] for name in names]])
""")
    (full, scope, sensors), (bare, bare_sensors), other = found
    assert full == {
        "name": "NVIDIA H100 PCIe",
        "uuid": FIRST,
        "index": 0,
        "architecture": "Hopper",
        "compute_capability": "9.0",
        "vbios": "94.02.6A.00.01",
        "driver": "535.104.05",
        "cuda_driver": "12.2",
        "power_limit_mw": 150_000,
        "default_power_limit_mw": 230_000,
        "enforced_power_limit_mw": 140_000,
        "persistence_mode": False,
        "application_sm_clock_mhz": 1410,
        "application_memory_clock_mhz": 8001,
        "max_sm_clock_mhz": 2100,
        "max_memory_clock_mhz": 8001,
        "ecc": True,
        "mig": True,
        "pcie_generation": 4,
        "pcie_width": 16,
        "other_processes": 3,  # two of them compute and draw
    }
    assert scope.endswith("all its MIG instances together")
    assert [(s["averaging_window_ns"], s["update_period_ns"]) for s in sensors] == [
        (25 * MS, 100 * MS),
        (1000 * MS, 100 * MS),
        (None, None),
    ]
    assert [s["gain_error"] for s in sensors] == [0.05] * 3
    assert {name for name, value in bare.items() if value is not None} == {"name", "uuid", "index"}
    assert all(s["averaging_window_ns"] is None for s in bare_sensors)
    assert other == ["Ampere", False, False, True, 1]


def test_old_drivers_lack_functions(asked) -> None:
    program = """
meter = opened("throttle = 4\\npower = constant 80\\ncapability = 7.0\\ndriver = 515.65\\ncompute_processes = 2")
at(3)
info = meter.info
answer([[c.name for c in info.channels], meter.read().values, meter.read_conditions()[3], info.facts["architecture"],
        info.facts["mig"], info.facts["other_processes"], info.channels[0].sensor.averaging_window_ns])
"""
    # The oldest nvidia-ml-py counts processes by the newest function alone.
    processes = 2 if hasattr(pynvml, "nvmlDeviceGetComputeRunningProcesses_v2") else None
    rest = [4, "Volta", None, processes, 10 * MS]
    assert asked(program, old_driver=520) == [["power.usage", "energy"], [80_000, 1_240_000_000], *rest]
    assert asked(program, old_driver=375) == [["power.usage"], [80_000], *rest]


RECORD = """
def recorded(text, until_s, every_s=0.01, channel="power.instant"):
    meter = opened(text)
    at_index = [c.name for c in meter.info.channels].index
    rows = []
    for i in range(1, round(until_s / every_s) + 1):
        at(i * every_s)
        reading = meter.read()
        rows.append([reading.time_ns, reading.values[at_index(channel)], reading.values[at_index("energy")]])
    meter.close()
    return rows
"""


def traces(rows: list[list[int]]) -> tuple[PowerTrace, CounterTrace]:
    time_ns, power_mw, energy_uj = np.array(rows, dtype=np.int64).T
    return PowerTrace(time_ns, power_mw), CounterTrace(time_ns, energy_uj)


def integral_j(name: str, start_s: float, end_s: float) -> float:
    """What the signals of the next test give, by hand."""

    def until(t: float) -> float:
        if name == "constant":
            return 123.4 * t
        if name == "step":
            return 40 * t + 160 * max(t - 5, 0)
        if name == "square":
            whole, rest = divmod(t, 0.4)
            return 50 * t + 100 * (whole * 0.1 + min(rest, 0.1))
        rising = min(max(t - 1, 0), 4)
        return 50 * t + 50 * rising**2 / 2 + 200 * max(t - 5, 0)

    return until(end_s) - until(start_s)


def test_energy_of_known_signals(asked) -> None:
    """Both estimators against joules in closed form, in virtual time."""
    signals = {
        "constant": "constant 123.4",
        "step": "step 40 200 5",
        "square": "square 50 150 0.4 0.25",
        "ramp": "ramp 50 250 1 5",
    }
    found = asked(
        RECORD
        + f"answer({{n: recorded('power = ' + s + '\\nenergy.phase = 0.03', 8.2) for n, s in {signals!r}.items()}})"
    )
    change_w = {"constant": 0, "step": 160, "square": 0, "ramp": 200}
    start_ns, end_ns = 800 * MS, 7_600 * MS
    for name, rows in found.items():
        power, counter = traces(rows)
        true_j = integral_j(name, 0.8, 7.6)
        # A reading is the mean of the 100 ms before it and stands for 100 ms: put back by these, readings tile time.
        # Straight lines between readings 10 ms apart then begin each change 5 ms early, on the average.
        assert energy_j(power.shifted(-100 * MS), start_ns, end_ns) == pytest.approx(
            true_j + 0.005 * change_w[name], abs=0.005
        )
        by_counter = counter_energy(counter, start_ns, end_ns)
        assert by_counter.ticks == 67
        # Ticks at 0.83, 0.93 ... are taken as the middle of the 10 ms before the reading that showed them.
        assert (by_counter.start_ns, by_counter.end_ns) == (825 * MS, 7_525 * MS)
        assert by_counter.energy_j == pytest.approx(integral_j(name, 0.83, 7.53), abs=0.0011)


def test_a_sensor_that_looks_part_of_the_time_misses_bursts(asked) -> None:
    """25 ms of every 100 ms against bursts of 50 ms: the phase alone decides what is read; the counter sees all."""
    bursts = "power = square 20 100 0.1 0.5\ninstant.window = 0.025\ninstant.phase = {}"
    found = asked(RECORD + f"answer([recorded({bursts!r}.format(phase), 3) for phase in (0.03, 0.09)])")
    for rows, read_w in zip(found, (100, 20), strict=True):
        power, counter = traces(rows)
        assert set(power.power_mw[50:]) == {read_w * 1000}
        by_counter = counter_energy(counter, 1_000 * MS, 3_000 * MS)
        assert by_counter.energy_j == pytest.approx(60e-9 * (by_counter.end_ns - by_counter.start_ns))


def test_gain_and_step_of_the_imitated_sensor(asked) -> None:
    rows = asked(RECORD + "answer(recorded('power = ramp 10 110 0 10\\ngain = 0.9\\nstep_mw = 400', 5))")
    power, counter = traces(rows)
    assert set(power.power_mw % 400) == {0}
    # The mean of 10 to 60 W times 0.9, over the last 100 ms to 5 s: 53.55 W, to the next step.
    assert power.power_mw[-1] == 53_600
    assert counter.energy_uj[-1] - 1e9 == 0.9 * 35 * 5 * 1e6


def test_an_average_over_a_second_lags(asked) -> None:
    rows = asked(RECORD + "answer(recorded('power = step 0.1 100 2', 4, 0.05, 'power.average'))")
    power, _ = traces(rows)
    at = {round(t / 1e6): p for t, p in zip(power.time_ns, power.power_mw, strict=True)}
    assert (at[2000], at[2050], at[2500], at[3000]) == (100, 100, 50_050, 100_000)


def test_counters_that_reset_jump_or_stand_still_are_refused(asked) -> None:
    reset, jump, still = asked(
        RECORD
        + """
answer([recorded("energy.reset_s = 2.05", 4), recorded("energy.jump_mj = 0 2:5e8", 4),
        recorded("energy.period = 1", 4)])
"""
    )
    with pytest.raises(ValueError, match="it was reset; measure again"):
        counter_energy(traces(reset)[1], 1_000 * MS, 3_000 * MS)
    assert counter_energy(traces(reset)[1], 2_200 * MS, 4_000 * MS).energy_j > 0
    with pytest.raises(ValueError, match="the counter jumped by 500010000000 uJ"):
        counter_energy(traces(jump)[1], 1_000 * MS, 3_000 * MS)
    with pytest.raises(ValueError, match=r"the counter moved 1 times in 0\.900 s, two ticks are needed"):
        counter_energy(traces(still)[1], 1_500 * MS, 2_400 * MS)


def test_real_time_and_the_load_of_the_process(asked) -> None:
    """What other tests build on: a process that computes draws more than one that waits."""
    idle_mw, busy_mw, us = asked("""
import time, timeit
pathlib.Path(os.environ["FAKE_NVML"]).write_text(
    "clock = real\\npower = process 30 90\\ninstant.window = 0.02\\ninstant.period = 0.02")
meter = open_nvml()
def mean_power_mw(work):
    readings, end = [], time.monotonic() + 0.3
    while time.monotonic() < end:
        work()
        readings.append(meter.read().values[0])
    return sum(readings[len(readings) // 3:]) / len(readings[len(readings) // 3:])
idle = mean_power_mw(lambda: time.sleep(0.005))
busy = mean_power_mw(lambda: sum(range(20_000)))
answer([idle, busy, min(timeit.repeat(meter.read, number=2000, repeat=5)) / 2000 * 1e6])
""")
    assert 30_000 <= idle_mw < 60_000
    assert busy_mw > idle_mw + 5_000
    print(f"one reading takes {us:.1f} us, {us * 100 / 1e6:.2%} of a core at 100 Hz, without what the driver takes")


@pytest.mark.parametrize(
    ("sensor", "architecture", "driver", "window_ms", "period_ms"),
    [
        ("instant", "Hopper", "550.54", 25, 100),
        ("instant", "Ampere GA100", "470.1", 25, 100),
        ("instant", "Ampere GA10x", "550.54", 100, 100),
        ("instant", "Ada", "550.54", 100, 100),
        ("instant", "Turing", "550.54", 100, 100),
        ("instant", "Volta", "550.54", 10, 20),
        ("instant", "Pascal", None, 10, 20),
        ("instant", "Maxwell", "550.54", None, None),
        ("instant", "Blackwell", "580.1", None, None),
        ("instant", None, "580.1", None, None),
        ("average", "Hopper", "550.54", 1000, 100),
        ("average", "Ampere GA100", "550.54", None, None),
        ("average", "Blackwell", "580.1", None, None),
        ("usage", "Ampere GA10x", "525.60", 1000, 100),
        ("usage", "Ampere GA10x", "530.30.02", 100, 100),
        ("usage", "Ada", "535.1", 1000, 100),
        ("usage", "Ada", None, None, None),
        ("usage", "Ada", "x.1", None, None),
        ("usage", "Ada", "9" * 5000, None, None),
        ("usage", "Hopper", "525.60", None, None),
        ("usage", "Hopper", "530.30", None, None),
        ("usage", "Hopper", "550.54", 1000, 100),
        ("usage", "Ampere GA100", "550.54", 25, 100),
        ("usage", "Turing", "470.1", 100, 100),
        ("usage", "Volta", "384.1", 10, 20),
    ],
)
def test_what_is_known_of_sensors(sensor, architecture, driver, window_ms, period_ms) -> None:
    facts = power_sensor_facts(sensor, architecture, driver)
    ms = [None if ns is None else ns / MS for ns in (facts.averaging_window_ns, facts.update_period_ns)]
    assert ms == [window_ms, period_ms]
    assert facts.gain_error == 0.05
    assert "arXiv 2312.02741" in facts.source
    assert ("not known" in facts.source) == (window_ms is None)


def test_architectures_and_the_counter() -> None:
    named = {
        capability: architecture_name(capability) for capability in [(8, 0), (8, 6), (8, 9), (9, 0), (7, 5), (12, 0)]
    }
    assert list(named.values()) == ["Ampere GA100", "Ampere GA10x", "Ada", "Hopper", "Turing", "Blackwell"]
    assert architecture_name((99, 0)) is None
    assert architecture_name(None) is None
    assert energy_sensor_facts().update_period_ns is None


def test_throttle_reasons() -> None:
    assert throttle_reason_names(0) == []
    assert throttle_reason_names(0x1 | 0x4 | 0x40) == ["gpu_idle", "sw_power_cap", "hw_thermal_slowdown"]
    assert throttle_reason_names(0x600 | 1 << 40) == ["board_limit", "reliability", "bit_40"]
    # Idle and what the user set are no throttling; all others are, also those that are not known.
    assert throttling_names(0x1 | 0x2 | 0x100) == []
    assert throttling_names(0xFFF) == [
        "sw_power_cap",
        "hw_slowdown",
        "sync_boost",
        "sw_thermal_slowdown",
        "hw_thermal_slowdown",
        "hw_power_brake_slowdown",
        "board_limit",
        "reliability",
        "bit_11",
    ]


def test_a_misspelt_key_of_the_imitated_library_is_noticed(asked) -> None:
    with pytest.raises(AssertionError, match="no such key: powr"):
        asked('answer(opened("1.powr = constant 5").read().values)')
