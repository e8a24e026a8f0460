"""How a network gets to a file: deploy rewrites, ONNX, parity proof, engines."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .build_options import BuildOptions
    from .engine_job import EngineOptions, EngineResult, build_engine
    from .job import ExportResult, export
    from .progress import Progress
    from .target import ExportOptions

__all__ = [
    "BuildOptions",
    "EngineOptions",
    "EngineResult",
    "ExportOptions",
    "ExportResult",
    "Progress",
    "build_engine",
    "export",
]

_MODULES = {
    ".build_options": ("BuildOptions",),
    ".engine_job": ("EngineOptions", "EngineResult", "build_engine"),
    ".job": ("ExportResult", "export"),
    ".progress": ("Progress",),
    ".target": ("ExportOptions",),
}

__getattr__ = lazy_names(__name__, {name: module for module, names in _MODULES.items() for name in names})
