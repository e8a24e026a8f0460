"""What every command does when its output goes nowhere, or it is stopped."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from espnet_edge.commands import check_output_file, interrupts_deferred
from espnet_edge.errors import InputError

# A command that prints a lot, then leaves a file to show that it came to its end.
PROGRAM = """
import sys, typer
from pathlib import Path
from espnet_edge.commands import new_app, run
app = new_app()
@app.command()
def main(lines: int, raises: str = "") -> None:
    for i in range(lines):
        print("line", i)
    if raises:
        raise OSError(int(raises), "as asked", "some/file")
run(app, "demo")
"""


def shell(line: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "P": PROGRAM}
    command = line.replace("DEMO", f'{sys.executable} -c "$P"')
    # The shell of the test, not of the product: pipes are what is tested.
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize("lines", [1, 100_000])
@pytest.mark.parametrize("unbuffered", ["", "PYTHONUNBUFFERED=1"])
def test_a_reader_that_goes_away_is_no_error(lines: int, unbuffered: str) -> None:
    done = shell(f"{unbuffered} DEMO {lines} | true; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_behind_standard_output_is_one() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    done = shell("DEMO 3 > /dev/full")
    assert (done.returncode, done.stderr) == (
        2,
        "demo: output: No space left on device; free some space or choose another disk\n",
    )


def test_system_errors_are_one_line() -> None:
    done = shell(f"DEMO 1 --raises {errno.EACCES}")
    assert (done.returncode, done.stdout) == (2, "line 0\n")
    assert done.stderr == "demo: some/file: as asked; check its permissions or choose another path\n"


def test_interrupts_wait_for_native_code() -> None:
    finished = False
    with pytest.raises(KeyboardInterrupt), interrupts_deferred():
        signal.raise_signal(signal.SIGINT)
        finished = True
    assert finished
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interrupts_are_left_alone_in_other_threads() -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with interrupts_deferred():
                pass
        except BaseException as error:  # noqa: BLE001  Whatever it is, it must reach the test.
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not errors


def test_output_files_are_checked_before_the_work(tmp_path: Path) -> None:
    check_output_file("--json", tmp_path / "new.json", [])
    for path, taken, words in (
        (tmp_path, [], "name a file"),
        (tmp_path / "nowhere" / "x.json", [], "name a file"),
        (tmp_path / "a.onnx", [tmp_path / "b" / ".." / "a.onnx"], "would replace"),
    ):
        with pytest.raises(InputError, match=f"--json .*{words}"):
            check_output_file("--json", path, taken)
