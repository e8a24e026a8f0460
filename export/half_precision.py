"""A float32 ONNX file as float16: the types stand in the graph itself, its inputs and outputs stay as they are.

Since TensorRT 11 precision is what the ONNX file says, no longer a flag of the builder; older versions read the same
file. What loses in float16 and costs little stays in float32: see `_KEPT_OPERATORS`, `_before_the_network` and
`_after_the_network`. Nothing is clamped: an operator with a constant that float16 cannot hold stays in float32, too.
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np
import onnx
from onnx import numpy_helper

from ..errors import CheckError
from .precision_report import HalfPrecisionReport

LARGEST_FLOAT16 = float(np.finfo(np.float16).max)
_FLOAT32, _FLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16

_KEPT_OPERATORS = {
    "Cast": "changes types itself",
    "DequantizeLinear": "float32 by definition in opset 17",
    "Exp": "grows beyond float16",
    "GlobalAveragePool": "sums over a whole map",
    "QuantizeLinear": "float32 by definition in opset 17",
    "Softmax": "sums over all classes",
}
_INT8 = "multiplies int8"
_BEFORE = "normalises pixels"
_AFTER = "makes answers and states of the last products"
_TOO_LARGE = "has a constant beyond float16"

# Pixels to the network's input: small differences of numbers up to 255.
_BEFORE_OPERATORS = frozenset(["Cast", "Mul", "Sub", "Transpose"])
# What may lie between the last product and an output: boxes in pixels, probabilities, states that are fed back.
_AFTER_OPERATORS = frozenset(
    [
        *("Add", "Cast", "Concat", "Exp", "Flatten", "Mul", "Reshape", "Sigmoid", "Slice", "Softmax", "Sub", "Tanh"),
        *("TopK", "Transpose", "Unsqueeze"),
    ]
)
# Inputs that ONNX defines as float32 whatever the type of the tensor: region and factors of a resize.
_ALWAYS_FLOAT32 = {"Resize": (1, 2)}


def half_precision(model: onnx.ModelProto) -> tuple[onnx.ModelProto, HalfPrecisionReport]:
    """A copy of `model` that computes in float16 between unchanged inputs and outputs.

    Args:
        model: a float32 file; operators in it that multiply int8 stay as they are.

    Raises:
        CheckError: a constant is infinite or not a number.
        RuntimeError: the result fails ONNX's own checks.
    """
    half = onnx.ModelProto()
    half.CopyFrom(model)
    _make_norms_affine(half.graph)
    floats = _float_tensors(half)
    kept = _kept(half.graph, floats)
    _Retyping(half.graph, floats, kept).run()
    del half.graph.value_info[:]
    # Strict inference is what the checker's full check would do once more.
    half = onnx.shape_inference.infer_shapes(half, check_type=True, strict_mode=True)
    onnx.checker.check_model(half)
    # Only what computes is counted: not the integers of shapes, nor the casts.
    computing = {node.name: _computes(node, floats) for node in model.graph.node}
    reasons = Counter(reason for name, reason in kept.items() if computing[name])
    return half, HalfPrecisionReport(
        float16_operators=sum(computing.values()) - reasons.total(), float32_operators=dict(sorted(reasons.items()))
    )


def _computes(node: onnx.NodeProto, floats: set[str]) -> bool:
    return node.op_type != "Cast" and any(name in floats for name in (*node.input, *node.output))


def _float_tensors(model: onnx.ModelProto) -> set[str]:
    """The names of all float32 tensors, constants among them."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.output, *graph.value_info)
    return {value.name for value in values if value.type.tensor_type.elem_type == _FLOAT32} | {
        tensor.name for tensor in graph.initializer if tensor.data_type == _FLOAT32
    }


