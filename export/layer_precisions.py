"""Whether an engine computes in the precision that was asked for, read from what its inspector says of the layers."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, cast, get_args

from ..errors import CheckError, InputError
from ..runtime.manifest import LayerPrecisions, Precision

# Layers that only move data say nothing of how the network computes.
_MOVERS = ("reformat", "noop", "shuffle", "constant", "signal", "wait", "reshape", "copy", "move")
# The words for types in "Format/Datatype" of TensorRT 8.5 to 11, those that contain others first:
# "Channel major FP16 format where channel % 8 == 0", "Half", "Half(64,1:8,...)", "Row major Int8 format".
_WORDS = {
    "bfloat16": "other",
    "bf16": "other",
    "fp8": "other",
    "fp4": "other",
    "uint8": "other",
    "int8": "int8",
    "fp16": "fp16",
    "half": "fp16",
    "fp32": "fp32",
    "float": "fp32",
}
_NARROWEST_FIRST = ("int8", "fp16", "fp32", "other")
# Where types bind, what is left in FP32 is the edges of the network; fewer layers than this in FP16 is no FP16 engine.
_LEAST_BOUND_SHARE = 0.5


def parse_precision(text: str) -> Precision:
    """ "fp16" -> "fp16".

    Raises:
        InputError: there is no such precision.
    """
    for known in get_args(Precision):
        if text == known:
            return cast("Precision", known)
    raise InputError(f"--precision {text!r} is unknown; there are {', '.join(get_args(Precision))}")


def layer_precisions(inspector_json: str) -> LayerPrecisions | None:
    """Count the computing layers of an engine by precision; None where the text does not go into that detail.

    A layer counts as the narrowest type that it reads, weights included.

    Args:
        inspector_json: of `EngineInspector.get_engine_information` in the format JSON, or trtexec's --exportLayerInfo.
    """
    try:
        layers = json.loads(inspector_json).get("Layers", [])
    except (json.JSONDecodeError, AttributeError):
        return None
    # Engines that were built without detailed profiling list names alone.
    detailed = [layer for layer in layers if isinstance(layer, dict)]
    computing = [layer for layer in detailed if not _moves_data(layer)]
    if not computing:
        return None
    counts = Counter(_precision(layer) for layer in computing)
    return LayerPrecisions(layers=len(computing), **{name: counts[name] for name in (*_NARROWEST_FIRST, "unknown")})


def check_layer_precisions(found: LayerPrecisions, asked: Precision, *, types_bind: bool) -> None:
    """Whether the engine is what was asked for.

    Args:
        found: from `layer_precisions`.
        asked: the precision of the ONNX file.
        types_bind: whether the builder had to keep the types of the file. Where it may choose, one layer suffices.

    Raises:
        CheckError: the engine computes in a wider type; the message holds the counts.
    """
    known = found.fp32 + found.fp16 + found.int8 + found.other
    narrow = {"fp32": known, "fp16": found.fp16 + found.int8, "int8": found.int8}[asked]
    least = known * _LEAST_BOUND_SHARE if asked == "fp16" and types_bind else 1
    if known and narrow < least:
        raise CheckError(
            f"{asked} was asked for, but of the engine's {found.layers} computing layers {found.fp32} are fp32, "
            f"{found.fp16} fp16, {found.int8} int8; nothing was written: export with --precision {asked}, or build on "
            "a GPU that has it"
        )


def _moves_data(layer: dict[str, Any]) -> bool:
    return any(word in str(layer.get("LayerType", "")).lower() for word in _MOVERS)


def _precision(layer: dict[str, Any]) -> str:
    found = {name for name in map(_type, _types_read(layer)) if name}
    return next((name for name in _NARROWEST_FIRST if name in found), "unknown")


def _types_read(layer: dict[str, Any]) -> Iterator[str]:
    for tensor in layer.get("Inputs") or []:
        yield str(tensor.get("Format/Datatype", ""))
    for key, value in layer.items():
        # "Weights", and "ConvWeights" in fused layers
        if key.endswith("Weights") and isinstance(value, dict):
            yield str(value.get("Type", ""))


def _type(text: str) -> str | None:
    return next((name for word, name in _WORDS.items() if word in text.lower()), None)
