"""The outline of an ONNX file, read from its top-level fields; the graph itself is skipped, not parsed."""

from dataclasses import dataclass
from typing import BinaryIO

# Fields of ModelProto, onnx/onnx.proto.
_IR_VERSION, _PRODUCER_NAME, _GRAPH, _OPSET_IMPORT = 1, 2, 7, 8
_VARINT, _BYTES = 0, 2  # protobuf's wire types of these fields
_WIRE_TYPES = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
_MAX_FIELDS = 10_000
_MAX_VARINT_BYTES = 10
_MAX_TEXT_BYTES = 256
_NEWEST_IR_VERSION = 100  # 13 in 2026


@dataclass(frozen=True)
class OnnxHeader:
    """What an ONNX file says of itself. `problem`: why it is not whole, None where every field ends in the file."""

    ir_version: int
    opset: int | None
    producer: str
    problem: str | None


class _NotOnnxError(Exception):
    """The bytes are not those of a ModelProto."""


class _CutError(Exception):
    """The file ends inside a field."""


def read_onnx_header(file: BinaryIO, size_bytes: int) -> OnnxHeader | None:
    """The outline of `file`, or None if it is no ONNX file.

    Args:
        file: positioned at its beginning.
        size_bytes: where it ends.
    """
    found: dict[int, int | bytes] = {}
    problem = None
    try:
        for _ in range(_MAX_FIELDS):
            if file.tell() >= size_bytes:
                break
            number, value = _read_field(file, size_bytes, first=not found)
            if number != _OPSET_IMPORT or _opset(found.get(number)) is None:  # other domains have an entry, too
                found[number] = value
    except _CutError:
        problem = f"it is cut off: at byte {size_bytes}, its last one, a field goes on"
    except _NotOnnxError:
        if _GRAPH not in found:
            return None
        problem = "after its graph there is something that is not ONNX"
    ir_version = found.get(_IR_VERSION)
    if not isinstance(ir_version, int) or len(found) < 2:
        return None
    if problem is None and _GRAPH not in found:
        problem = "it is cut off: it ends before its graph"
    return OnnxHeader(ir_version, _opset(found.get(_OPSET_IMPORT)), _text(found.get(_PRODUCER_NAME)), problem)


def _read_field(file: BinaryIO, size_bytes: int, *, first: bool) -> tuple[int, int | bytes]:
    """Number and value of the next field; of a long value the first bytes."""
    tag = _read_varint(file)
    number, wire_type = tag >> 3, tag & 7
    if _WIRE_TYPES.get(number) != wire_type or (first and number != _IR_VERSION):
        raise _NotOnnxError
    value = _read_varint(file)
    if wire_type == _VARINT:
        if number == _IR_VERSION and not 1 <= value <= _NEWEST_IR_VERSION:
            raise _NotOnnxError
        return number, value
    end = file.tell() + value
    text = file.read(min(value, _MAX_TEXT_BYTES))
    if end > size_bytes:
        raise _CutError
    file.seek(end)
    return number, text


def _read_varint(file: BinaryIO) -> int:
    value = 0
    for i in range(_MAX_VARINT_BYTES):
        byte = file.read(1)
        if not byte:
            raise _CutError
        value |= (byte[0] & 0x7F) << (7 * i)
        if byte[0] < 0x80:
            return value
    raise _NotOnnxError


def _opset(entry: int | bytes | None) -> int | None:
    """The version in an OperatorSetIdProto (domain: field 1, version: field 2), if it is of the default domain."""
    if not isinstance(entry, bytes):
        return None
    if entry[:2] == b"\x0a\x00":
        entry = entry[2:]
    if len(entry) == 2 and entry[0] == (2 << 3 | _VARINT) and entry[1] < 0x80:
        return entry[1]
    return None


def _text(value: int | bytes | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else ""
