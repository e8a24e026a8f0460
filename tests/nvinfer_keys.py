"""The keys of nvinfer's configuration that we write, with the values that it takes.

Source: the DeepStream 9.2 developer guide, "Gst-nvinfer", tables of the groups [property] and [class-attrs-...]; the
ranges are those that src/gst-plugins/gst-nvinfer/gstnvinfer_property_parser.cpp of github.com/NVIDIA/DeepStream checks.
"""

from collections.abc import Callable


def _numbers(text: str, of: type, count: int) -> bool:
    parts = text.split(";")
    return len(parts) == count and all(isinstance(of(part), of) for part in parts)


def _whole(*allowed: int) -> Callable[[str], bool]:
    return lambda text: int(text) in allowed


def _file(text: str) -> bool:
    return bool(text) and "/" not in text  # beside the configuration


PROPERTY: dict[str, Callable[[str], bool]] = {
    "gie-unique-id": lambda text: int(text) > 0,
    "process-mode": _whole(1, 2),
    "onnx-file": _file,
    "model-engine-file": _file,
    "labelfile-path": _file,
    "network-mode": _whole(0, 1, 2, 3),
    "strongly-typed": _whole(0, 1),
    "batch-size": lambda text: 1 <= int(text) <= 1024,
    "infer-dims": lambda text: _numbers(text, int, 3),
    "network-input-order": _whole(0, 1),
    "model-color-format": _whole(0, 1, 2),
    "net-scale-factor": lambda text: float(text) > 0,
    "offsets": lambda text: _numbers(text, float, 3),
    "maintain-aspect-ratio": _whole(0, 1),
    "scaling-filter": _whole(0, 1, 2, 3, 4, 5, 6),
    "network-type": _whole(0, 1, 2, 3, 100),
    "output-blob-names": bool,
    "output-tensor-meta": _whole(0, 1),
    "num-detected-classes": lambda text: int(text) > 0,
    "segmentation-threshold": lambda text: float(text) >= 0,
    "segmentation-output-order": _whole(0, 1),
    "classifier-threshold": lambda text: float(text) >= 0,
}