def _make_norms_affine(graph: onnx.GraphProto) -> None:
    """Batch norms as factor and term, composed in float64: published variances go down to 1e-45, 0 in float16."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "BatchNormalization":
            continue
        weight, bias, mean, variance = (
            numpy_helper.to_array(constants[name]).astype(np.float64) for name in node.input[1:]
        )
        epsilon = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)
        factor = weight / np.sqrt(variance + epsilon)
        affine = {
            "factor": factor,
            "term": bias - mean * factor,
            "zero_mean": np.zeros_like(mean),
            "unit_variance": np.ones_like(variance),
        }
        tensors = [numpy_helper.from_array(v.astype(np.float32), f"{node.name}.{key}") for key, v in affine.items()]
        graph.initializer.extend(tensors)
        inputs = [node.input[0], *(tensor.name for tensor in tensors)]
        node.CopyFrom(onnx.helper.make_node("BatchNormalization", inputs, node.output, node.name, epsilon=0.0))


def _kept(graph: onnx.GraphProto, floats: set[str]) -> dict[str, str]:
    """The names of the operators that stay in float32, each with its reason."""
    kept = {node.name: _KEPT_OPERATORS[node.op_type] for node in graph.node if node.op_type in _KEPT_OPERATORS}
    dequantised = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    int8 = {node.name: _INT8 for node in graph.node if dequantised.intersection(node.input)}
    too_large = _too_large(graph, floats)
    large = {node.name: _TOO_LARGE for node in graph.node if too_large.intersection(node.input)}
    before = dict.fromkeys(_before_the_network(graph), _BEFORE)
    after = dict.fromkeys(_after_the_network(graph, floats), _AFTER)
    return {**large, **after, **before, **kept, **int8}


def _too_large(graph: onnx.GraphProto, floats: set[str]) -> set[str]:
    found = set()
    for tensor in graph.initializer:
        if tensor.name not in floats:
            continue
        values = numpy_helper.to_array(tensor)
        if not np.isfinite(values).all():
            raise CheckError(f"{tensor.name}: a weight is not a finite number; export a checkpoint whose training held")
        if values.size and np.abs(values).max() > LARGEST_FLOAT16:
            found.add(tensor.name)
    return found


def _before_the_network(graph: onnx.GraphProto) -> Iterable[str]:
    """The operators that only see the inputs and constants, up to the first that is more than arithmetic on pixels."""
    constants = {tensor.name for tensor in graph.initializer}
    reached = {value.name for value in graph.input}
    for node in graph.node:
        variable = [name for name in node.input if name and name not in constants]
        if node.op_type in _BEFORE_OPERATORS and variable and reached.issuperset(variable):
            reached.update(node.output)
            yield node.name


def _after_the_network(graph: onnx.GraphProto, floats: set[str]) -> Iterable[str]:
    """The operators between the last products and the float outputs."""
    wanted = {value.name for value in graph.output} & floats
    for node in reversed(graph.node):
        if node.op_type in _AFTER_OPERATORS and wanted.intersection(node.output):
            wanted.update(node.input)
            yield node.name


class _Retyping:
    """Rewrites a graph in place: types of constants, and a Cast wherever float16 meets float32."""

    def __init__(self, graph: onnx.GraphProto, floats: set[str], kept: Iterable[str]) -> None:
        self._graph = graph
        self._floats = floats
        self._kept = frozenset(kept)
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._outputs = {value.name for value in graph.output}
        self._types: dict[str, int] = {value.name: _FLOAT32 for value in graph.input if value.name in floats}
        self._nodes: list[onnx.NodeProto] = []
        self._new_constants: dict[str, onnx.TensorProto] = {}
        self._casts: set[str] = set()

    def run(self) -> None:
        """Rewrite."""
        for node in self._graph.node:
            self._write(node, _FLOAT32 if node.name in self._kept else _FLOAT16)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        others = [tensor for tensor in self._constants.values() if tensor.name not in self._floats]
        ordered = sorted([*others, *self._new_constants.values()], key=lambda tensor: tensor.name)
        del self._graph.initializer[:]
        self._graph.initializer.extend(ordered)

    def _write(self, node: onnx.NodeProto, wanted: int) -> None:
        node = _copy(node)
        for position, name in enumerate(node.input):
            if name in self._floats:
                fixed = position in _ALWAYS_FLOAT32.get(node.op_type, ())
                node.input[position] = self._as(name, _FLOAT32 if fixed else wanted)
        self._nodes.append(node)
        for position, name in enumerate(node.output):
            if name not in self._floats:
                continue
            self._types[name] = wanted
            if wanted == _FLOAT16 and name in self._outputs:
                node.output[position] = f"{name}.float16"
                self._cast(node.output[position], name, _FLOAT32)
                self._types[name] = _FLOAT32

    def _as(self, name: str, wanted: int) -> str:
        """The tensor `name` in the type `wanted`: a new name where it must be converted."""
        if name in self._constants:
            return self._constant(name, wanted)
        if self._types[name] == wanted:
            return name
        suffixed = f"{name}.{'float16' if wanted == _FLOAT16 else 'float32'}"
        if suffixed not in self._casts:
            self._cast(name, suffixed, wanted)
        return suffixed

    def _constant(self, name: str, wanted: int) -> str:
        suffixed = f"{name}.float16" if wanted == _FLOAT16 else name
        if suffixed not in self._new_constants:
            values = numpy_helper.to_array(self._constants[name])
            typed = values.astype(np.float16) if wanted == _FLOAT16 else values
            self._new_constants[suffixed] = numpy_helper.from_array(typed, suffixed)
        return suffixed

    def _cast(self, name: str, to_name: str, wanted: int) -> None:
        self._casts.add(to_name)
        self._nodes.append(onnx.helper.make_node("Cast", [name], [to_name], f"cast_to_{to_name}", to=wanted))


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    copied = onnx.NodeProto()
    copied.CopyFrom(node)
    return copied
