"""Protocol buffers' text format, written without the library: what Triton reads as `config.pbtxt`."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias, Union


class Symbol(str):
    """The name of an enumeration's value, which stands without quotes."""

    __slots__ = ()


Value: TypeAlias = Union[str, int, bool, Symbol, "Message", Sequence["Value"]]
# Fields in the order in which they are written. A list is a repeated field, a mapping a message.
Message: TypeAlias = Mapping[str, Value]

_ESCAPES = {ord("\\"): "\\\\", ord('"'): '\\"', ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}


def as_text(message: Message, indent: str = "") -> str:
    """`message` as text: one field to a line, messages in braces, numbers of a repeated field in brackets.

    Raises:
        ValueError: a number that is not an integer; none of our fields is one.
    """
    return "".join(_field(name, value, indent) for name, value in message.items())


def _field(name: str, value: Value, indent: str) -> str:
    if isinstance(value, Mapping):
        inside = as_text(value, indent + "  ")
        return f"{indent}{name} {{\n{inside}{indent}}}\n" if inside else f"{indent}{name} {{ }}\n"
    if isinstance(value, str | int):
        return f"{indent}{name}: {_scalar(value)}\n"
    if not isinstance(value, Sequence):
        raise ValueError(f"{name}: {value!r} cannot be written")
    if all(isinstance(item, int) for item in value):
        return f"{indent}{name}: [{', '.join(_scalar(item) for item in value if isinstance(item, int))}]\n"
    return "".join(_field(name, item, indent) for item in value)


def _scalar(value: str | int) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Symbol | int):
        return str(value)
    return f'"{"".join(map(_character, value.encode("utf-8")))}"'


def _character(byte: int) -> str:
    """A byte of a text; what is not printable ASCII in octal, with all three digits."""
    if byte in _ESCAPES:
        return _ESCAPES[byte]
    return chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}"
