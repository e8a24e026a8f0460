"""Writing files so that nothing is ever half there: a temporary file beside the target, then a rename."""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_READ_BYTES = 1 << 20
_STAGED = ".staged-"


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of the file's bytes, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data` in one step: a reader sees the old file or the new one, never a part.

    Raises:
        OSError: the folder cannot be written or the disk is full, or `path` is a folder or a device; what was there is
            then untouched.
    """
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "is no regular file", str(path))
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """`write_bytes` for UTF-8 text."""
    write_bytes(path, text.encode("utf-8"))


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A folder to write files and folders in; they move into `target` together when the block ends without an error.

    The files that they replace come back if the move itself fails, so `target` holds either all of the old
    files or all of the new ones. A folder replaces the whole of an old one. `target` is created if missing, and
    removed again if this call created it and nothing was written.

    Raises:
        OSError: `target` cannot be created or written, or the disk is full.
    """
    created = not target.exists()
    target.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(target)
    try:
        with tempfile.TemporaryDirectory(prefix=f"{_STAGED}{os.getpid()}-", dir=target) as name:
            staging = Path(name) / "new"
            staging.mkdir()
            yield staging
            _move_all(staging, target, Path(name) / "old")
    except BaseException:
        if created and target.is_dir() and not any(target.iterdir()):
            target.rmdir()
        raise


def available_memory_bytes() -> int | None:
    """Memory that programs can still have, as Linux estimates it; None where it cannot be read."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(found[0][1]) if found else None


def _remove_abandoned(target: Path) -> None:
    """Remove the staging folders of processes that were killed and could not do it themselves."""
    for folder in target.glob(f"{_STAGED}*-*"):
        pid = folder.name.removeprefix(_STAGED).partition("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _move_all(staging: Path, target: Path, backup: Path) -> None:
    backup.mkdir()
    replaces: dict[str, bool] = {}
    try:
        for file in sorted(staging.iterdir()):
            old = target / file.name
            if old.is_dir():
                # Folders cannot be replaced in one step. Noted before: from here on the old one is in `backup` alone.
                replaces[file.name] = True
                old.replace(backup / file.name)
            elif old.exists():
                # A copy, not a move: the old file stays in place until the new one replaces it.
                shutil.copy2(old, backup / file.name)
            replaces[file.name] = (backup / file.name).exists()
            file.replace(old)
    except BaseException:
        for name, replaced in replaces.items():
            if (backup / name).exists() or not replaced:
                _put_back(backup / name, target / name)
        raise


def _put_back(old: Path, path: Path) -> None:
    """Make `path` what it was before: `old`, or nothing where that is not there."""
    if path.is_dir():
        shutil.rmtree(path)
    if old.exists():
        old.replace(path)
    else:
        path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
