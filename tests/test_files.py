"""Nothing is ever half written."""

import errno
import os
from pathlib import Path

import pytest

from espnet_edge.files import sha256_of, staged, write_bytes, write_text


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_write_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "one")
    write_bytes(path, b"two")
    assert contents(tmp_path) == {"a.txt": b"two"}
    assert sha256_of(path) == "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "x")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(path, b"new")
    assert contents(tmp_path) == {"a": b"old"}


def test_staged_files_appear_together(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with staged(target) as folder:
        (folder / "a").write_text("1")
        assert not (target / "a").exists()
        (folder / "b").write_text("2")
    assert contents(target) == {"a": b"1", "b": b"2"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_interruption_leaves_nothing(error: type[BaseException], tmp_path: Path) -> None:
    target = tmp_path / "new" / "out"
    with pytest.raises(error), staged(target) as folder:
        (folder / "a").write_text("1")
        raise error
    assert not target.exists()


def test_an_interruption_leaves_the_old_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(KeyboardInterrupt), staged(tmp_path) as folder:
        (folder / "a").write_text("new")
        raise KeyboardInterrupt
    assert contents(tmp_path) == {"a": b"old"}


def test_a_failing_move_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("old")
    replace = Path.replace

    def fail_at_c(self: Path, target: Path) -> Path:
        if self.name == "c" and self.parent.name == "new":
            full_disk()
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail_at_c)
    with pytest.raises(OSError, match="No space left"), staged(tmp_path) as folder:
        for name in ("a", "b", "c"):
            (folder / name).write_text("new")
    assert contents(tmp_path) == {"a": b"old"}


def test_folders_are_replaced_whole_and_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "old").write_text("old")
    replace = Path.replace

    def fail_at_c(self: Path, target: Path) -> Path:
        if self.name == "c" and self.parent.name == "new":
            full_disk()
        return replace(self, target)

    def put_new() -> None:
        with staged(tmp_path) as folder:
            for name in ("1", "2"):
                (folder / name).mkdir()
                (folder / name / "new").write_text("new")
            (folder / "c").write_text("c")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
        patched.setattr(Path, "replace", fail_at_c)
        put_new()
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["1", "1/old"]
    put_new()
    found = [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))]
    assert found == ["1", "1/new", "2", "2/new", "c"]
