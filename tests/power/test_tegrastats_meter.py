"""The meter that runs tegrastats, here a script of that name: it prints, stalls, dies, floods and will not end."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fake_tegrastats as lines
from espnet_edge.power.meter import Meter, MeterError, NoMeterError, Reading
from espnet_edge.power.tegrastats_meter import TegrastatsLimits, TegrastatsMeter, open_tegrastats

QUICK = TegrastatsLimits(first_line_s=5.0, stall_s=5.0, end_s=5.0)
PATIENCE_S = 10.0  # for a loaded machine; nothing waits that long where all is well
FOREVER = "exec sleep 60"

Open = Callable[..., TegrastatsMeter]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Has nothing but the program, and what its script calls."""
    (tmp_path / "bin").mkdir()
    for name in ("sleep", "cat", "id"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    return tmp_path


@pytest.fixture
def open_script(folder: Path) -> Iterator[Open]:
    """open_script(body, ...): the meter that is opened on a shell script with that body."""
    meters = []

    def run(body: str, *, limits: TegrastatsLimits = QUICK, **options) -> TegrastatsMeter:
        write_script(folder, body)
        meters.append(meter := open_tegrastats(environ={"PATH": str(folder / "bin")}, limits=limits, **options))
        return meter

    threads = threading.active_count()
    yield run
    for meter in meters:
        meter.close()
    assert threading.active_count() == threads
    assert [pid for pid in pids(folder) if is_alive(pid)] == []


def write_script(folder: Path, body: str) -> None:
    """The script notes its process id, and its arguments."""
    program = folder / "bin" / "tegrastats"
    program.write_text(f'#!/bin/sh\necho $$ >> {folder}/pids\necho "$@" $LC_ALL > {folder}/called\n{body}\n')
    program.chmod(0o755)


def pids(folder: Path) -> list[int]:
    return list(map(int, (folder / "pids").read_text().split())) if (folder / "pids").exists() else []


def is_alive(pid: int) -> bool:
    """Zombies count."""
    return Path(f"/proc/{pid}").exists()


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


def next_reading(meter: Meter) -> Reading:
    found: list[Reading] = []
    wait_for(lambda: found.extend(reading for reading in [meter.read()] if reading) or found)
    return found[0]


def error_of(meter: Meter) -> str:
    """What `read` raises once there is nothing more to read."""
    texts: list[str] = []

    def fails() -> bool:
        try:
            meter.read()
        except MeterError as error:
            texts.append(str(error))
        return bool(texts)

    wait_for(fails)
    return texts[0]


def say(*texts: str) -> str:
    """Shell commands that print lines."""
    return "\n".join(f"cat <<'END'\n{text}\nEND" for text in texts)


def tx2(mw: int, average_mw: int | None = None) -> str:
    return lines.TX2.replace("VDD_IN 3056/3056", f"VDD_IN {mw}/{mw if average_mw is None else average_mw}")


def test_a_meter_of_a_tx2(open_script, folder) -> None:
    meter = open_script(f"{say(lines.TX2)}\n{FOREVER}", model="quill", interval_ms=50, clock=lambda: 12345)
    info = meter.info
    assert (info.source, info.device, info.sees) == ("tegrastats", "Jetson TX2", "machine")
    assert info.power_total == ("VDD_IN",)
    assert (info.energy_total, info.no_total_reason) == ((), None)
    assert "without the carrier board" in info.scope
    assert [channel.name for channel in info.channels] == [
        *("VDD_SYS_GPU", "VDD_SYS_SOC", "VDD_4V0_WIFI", "VDD_IN", "VDD_SYS_CPU", "VDD_SYS_DDR")
    ]
    assert {channel.quantity for channel in info.channels} == {"power_mw"}
    assert [channel.sensor.step_mw for channel in info.channels] == [77, 77, 19, 38, 77, 19]
    assert {channel.sensor.update_period_ns for channel in info.channels} == {50_000_000}
    assert {channel.sensor.gain_error for channel in info.channels} == {0.015}
    assert info.condition_names == ("temperature_c", "gpu_clock_mhz", "emc_clock_mhz", "cpu_clock_mhz")
    assert info.facts["program"] == str(folder / "bin" / "tegrastats")
    assert meter.read() == Reading(12345, (152, 687, 0, 3056, 152, 883))
    assert meter.read_conditions() == (37.5, 624, 1600, 345)
    assert meter.read() is None
    assert (folder / "called").read_text().split() == ["--interval", "50", "C"]


def test_a_sum_and_a_rail_that_is_there_twice(open_script) -> None:
    meter = open_script(f"{say(lines.AGX_ORIN_AS_ROOT)}\n{FOREVER}")
    assert meter.info.device == "Jetson AGX Orin"
    assert meter.info.power_total == ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")
    assert [channel.name for channel in meter.info.channels] == [*meter.info.power_total, "VDDQ_VDD2_1V8AO"]
    assert meter.read().values == (2399, 400, 4032, 301)
    assert meter.new_rails == ()


def test_a_total_that_is_there_twice_is_none(open_script) -> None:
    meter = open_script(f"{say(lines.TX2 + ' VDD_IN 5/5')}\n{FOREVER}")
    assert (meter.info.power_total, len(meter.info.channels)) == ((), 5)
    assert "VDD_IN is there twice" in meter.info.no_total_reason


def test_the_whole_board_of_thor_as_a_user(open_script) -> None:
    meter = open_script(f"{say(lines.THOR_AS_USER)}\n{FOREVER}", model="NVIDIA Jetson AGX Thor Developer Kit")
    assert meter.info.power_total == ("VIN",)
    assert meter.info.scope.startswith("the whole board")
    assert meter.read().values == (-392, 3924, 5064, 15004)
    gains = {channel.name: channel.sensor.gain_error for channel in meter.info.channels}
    assert gains == {"VDD_GPU": 0.015, "VDD_CPU_SOC_MSS": 0.015, "VIN_SYS_5V0": 0.015, "VIN": None}
    assert (meter.info.condition_names, meter.read_conditions()) == (("temperature_c", "cpu_clock_mhz"), (31.218, 972))


def test_rails_without_a_total_are_read_one_by_one(open_script) -> None:
    meter = open_script(f"{say(lines.THOR)}\n{FOREVER}")
    assert meter.info.power_total == ()
    assert "VIN is not there" in meter.info.no_total_reason
    assert meter.read().values == (4925, 8710, 6767)
    other = open_script(f"{say(lines.TX2)}\n{FOREVER}", model="NVIDIA Jetson AGX Orin Developer Kit")
    assert (other.info.power_total, other.info.device) == ((), "Jetson AGX Orin")
    assert "is no rail of the Jetson AGX Orin" in other.info.no_total_reason


def test_each_line_is_one_reading_stamped_when_it_arrived(open_script, folder) -> None:
    steps = "\n".join(
        f"{say(tx2(mw))}\nwhile [ ! -e {folder}/go{mw} ]; do sleep 0.005; done" for mw in (1000, 1100, 1200)
    )
    meter = open_script(steps)
    before = time.monotonic_ns()
    found = []
    for mw in (1000, 1100, 1200):
        found.append(next_reading(meter))
        assert meter.read() is None
        (folder / f"go{mw}").touch()
    assert [reading.values[3] for reading in found] == [1000, 1100, 1200]
    times = [reading.time_ns for reading in found]
    assert times == sorted(set(times))
    assert times[1] > before
    assert times[-1] < time.monotonic_ns()


def test_only_the_newest_line_is_read(open_script) -> None:
    meter = open_script(f"{say(*(tx2(mw) for mw in range(1000, 1100)))}\n{FOREVER}")
    wait_for(lambda: next_reading(meter).values[3] == 1099)
    assert meter.read() is None


def test_a_line_in_pieces_is_put_together(open_script) -> None:
    at = len(lines.TX2) - 30
    pieces = f"printf '%s' '{lines.TX2[:40]}'\nsleep 0.02\nprintf '%s' '{lines.TX2[40:at]}'\nsleep 0.02\n"
    meter = open_script(f"{pieces}printf '%s\\n' '{lines.TX2[at:]}'\n{FOREVER}")
    assert meter.read().values == (152, 687, 0, 3056, 152, 883)


def test_what_has_no_end_is_no_line(open_script, folder) -> None:
    """The last number of a form without units could go on."""
    go = f"while [ ! -e {folder}/go ]; do sleep 0.005; done"
    meter = open_script(f"{say(tx2(1000))}\nprintf '%s' '{tx2(2000)}'\n{go}\nprintf '99\\n'\n{FOREVER}")
    assert meter.read().values == (152, 687, 0, 1000, 152, 883)
    time.sleep(0.03)
    assert meter.read() is None
    (folder / "go").touch()
    assert next_reading(meter).values[3] == 2000


def test_lines_that_are_not_of_tegrastats_are_passed_over(open_script) -> None:
    noise = "echo hello\necho 'VDD_IN 5/5' >&2\nprintf '\\377\\376\\n'\n"
    meter = open_script(f"{noise}{say(tx2(1000))}\n{noise}{say(tx2(1100, 1050))}\n{noise}{FOREVER}")
    wait_for(lambda: next_reading(meter).values[3] == 1100)
    assert meter.lost_lines == 0


def test_a_rail_that_vanishes_is_none_and_a_new_one_is_noted(open_script, folder) -> None:
    go = f"while [ ! -e {folder}/go ]; do sleep 0.005; done"
    other = lines.TX2.replace("VDD_IN 3056/3056 ", "").replace("VDD_SYS_GPU 152/152", "VDD_NEW 5/5 NC 0/0")
    meter = open_script(f"{say(lines.TX2)}\n{go}\n{say(other)}\n{FOREVER}")
    assert next_reading(meter).values == (152, 687, 0, 3056, 152, 883)
    assert meter.new_rails == ()
    info = meter.info
    (folder / "go").touch()
    assert next_reading(meter).values == (None, 687, 0, None, 152, 883)
    assert meter.new_rails == ("VDD_NEW",)
    assert meter.info == info


def test_a_switch_to_another_form_gives_none_for_all(open_script, folder) -> None:
    go = f"while [ ! -e {folder}/go ]; do sleep 0.005; done"
    meter = open_script(f"{say(lines.TX2)}\n{go}\n{say(lines.TX2_NX, lines.TX2_NX)}\n{FOREVER}")
    next_reading(meter)
    (folder / "go").touch()
    assert next_reading(meter).values == (None,) * 6
    assert meter.read_conditions() == (50.5, None, None, 345)


def test_a_power_that_no_board_draws_is_none(open_script, folder) -> None:
    go = f"while [ ! -e {folder}/go ]; do sleep 0.005; done"
    meter = open_script(f"{say(tx2(1000))}\n{go}\n{say(tx2(1_000_001))}\n{FOREVER}")
    next_reading(meter)
    (folder / "go").touch()
    assert next_reading(meter).values == (152, 687, 0, None, 152, 883)


def test_lost_lines_are_counted_by_the_averages(open_script) -> None:
    powers = [1000, 4000, 1000, 9000, 1000, 9000, 1000, 2600]
    log = [tx2(mw, sum(powers[: n + 1]) // (n + 1)) for n, mw in enumerate(powers)]
    whole = open_script(f"{say(*log)}\n{FOREVER}")
    wait_for(lambda: next_reading(whole).values[3] == 2600)
    assert whole.lost_lines == 0
    cut = open_script(f"{say(log[0], *log[2:5], *log[6:])}\n{FOREVER}")
    wait_for(lambda: next_reading(cut).values[3] == 2600)
    assert cut.lost_lines == 2


def test_a_program_that_dies_is_started_again_once(open_script, folder) -> None:
    meter = open_script(f"{say(tx2(1000), tx2(2000, 1500))}\nsleep 0.02\necho out of luck >&2\nexit 7")
    text = error_of(meter)
    assert text == (
        "tegrastats ended with exit code 7 (out of luck), after it was started again because it ended with exit code 7 "
        "(out of luck)"
    )
    assert (meter.restarts, len(pids(folder))) == (1, 2)
    assert meter.lost_lines == 0  # averages begin anew
    with pytest.raises(MeterError, match="exit code 7"):
        meter.read()


def test_readings_go_on_after_a_restart(open_script, folder) -> None:
    body = f"if [ -e {folder}/again ]; then\n{say(tx2(2000))}\n{FOREVER}\nfi\n: > {folder}/again\n{say(tx2(1000))}"
    meter = open_script(body)
    seen = set()
    wait_for(lambda: seen.add(next_reading(meter).values[3]) or 2000 in seen)
    assert meter.restarts == 1
    assert meter.read() is None


def test_a_program_that_is_killed(open_script, folder) -> None:
    meter = open_script(f"{say(lines.TX2)}\n{FOREVER}")
    for killed in (1, 2):
        wait_for(lambda: len(pids(folder)) == killed)  # noqa: B023
        os.kill(pids(folder)[-1], 9)
    assert "tegrastats was ended by SIGKILL, after it was started again because it was ended by SIGKILL" in error_of(
        meter
    )


def test_a_program_that_stalls_is_started_again_once(open_script, folder) -> None:
    limits = TegrastatsLimits(first_line_s=5.0, stall_s=0.1, end_s=0.05)
    meter = open_script(f"{say(lines.TX2)}\n{FOREVER}", limits=limits)
    meter.read()
    assert meter.read() is None  # without waiting
    assert "printed no line for 0.1 s, after it was started again because it printed no line" in error_of(meter)
    assert (meter.restarts, len(pids(folder))) == (1, 2)


def test_garbage_is_no_sign_of_life(open_script) -> None:
    limits = TegrastatsLimits(first_line_s=5.0, stall_s=0.1, end_s=0.05)
    meter = open_script(f"{say(lines.TX2)}\nwhile :; do echo garbage; sleep 0.02; done", limits=limits)
    assert "printed no line for 0.1 s (garbage)" in error_of(meter)


def test_a_flood_without_lines_fills_no_memory(open_script) -> None:
    import tracemalloc

    limits = TegrastatsLimits(first_line_s=5.0, stall_s=0.3, end_s=0.05)
    piece = "x" * 20_000
    tracemalloc.start()
    try:
        meter = open_script(f"{say(tx2(1000))}\nwhile :; do printf '%s' {piece}; done", limits=limits)
        assert "printed no line for 0.3 s" in error_of(meter)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def test_a_line_that_is_too_long_is_passed_over_to_its_end(open_script, folder) -> None:
    """Its last piece looks like a line of its own."""
    pieces = f"printf '%s' '{'x' * 10_000}'\nsleep 0.02\n" * 3
    go = f": > {folder}/sent\nwhile [ ! -e {folder}/go ]; do sleep 0.005; done"
    meter = open_script(f"{say(tx2(1000))}\n{pieces}printf '%s\\n' '{tx2(2000)}'\n{go}\n{say(tx2(3000))}\n{FOREVER}")
    assert next_reading(meter).values[3] == 1000
    wait_for((folder / "sent").exists)
    time.sleep(0.03)
    assert meter.read() is None
    (folder / "go").touch()
    assert next_reading(meter).values[3] == 3000


def test_names_of_rails_fill_no_memory(open_script) -> None:
    meter = open_script(f"{say(tx2(1000), *(f'{lines.TX2} R{n} 1/1' for n in range(300)), tx2(2000))}\n{FOREVER}")
    wait_for(lambda: next_reading(meter).values[3] == 2000)
    assert 50 < len(meter.new_rails) <= 100


def test_a_program_that_ignores_sigterm_is_killed(open_script, folder) -> None:
    limits = TegrastatsLimits(first_line_s=5.0, stall_s=5.0, end_s=0.05)
    meter = open_script(f"trap '' TERM INT HUP\n{say(lines.TX2)}\nwhile :; do sleep 0.02; done", limits=limits)
    meter.close()
    assert not is_alive(pids(folder)[0])


def test_a_program_that_ends_by_itself_is_given_the_time(open_script, folder) -> None:
    end = f"trap ': > {folder}/ended; exit 0' TERM"
    meter = open_script(f"{end}\n{say(lines.TX2)}\nwhile :; do sleep 0.01; done")
    meter.close()
    assert (folder / "ended").exists()


def test_ctrl_c_does_not_reach_the_program(open_script, folder) -> None:
    open_script(f"{say(lines.TX2)}\n{FOREVER}")
    assert os.getsid(pids(folder)[0]) != os.getsid(0)


def test_a_closed_meter(open_script, folder) -> None:
    meter = open_script(f"{say(lines.TX2)}\n{FOREVER}")
    meter.read()
    meter.close()
    meter.close()
    with pytest.raises(MeterError, match="tegrastats is closed"):
        meter.read()
    assert not is_alive(pids(folder)[0])
    assert meter.restarts == 0


def test_a_process_that_keeps_the_pipe_open_does_not_keep_us(open_script, folder) -> None:
    meter = open_script(f"sleep 2 &\n{say(lines.TX2)}\n{FOREVER}")
    start = time.monotonic()
    meter.close()
    assert time.monotonic() - start < 1.5


def refused(open_script, body: str, **options) -> tuple[str, str]:
    with pytest.raises(NoMeterError) as caught:
        open_script(body, **options)
    assert "\n" not in caught.value.answer + caught.value.way_out
    return caught.value.answer, caught.value.way_out


@pytest.mark.skipif(Path("/usr/bin/tegrastats").exists(), reason="it is a Jetson")
def test_no_program() -> None:
    with pytest.raises(NoMeterError) as caught:
        open_tegrastats(environ={"PATH": "/nowhere"})
    assert caught.value.answer == "tegrastats is neither on PATH nor in /usr/bin"
    assert caught.value.way_out


def test_a_program_that_cannot_be_started(folder) -> None:
    (folder / "bin" / "tegrastats").write_bytes(b"\x7fELF no program")
    (folder / "bin" / "tegrastats").chmod(0o755)
    with pytest.raises(NoMeterError, match="tegrastats cannot be started: Exec format error"):
        open_tegrastats(environ={"PATH": str(folder / "bin")})


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (
            "echo tegrastats: run it as root >&2\nexit 1",
            "tegrastats ended with exit code 1 (tegrastats: run it as root)",
        ),
        ("exit 0", "tegrastats ended with exit code 0"),
        ("printf '\\033[2J\\n'\nexit 3", "tegrastats ended with exit code 3 (\\x1b[2J)"),
        ("kill -9 $$", "tegrastats was ended by SIGKILL"),
        ("exec >&- 2>&-\nsleep 5", "tegrastats closed its output"),
    ],
)
def test_a_program_that_ends_at_once_is_not_started_again(body, answer, open_script, folder) -> None:
    limits = TegrastatsLimits(first_line_s=5.0, stall_s=5.0, end_s=0.05 if "sleep" in body else 5.0)
    found, way_out = refused(open_script, body, limits=limits)
    assert found == answer
    assert way_out == f"see what it says: {folder}/bin/tegrastats --interval 100"
    assert len(pids(folder)) == 1


def test_what_a_program_says_is_repeated_in_bounds(open_script) -> None:
    answer = refused(open_script, f"echo {'long ' * 600}\nexit 1")[0]
    assert answer.startswith("tegrastats ended with exit code 1 (long long")
    assert len(answer) < 300


def test_a_program_that_says_nothing(open_script) -> None:
    limits = TegrastatsLimits(first_line_s=0.1, stall_s=5.0, end_s=0.05)
    assert refused(open_script, FOREVER, limits=limits)[0] == "tegrastats printed no line for 0.1 s"
    noise = "while :; do echo nothing; sleep 0.02; done"
    assert refused(open_script, noise, limits=limits)[0] == "tegrastats printed no line for 0.1 s (nothing)"


@pytest.mark.parametrize("text", [lines.TX2_NX, lines.TK1, lines.TX2_NX + " NC 5/5"])
def test_lines_without_rails_are_no_meter(text, open_script) -> None:
    answer, way_out = refused(open_script, f"{say(text)}\n{FOREVER}", limits=TegrastatsLimits(5.0, 0.1, 0.05))
    assert answer == "tegrastats prints no power rails"
    assert "run as root, which AGX Orin with Jetson Linux 35 needs; TX2 NX" in way_out


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (lines.TX2_NX + " VDD_IN 0/0 VDD_SOC 0/0", "tegrastats prints 0 mW for every rail"),
        (lines.TX2_NX + " VDD_IN 0/0 VDD_SOC 5/5", "tegrastats prints 0 mW or less for VDD_IN"),
        (lines.TX2_NX + " VDD_IN -5/0 VDD_SOC 5/5", "tegrastats prints 0 mW or less for VDD_IN"),
        (
            lines.TX2_NX + " VDD_IN 0/0 VDD_SOC 9999999/0",
            "tegrastats prints 9999999 mW for VDD_SOC, more than any board",
        ),
        (lines.TX2_NX + " VDD_IN 5/0 VDD_SOC -9999999/0", "tegrastats prints -9999999 mW for VDD_SOC, more than"),
    ],
)
def test_powers_that_cannot_be_are_no_meter(text, answer, open_script) -> None:
    forever = "\nsleep 0.03\n".join([say(text)] * 4)
    assert answer in refused(open_script, f"{forever}\n{FOREVER}")[0]


