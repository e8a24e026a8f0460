"""What every command shares: one-line errors, exit codes, a console that is plain when it is not a terminal."""

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import typer
from rich.console import Console

from .errors import EspnetEdgeError

INTERRUPTED = 130  # 128 + SIGINT, as shells report it
_interrupted = threading.Event()


def console() -> Console:
    """Console for progress, warnings and notes on standard error; plain text where that is no terminal."""
    return Console(stderr=True, soft_wrap=True, highlight=False)


def new_app() -> typer.Typer:
    """A typer application of one command whose help is readable in a pipe, too."""
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def run(app: typer.Typer, program: str) -> None:
    """Run `app` as the command `program` and exit with its code: see `errors`, 130 when interrupted."""
    _interrupted.clear()
    earlier = signal.signal(signal.SIGINT, _on_interrupt)
    try:
        sys.exit(_exit_code_of(lambda: app(standalone_mode=False, prog_name=program), program))
    finally:
        signal.signal(signal.SIGINT, earlier)


def stop_if_interrupted() -> None:
    """Raise KeyboardInterrupt if Ctrl-C was pressed, also where a library swallowed the exception at the time."""
    if _interrupted.is_set():
        raise KeyboardInterrupt


def _on_interrupt(_signal: int, _frame: FrameType | None) -> None:
    _interrupted.set()
    raise KeyboardInterrupt


def _exit_code_of(call: Callable[[], Any], program: str) -> int:
    try:
        result = call()
        if result == INTERRUPTED:  # typer turns Ctrl-C into this exit code
            raise KeyboardInterrupt
    except BrokenPipeError:
        # The reader of our output went away (`| head`): not an error, but Python must not complain at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (EspnetEdgeError, typer.TyperException, typer.Abort, KeyboardInterrupt, OSError) as error:
        message, exit_code = _explained(error, program)
        print(f"{program}: {' '.join(message.split())}", file=sys.stderr)
        return exit_code
    return result if isinstance(result, int) else 0


def _explained(error: BaseException, program: str) -> tuple[str, int]:
    """The line that the user reads, and the exit code."""
    if isinstance(error, EspnetEdgeError):
        return str(error), error.exit_code
    if isinstance(error, typer.TyperException):
        return f"{error.format_message()} (see {program} --help)", 2
    if isinstance(error, OSError):
        return _os_error_line(error), 2
    return "interrupted; earlier files are as they were", INTERRUPTED


def _os_error_line(error: OSError) -> str:
    where = error.filename2 or error.filename or "a file"
    way_out = {
        errno.ENOSPC: "free some space or choose another --out",
        errno.EDQUOT: "free some space or choose another --out",
        errno.EACCES: "choose a folder that you may write to, or change its permissions",
        errno.EPERM: "choose a folder that you may write to, or change its permissions",
        errno.EROFS: "the file system is read-only: choose another folder",
        errno.ENOENT: "check the path",
        errno.EEXIST: "a file is in the way: choose another name",
        errno.ENOTDIR: "a file is in the way: choose another name",
        errno.EFBIG: "a limit on file sizes is in the way: raise it (ulimit -f) or choose another --out",
    }.get(error.errno or 0, "check the path and the disk")
    return f"{where}: {error.strerror or error}; {way_out}"
