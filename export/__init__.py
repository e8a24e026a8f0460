"""How a network gets to a file: deploy rewrites, ONNX, parity proof, engines."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .job import ExportOptions, ExportResult, Progress, export

__all__ = ["ExportOptions", "ExportResult", "Progress", "export"]

__getattr__ = lazy_names(__name__, dict.fromkeys(__all__, ".job"))