def test_the_first_lines_may_be_without_power(open_script) -> None:
    bad = lines.TX2_NX + " VDD_IN 0/0"
    meter = open_script(f"{say(bad)}\nsleep 0.05\n{say(lines.TX2)}\n{FOREVER}")
    assert len(meter.info.channels) == 6


def test_as_root_only(open_script) -> None:
    """AGX Orin with Jetson Linux 35 as a user, and as root."""
    user = lines.AGX_ORIN_AS_ROOT.split(" VDD_GPU_SOC")[0]
    body = f"if [ $(id -u) = 0 ]; then\n{say(lines.AGX_ORIN_AS_ROOT)}\nelse\n{say(user)}\nfi\n{FOREVER}"
    limits = TegrastatsLimits(first_line_s=5.0, stall_s=0.1, end_s=0.05)
    if os.getuid() == 0:
        assert open_script(body).info.device == "Jetson AGX Orin"
        body = body.replace("= 0", "= 1")
    assert refused(open_script, body, limits=limits)[0] == "tegrastats prints no power rails"


@pytest.mark.parametrize("interval_ms", [0, -5])
def test_an_interval_has_a_length(interval_ms) -> None:
    with pytest.raises(ValueError, match=f"an interval of {interval_ms} ms: 1 ms or longer is needed"):
        open_tegrastats(interval_ms=interval_ms)


def test_no_shell_reads_what_we_are_given(folder) -> None:
    """A folder with a name that a shell would run."""
    odd = folder / "a; touch hacked $(touch hacked) `touch hacked`"
    odd.mkdir()
    write_script(folder, f"{say(lines.TX2)}\n{FOREVER}")
    (folder / "bin" / "tegrastats").rename(odd / "tegrastats")
    meter = open_tegrastats(environ={"PATH": f"{odd}{os.pathsep}{folder}/bin"}, limits=QUICK)
    meter.close()
    assert not Path("hacked").exists()
    assert meter.info.facts["program"] == str(odd / "tegrastats")
