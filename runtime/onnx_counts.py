"""What an ONNX file holds, counted: nodes by type, bytes of its weights, bytes of the maps between its nodes."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, UnavailableError, one_line

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class OnnxCounts:
    """Counts of one file, as `result.Breakdown` defines them. `activations_bytes`: None where a shape is not known."""

    operators: Mapping[str, int]
    weights_bytes: int
    activations_bytes: int | None


def onnx_counts(path: Path, batch: int) -> OnnxCounts:
    """Count the nodes, the weights and the maps of `path`; a free batch is `batch`.

    Raises:
        UnavailableError: the package onnx is not installed.
        InputError: the file is broken, or has no nodes.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError as error:
        raise UnavailableError(
            f"{path}: its nodes are counted by the package onnx, which is not here ({error}): pip install onnx"
        ) from error
    try:
        # Weights in files beside it are not needed: their shapes stand in this one.
        model = onnx.load(path, load_external_data=False)
        shaped = _with_shapes(model, batch)
    except (DecodeError, onnx.shape_inference.InferenceError, OSError) as error:
        raise InputError(f"{path}: onnx cannot read it ({one_line(error)}); export it again") from error
    if not model.graph.node:
        raise InputError(f"{path}: it has no nodes; export it again")
    operators = Counter(node.op_type for node in model.graph.node)
    return OnnxCounts(dict(operators.most_common()), _weights_bytes(model.graph), _activations_bytes(shaped.graph))


def _with_shapes(model: "onnx.ModelProto", batch: int) -> "onnx.ModelProto":
    """A copy with the shape of every map, where it can be inferred, at one batch size."""
    import onnx

    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    # The shapes in the file are those of a free batch.
    del fixed.graph.value_info[:]
    for tensor in (*fixed.graph.input, *fixed.graph.output):
        for size in tensor.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_value = batch
    return onnx.shape_inference.infer_shapes(fixed, data_prop=True)


def _weights_bytes(graph: "onnx.GraphProto") -> int:
    constants = [
        attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    ]
    return sum(_size_bytes(tensor.data_type, tensor.dims) for tensor in (*graph.initializer, *constants))


def _activations_bytes(graph: "onnx.GraphProto") -> int | None:
    import onnx

    if any(attribute.type == onnx.AttributeProto.GRAPH for node in graph.node for attribute in node.attribute):
        return None  # how often a loop or a branch moves its maps is not known
    readers = Counter(name for node in graph.node for name in set(node.input))
    shapes = {tensor.name: tensor.type.tensor_type for tensor in (*graph.value_info, *graph.output)}
    moved = 0
    for name in (name for node in graph.node if node.op_type != "Constant" for name in node.output):
        if not readers[name]:
            continue
        found = shapes.get(name)
        if found is None or not found.HasField("shape") or not all(d.HasField("dim_value") for d in found.shape.dim):
            return None
        moved += (1 + readers[name]) * _size_bytes(found.elem_type, [size.dim_value for size in found.shape.dim])
    return moved


def _size_bytes(elem_type: int, shape: Iterable[int]) -> int:
    import onnx

    return prod(shape) * int(onnx.helper.tensor_dtype_to_np_dtype(elem_type).itemsize)
