"""The errors that a user can cause or must be told about, each with the exit code of the commands.

A message is one line: what is wrong, both values, the way out.
"""


def one_line(text: object) -> str:
    """`text` as one line that does nothing to a terminal: what is not printable (escape sequences, marks that turn
    the direction of writing) is written as its code.
    """
    line = " ".join(str(text).split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


class EspnetEdgeError(Exception):
    """Base of every error that a command reports as one line instead of a traceback."""

    exit_code = 1


class InputError(EspnetEdgeError):
    """What the user gave is wrong: a name, a size, a file. Exit code 2."""

    exit_code = 2


class UnavailableError(EspnetEdgeError):
    """The hardware or library that was asked for is not there; the message says what was probed. Exit code 3."""

    exit_code = 3


class PartialResultError(EspnetEdgeError):
    """Ctrl-C ended a measurement whose results so far were kept. Exit code 130, as shells report an interrupt."""

    exit_code = 130


class CheckError(EspnetEdgeError):
    """A check failed: parity, checksum, gate. Exit code 4."""

    exit_code = 4
