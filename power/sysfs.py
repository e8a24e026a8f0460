"""Files of sysfs and procfs: small, made anew for each reading, and now and then unreadable."""

import errno
import os
import re
from pathlib import Path

from ..errors import one_line

# An attribute is one page at most (kernel Documentation/filesystems/sysfs.rst).
MAX_BYTES = 4096
_NUMBER = re.compile(rb"[+-]?[0-9]{1,18}")
_MAX_SHOWN = 40  # characters of a file's content in a message
_DENIED = (errno.EACCES, errno.EPERM)


class UnreadableError(Exception):
    """A file that cannot be read, or does not hold what it should; the text says why, without the path.

    Attributes:
        denied: whether the right to read it is what is missing.
    """

    def __init__(self, reason: str, denied: bool = False) -> None:
        super().__init__(reason)
        self.denied = denied


class Attribute:
    """A file that stays open between readings.

    It is opened at the first reading, and again after an error: a driver that was loaded anew has new files. Each
    reading starts at offset 0, which makes the kernel ask the driver again (Documentation/filesystems/sysfs.rst).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None

    def data(self) -> bytes:
        """All bytes.

        Raises:
            UnreadableError: there is no such file, it cannot be read now, or it is longer than `MAX_BYTES`.
        """
        try:
            data = os.pread(self._opened(), MAX_BYTES + 1, 0)
        except OSError as error:
            self.close()
            raise UnreadableError(error.strerror or str(error), denied=error.errno in _DENIED) from error
        if len(data) > MAX_BYTES:
            raise UnreadableError(f"it is longer than {MAX_BYTES} bytes")
        return data

    def text(self) -> str:
        """One line of printable text, white space and the zero byte of device trees taken off.

        Raises:
            UnreadableError: see `data`, or it is not text.
        """
        try:
            return one_line(self.data().rstrip(b"\0").decode("utf-8"))
        except UnicodeDecodeError as error:
            raise UnreadableError("it is not text") from error

    def number(self) -> int:
        """A whole number in decimal digits.

        Raises:
            UnreadableError: see `data`, or it is not a number of at most 18 digits.
        """
        data = self.data().strip()
        if _NUMBER.fullmatch(data) is None:
            shown = one_line(data[:_MAX_SHOWN].decode("ascii", errors="backslashreplace"))
            raise UnreadableError(f"it holds {shown!r}, not a number")
        return int(data)

    def number_or_none(self) -> int | None:
        """The number; None where it cannot be read."""
        try:
            return self.number()
        except UnreadableError:
            return None

    def close(self) -> None:
        """Give the file back; may be called twice."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _opened(self) -> int:
        if self._handle is None:
            # Not blocking, so that a pipe in the place of a file stops nobody.
            self._handle = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        return self._handle


def text(path: Path) -> str | None:
    """The text of a file that is read once; None where it cannot be read, or is empty."""
    attribute = Attribute(path)
    try:
        return attribute.text() or None
    except UnreadableError:
        return None
    finally:
        attribute.close()


def number(path: Path) -> int | None:
    """The number in a file that is read once; None where it cannot be read."""
    attribute = Attribute(path)
    try:
        return attribute.number_or_none()
    finally:
        attribute.close()


def first_page(path: Path) -> str:
    """The first `MAX_BYTES` of a file that may be longer, as text with its lines; "" where it cannot be read."""
    try:
        with path.open("rb", buffering=0) as file:
            return (file.read(MAX_BYTES) or b"").decode("utf-8", errors="replace")
    except OSError:
        return ""


def numbered(folder: Path, pattern: str) -> list[Path]:
    """What matches in `folder`, in the order of the numbers in the names: hwmon2 before hwmon10."""
    return sorted(folder.glob(pattern), key=lambda path: [int(part) for part in re.findall(r"\d+", path.name)])
