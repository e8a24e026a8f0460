"""What every command shares: one-line errors, exit codes, a console that is plain when it is not a terminal."""

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import typer
from rich.console import Console

from .errors import EspnetEdgeError, InputError, UnavailableError, one_line

INTERRUPTED = 130  # 128 + SIGINT, as shells report it
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_interrupted = threading.Event()

_WAYS_OUT = {
    errno.ENOSPC: "free some space or choose another disk",
    errno.EDQUOT: "free some space or choose another disk",
    errno.EACCES: "check its permissions or choose another path",
    errno.EPERM: "check its permissions or choose another path",
    errno.EROFS: "the file system is read-only: choose another path",
    errno.ENOENT: "check the path",
    errno.EEXIST: "a file is in the way: choose another name",
    errno.ENOTDIR: "a file is in the way: choose another name",
    errno.EFBIG: "a limit on file sizes is in the way: raise it (ulimit -f) or choose another disk",
}


def console() -> Console:
    """Console for progress, warnings and notes on standard error; plain text where that is no terminal."""
    return Console(stderr=True, soft_wrap=True, highlight=False)


def new_app() -> typer.Typer:
    """A typer application of one command whose help is readable in a pipe, too."""
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def run(app: typer.Typer, program: str) -> None:
    """Run `app` as the command `program` and exit with its code: see `errors`, 130 when interrupted."""
    _interrupted.clear()
    with _handled_by(_raise_interrupt):
        sys.exit(_exit_code_of(lambda: app(standalone_mode=False, prog_name=program), program))


def stop_if_interrupted() -> None:
    """Raise KeyboardInterrupt if Ctrl-C was pressed, also where a library swallowed the exception at the time."""
    if _interrupted.is_set():
        raise KeyboardInterrupt


@contextmanager
def interrupts_deferred() -> Iterator[threading.Event]:
    """Hold Ctrl-C back until the block ends: for native code that calls Python, where an exception would be garbled.

    Gives the event that is set when it is pressed, for code that can end its work early.
    """
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return
    with _handled_by(lambda _signal, _frame: pressed.set()):
        yield pressed
    if pressed.is_set():
        raise KeyboardInterrupt


@contextmanager
def libraries_of_extra(extra: str, program: str) -> Iterator[None]:
    """Turn a failing import in the block into the advice to install `extra`.

    Raises:
        UnavailableError: a library that is not ours is missing.
    """
    try:
        yield
    except ImportError as error:
        if (error.name or "").startswith("espnet_edge"):
            raise  # a fault of ours, not a missing library
        raise UnavailableError(
            f"{program} needs {error.name}, which is not installed: pip install 'espnet-edge[{extra}]'"
        ) from error


def check_output_file(option: str, path: Path, taken: Iterable[Path]) -> None:
    """Find out before the work whether a result can be written to `path`, and that it replaces none of `taken`.

    Raises:
        InputError: `path` is a folder or a device, its folder is not there or not writable, or it is one of `taken`.
    """
    folder = path.absolute().parent
    if path.name == "-" or (path.exists() and not path.is_dir() and not path.is_file()):
        raise InputError(f"{option} {path}: results are written to files, and replace what was there; name a file")
    if path.is_dir() or not folder.is_dir():
        raise InputError(f"{option} {path}: name a file in a folder that is there")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{option} {path}: its folder cannot be written; choose another")
    if path.resolve() in {other.resolve() for other in taken}:
        raise InputError(f"{option} {path}: would replace a file of this command; choose another name")


def _raise_interrupt(_signal: int, _frame: FrameType | None) -> None:
    _interrupted.set()
    raise KeyboardInterrupt


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    earlier = [(number, signal.signal(number, handler)) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, old in earlier:
            signal.signal(number, old)


def _exit_code_of(call: Callable[[], Any], program: str) -> int:
    try:
        result = call()
        # Here and not at the interpreter's exit, where a full disk or closed pipe could not be reported any more.
        sys.stdout.flush()
        if result == INTERRUPTED:  # typer turns Ctrl-C into this exit code
            raise KeyboardInterrupt
    except (BrokenPipeError, SystemExit):
        # The reader of our output went away (`| head`), which typer turns into an exit: no error of ours.
        _discard_stdout()
        return 0
    except (EspnetEdgeError, typer.TyperException, typer.Abort, KeyboardInterrupt, OSError) as error:
        message, exit_code = _explained(error, program)
        _discard_stdout_if_broken()
        print(f"{program}: {one_line(message)}", file=sys.stderr)
        return exit_code
    return result if isinstance(result, int) else 0


def _explained(error: BaseException, program: str) -> tuple[str, int]:
    """The line that the user reads, and the exit code."""
    if isinstance(error, EspnetEdgeError):
        return str(error), error.exit_code
    if isinstance(error, typer.TyperException):
        return f"{error.format_message()} (see {program} --help)", 2
    if isinstance(error, OSError):
        where = error.filename2 or error.filename or "output"
        way_out = _WAYS_OUT.get(error.errno or 0, "check the path and the disk")
        return f"{where}: {error.strerror or error}; {way_out}", 2
    return "interrupted; no file is half written", INTERRUPTED


def _discard_stdout_if_broken() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        _discard_stdout()


def _discard_stdout() -> None:
    """Send what is left in the buffer nowhere, so that Python does not complain about it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
