"""What a file is, told by its first bytes: an engine of TensorRT or TensorRT-RTX (a plan), an ONNX file, or another.

Nothing is deserialised and no library is loaded: an engine is native code, and reading it with TensorRT runs it.
`docs/doctor.md` says where each fact about the layouts comes from.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from ..errors import InputError
from .onnx_header import OnnxHeader, read_onnx_header

Version = tuple[int, ...]
TENSORRT, TENSORRT_RTX = "tensorrt", "tensorrt-rtx"
TITLES = {TENSORRT: "TensorRT", TENSORRT_RTX: "TensorRT-RTX"}

_HEADER_BYTES = 36
_MAX_GLUED_BYTES = 1 << 20  # of metadata in front of a plan
_TENSORRT_TAG, _OLD_TENSORRT_TAG, _RTX_TAG = b"ftrt", b"ptrt", b"vtrt"
# The number at byte 8 of plans from before 8.6, which do not hold the version itself.
_OLD_SERIALISATION_NUMBERS = {205: (8, 2), 213: (8, 4), 232: (8, 5)}
# What bit 0, 1, ... of the mask at byte 32 of a TensorRT-RTX plan stands for, in the versions that were measured. The
# bit after the last one is set in portable engines only, which NVIDIA documents as for these GPUs "and later".
_RTX_CAPABILITIES = {
    (1, 4): ("7.5", "8.0", "8.6", "8.9", "12.0"),
    **{(1, minor): ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1") for minor in (5, 6, 7)},
}
# The beginnings of files that are taken for engines by mistake: what they are, and the way out.
_OTHER_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "a gzip archive", "unpack it first: gunzip or tar -xzf"),
    (b"PK\x03\x04", "a zip archive, such as a PyTorch checkpoint", "unpack it, or export the checkpoint: --weights"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it first: unzstd"),
    (b"\xfd7zXZ\x00", "an xz archive", "unpack it first: unxz or tar -xJf"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "fetch the file: git lfs pull"),
    (b"\x89PNG", "a PNG picture", "give it to espnet-run --engine FILE.onnx"),
    (b"\xff\xd8\xff", "a JPEG picture", "give it to espnet-run --engine FILE.onnx"),
    (b"<!DOCTYPE", "a web page", "download the file again"),
    (b"<html", "a web page", "download the file again"),
    (b"<?xml", "an XML file, such as OpenVINO's", "give the ONNX file that it was made from"),
    (b"\x7fELF", "a program or library", "check the path"),
    (b"{", "a text in JSON, such as a manifest", "give the artefact itself, without .json"),
    *((b"\x80" + bytes([n]), "a Python pickle, such as torch2trt's", "export it anew") for n in range(2, 6)),
)


@dataclass(frozen=True)
class PlanHeader:
    """What a plan says of itself.

    `version`: of the builder, as far as the plan tells: four numbers, two of an old plan, or none.
    `stated_bytes`: its own size. `compute_capabilities`: GPUs that it was built for, such as "8.6"; None where the
    layout is not known. `and_later`: portable to newer ones, too.
    """

    builder: str
    version: Version = ()
    stated_bytes: int | None = None
    compute_capabilities: tuple[str, ...] | None = None
    and_later: bool = False


@dataclass(frozen=True)
class FileFacts:
    """What a file is. One of `plan` and `onnx` is set, or none: then `kind` says what else it is.

    `problem`: why it cannot be used as it is, and `way_out`; `damaged`: because bytes are missing or too many.
    """

    size_bytes: int
    kind: str
    plan: PlanHeader | None = None
    onnx: OnnxHeader | None = None
    problem: str | None = None
    way_out: str | None = None
    damaged: bool = False


def read_file_facts(path: Path) -> FileFacts:
    """What `path` is. Of a plan the first 36 bytes are read, of any other file at most a little more than 1 MiB.

    Raises:
        InputError: it is not a file, or cannot be read.
    """
    if path.is_dir():
        raise InputError(f"{path}: a folder; name the engine or ONNX file in it")
    if not path.is_file():
        raise InputError(f"{path}: no such file; make one with espnet-export, or check the path")
    try:
        with path.open("rb") as file:
            return _facts(file, path.stat().st_size)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check its permissions") from error


def version_text(version: Version) -> str:
    """(10, 3, 0, 26) -> "10.3.0.26"; "of unknown version" for none."""
    return ".".join(map(str, version)) if version else "of unknown version"


def parse_version(text: str) -> Version:
    """The leading numbers of a version: "10.3.0+x" -> (10, 3, 0)."""
    numbers = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits or len(digits) > 6:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)


def _facts(file: BinaryIO, size_bytes: int) -> FileFacts:
    head = file.read(_HEADER_BYTES)
    if not head:
        return FileFacts(
            size_bytes, "an empty file", problem="it is empty", way_out="copy or export it again", damaged=True
        )
    if head[:4] in _PLAN_READERS:
        return _plan_facts(head, size_bytes)
    file.seek(0)
    if (onnx := read_onnx_header(file, size_bytes)) is not None:
        whole = onnx.problem is None
        return FileFacts(
            size_bytes,
            "an ONNX file",
            onnx=onnx,
            problem=onnx.problem,
            way_out=None if whole else "copy or export it again",
            damaged=not whole,
        )
    return _glued_facts(file, head, size_bytes) or _other_facts(head, size_bytes)


def _plan_facts(head: bytes, size_bytes: int) -> FileFacts:
    plan = _PLAN_READERS[head[:4]](head)
    facts = FileFacts(size_bytes, f"an engine (plan) of {TITLES[plan.builder]}", plan=plan)
    if len(head) < _HEADER_BYTES:
        return _broken(facts, f"it is cut off: {size_bytes} bytes, the header alone has {_HEADER_BYTES}")
    if plan.stated_bytes is not None and size_bytes < plan.stated_bytes:
        return _broken(facts, f"it is cut off: {size_bytes} bytes, by its header it had {plan.stated_bytes}")
    if plan.stated_bytes is not None and size_bytes > plan.stated_bytes:
        return _broken(facts, f"something was added to it: {size_bytes} bytes, by its header {plan.stated_bytes}")
    return facts


def _broken(facts: FileFacts, problem: str) -> FileFacts:
    return replace(
        facts, problem=problem, way_out="copy it again from where it is whole, or build it again", damaged=True
    )


def _tensorrt_header(head: bytes) -> PlanHeader:
    """Serialisation version 0: the library's version in bytes 24 to 27. It may lie elsewhere in others."""
    known = len(head) >= 28 and head[4:8] == bytes(4)
    return PlanHeader(TENSORRT, version=tuple(head[24:28]) if known else ())


def _old_tensorrt_header(head: bytes) -> PlanHeader:
    number = struct.unpack_from("<I", head, 8)[0] if len(head) >= 12 else -1
    return PlanHeader(TENSORRT, version=_OLD_SERIALISATION_NUMBERS.get(number, ()))


def _rtx_header(head: bytes) -> PlanHeader:
    if len(head) < _HEADER_BYTES or head[28:32] != _RTX_TAG:
        return PlanHeader(TENSORRT_RTX)
    layout, size, *version, mask = struct.unpack_from("<QQ4B4xI", head, 8)
    if layout != 2:
        return PlanHeader(TENSORRT_RTX)
    names = _RTX_CAPABILITIES.get((version[0], version[1]))
    # A mask with other bits than those that were seen says something that this program does not understand.
    if names is None or not 0 < mask < 1 << (len(names) + 1):
        return PlanHeader(TENSORRT_RTX, tuple(version), size)
    named = tuple(name for bit, name in enumerate(names) if mask >> bit & 1)
    return PlanHeader(TENSORRT_RTX, tuple(version), size, named, and_later=bool(mask >> len(names)))


_PLAN_READERS: dict[bytes, Callable[[bytes], PlanHeader]] = {
    _TENSORRT_TAG: _tensorrt_header,
    _OLD_TENSORRT_TAG: _old_tensorrt_header,
    _RTX_TAG: _rtx_header,
}


def _glued_facts(file: BinaryIO, head: bytes, size_bytes: int) -> FileFacts | None:
    """Metadata in front of a plan, as Ultralytics writes it: its length in 4 bytes, JSON, the plan."""
    length = int.from_bytes(head[:4], "little")
    if head[4:5] != b"{" or not 2 <= length <= _MAX_GLUED_BYTES:
        return None
    start = 4 + length
    file.seek(start - 1)
    last, inner = file.read(1), file.read(_HEADER_BYTES)
    if last != b"}" or inner[:4] not in _PLAN_READERS:
        return None
    plan = _PLAN_READERS[inner[:4]](inner)
    return FileFacts(
        size_bytes,
        f"an engine of {TITLES[plan.builder]} behind {length} bytes of JSON, as Ultralytics writes it",
        plan=plan,
        problem="the JSON in front of the plan keeps TensorRT, trtexec and DeepStream from reading it",
        way_out=f"take it off, tail -c +{start + 1} FILE > PLAN, or export anew",
    )


def _other_facts(head: bytes, size_bytes: int) -> FileFacts:
    for beginning, kind, way_out in _OTHER_KINDS:
        if head.startswith(beginning):
            return FileFacts(size_bytes, kind, problem="it is neither an engine nor an ONNX file", way_out=way_out)
    return FileFacts(
        size_bytes,
        f"a file of a kind that is not known here (it begins with {head[:8].hex(' ')})",
        problem="it is neither an engine nor an ONNX file that is known here",
        way_out="check the path, or make one with espnet-export",
    )
