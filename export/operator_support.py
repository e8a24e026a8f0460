"""What the ONNX parser of each TensorRT takes: operators, opsets and forms, so that a file is refused here by name.

From the support matrices and sources of the parsers' releases 8.5, 8.6, 10.0 and 10.1 (github.com/onnx/onnx-tensorrt,
docs/operators.md), and from what the changelog of github.com/NVIDIA/TensorRT adds for later ones. A form that only some
releases list as unsupported is refused for those releases. TensorRT-RTX brings a parser of the TensorRT 11 kind.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import TensorProto

from ..errors import CheckError

Version = tuple[int, int]  # major, minor

# Every release that the exported files are for; a test builds none of them, so the tables below speak for them.
VERSIONS: tuple[Version, ...] = (
    (8, 5),
    (8, 6),
    *((10, minor) for minor in range(17)),
    *((11, minor) for minor in range(6)),
)

# The highest opset from a release on. 10.0 and 10.1 list 20; later 10.x raised it, by how much is not listed. 11.5 is
# said to have added 25, so 11.0 ends before that.
_MAX_OPSET: dict[Version, int] = {(8, 5): 17, (10, 0): 20, (11, 0): 24, (11, 5): 25}

# Operators that a release lists and the one before does not; none was taken away.
_ADDED_SINCE: dict[Version, str] = {
    (8, 5): """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Celu Clip
    Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout
    Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gemm GlobalAveragePool
    GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample HardSigmoid HardSwish Identity If ImageScaler
    InstanceNormalization IsNaN LRN LSTM LeakyRelu Less LessOrEqual Log LogSoftmax Loop LpNormalization LpPool
    MatMul Max MaxPool Mean MeanVarianceNormalization Min Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or PRelu
    Pad ParametricSoftplus Pow QuantizeLinear RNN RandomNormal RandomNormalLike RandomUniform RandomUniformLike
    Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence RoiAlign Round ScaledTanh Scan Scatter
    ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign
    SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample
    Where Xor
    """,
    (8, 6): "GroupNormalization IsInf LayerNormalization",
    (10, 0): "CastLike Gelu Hardmax Mish",
    (10, 1): "DeformConv",
    (10, 4): "BlackmanWindow HammingWindow HannWindow",
    (10, 5): "STFT",
    (10, 14): "Attention",
    (10, 15): "RMSNormalization RotaryEmbedding TensorScatter",
    (11, 0): "Swish",
}
_RESIZE_TRANSFORMATIONS = ("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners")
_RESIZE_MODES = ("nearest", "linear")
_RESIZE_ROUNDINGS = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
_TOPK_LIMIT = 3840
_STANDARD = ("", "ai.onnx")  # the domain of ONNX's own operators


@dataclass(frozen=True)
class Lack:
    """A node that a release does not take, and why; `node` is empty where the whole file is meant."""

    node: str
    op_type: str
    reason: str

    @property
    def text(self) -> str:
        """One line: the operator, the node's name, the reason."""
        return f"{self.op_type} {self.node}: {self.reason}" if self.node else self.reason


class _Graph:
    """The graph, and what is known of its tensors."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.outputs = {value.name for value in model.graph.output}
        self._stored = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in model.graph.node:
            values = [attribute.t for attribute in node.attribute if attribute.name == "value"]
            if node.op_type == "Constant" and values:
                self._stored[node.output[0]] = values[0]

    def is_constant(self, name: str) -> bool:
        return name in self._stored

    def constant(self, name: str) -> NDArray[np.generic] | None:
        return onnx.numpy_helper.to_array(self._stored[name]) if name in self._stored else None

    def type_of(self, name: str) -> int:
        """ONNX's number of the element type; UNDEFINED where it cannot be told."""
        if name in self._stored:
            return int(self._stored[name].data_type)
        return self._types.get(name, TensorProto.UNDEFINED)

    @cached_property
    def _types(self) -> dict[str, int]:
        graph = onnx.shape_inference.infer_shapes(self.model).graph
        return {
            value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output)
        }


def supported_operators(version: Version) -> frozenset[str]:
    """The operators that the parser of `version` lists as supported."""
    return frozenset().union(*(names.split() for since, names in _ADDED_SINCE.items() if since <= version))


def max_opset(version: Version) -> int:
    """The highest opset that the parser of `version` is known to read."""
    return max(opset for since, opset in _MAX_OPSET.items() if since <= version)


def lacking(model: onnx.ModelProto, version: Version) -> list[Lack]:
    """What the parser of `version` does not take of the file, node by node; empty where it takes all."""
    return _lacking(_Graph(model), version)


def check_portable(model: onnx.ModelProto) -> None:
    """Whether every supported TensorRT takes the file.

    Raises:
        RuntimeError: some do not; the message holds the nodes, and the first release that lacks them.
    """
    graph = _Graph(model)
    for version in VERSIONS:
        if lacks := _lacking(graph, version):
            raise RuntimeError(f"the graph is not for every TensorRT: {_text(version)} lacks {_listed(lacks)}")


def check_accepted(model: bytes, version_text: str) -> None:
    """Whether TensorRT `version_text`, such as "10.3.0", takes the serialised ONNX file.

    A release that is newer than the table is held to the last entry: nothing was taken away so far.

    Raises:
        CheckError: it does not, or the bytes are no ONNX file; the message names the nodes.
    """
    major, minor = (int(part) for part in version_text.split(".")[:2])
    try:
        parsed = onnx.load_from_string(model)
    except DecodeError as error:
        raise CheckError(f"the file is no ONNX file ({error}); export it again") from None
    if not parsed.graph.node:
        # Almost any bytes are a message to protobuf, with nothing in it that it knows.
        raise CheckError("the file is no ONNX file (it holds no nodes); export it again")
    if lacks := lacking(parsed, (major, minor)):
        raise CheckError(
            f"TensorRT {version_text} does not take the ONNX file: {_listed(lacks)}; export the network again with "
            "this version of espnet-export, or build with a newer TensorRT"
        )


@dataclass(frozen=True)
class _Case:
    """One node, and the release that it is held against."""

    graph: _Graph
    node: onnx.NodeProto
    version: Version

    def attribute(self, name: str, default: Any) -> Any:
        found = [onnx.helper.get_attribute_value(a) for a in self.node.attribute if a.name == name]
        return found[0] if found else default

    def input(self, position: int) -> str:
        """The name of an input; empty where it is left out."""
        return self.node.input[position] if position < len(self.node.input) else ""


_Rule = Callable[[_Case], str | None]


def _lacking(graph: _Graph, version: Version) -> list[Lack]:
    lacks = []
    for entry in graph.model.opset_import:
        if entry.domain in _STANDARD and entry.version > max_opset(version):
            lacks.append(Lack("", "", f"opset {entry.version}, the highest is {max_opset(version)}"))
    operators = supported_operators(version)
    for node in graph.model.graph.node:
        lacks += [Lack(_name(node), node.op_type, why) for why in _reasons(_Case(graph, node, version), operators)]
    return lacks


def _reasons(case: _Case, operators: frozenset[str]) -> Iterator[str]:
    if case.node.domain not in _STANDARD:
        yield f"an operator of {case.node.domain}, which needs a plugin"
        return
    if case.node.op_type not in operators:
        yield "the operator is not supported"
        return
    for rule in (*_RULES.get(case.node.op_type, ()), _uint8_inside):
        if reason := rule(case):
            yield reason


def _uint8_inside(case: _Case) -> str | None:
    inside = (name for name in case.node.output if name not in case.graph.outputs)
    if case.version >= (8, 6) and any(case.graph.type_of(name) == TensorProto.UINT8 for name in inside):
        return "gives uint8 inside of the graph; that type is for inputs and outputs only"
    return None


def _pool(case: _Case) -> str | None:
    dilations = list(case.attribute("dilations", []))
    if case.version >= (10, 0) and any(size != 1 for size in dilations):
        return f"dilations {dilations}, only 1 is supported"
    if len(case.attribute("kernel_shape", [1, 1])) not in {2, 3}:
        return "pools over other than 2 or 3 dimensions"
    if case.node.op_type == "MaxPool" and len(case.node.output) > 1:
        return "the output Indices is not supported"
    return None


def _resize(case: _Case) -> str | None:
    checks = (
        ("coordinate_transformation_mode", "half_pixel", _RESIZE_TRANSFORMATIONS),
        ("mode", "nearest", _RESIZE_MODES),
        ("nearest_mode", "round_prefer_floor", _RESIZE_ROUNDINGS),
        ("keep_aspect_ratio_policy", "stretch", ("stretch",)),
    )
    for name, default, known in checks:
        value = case.attribute(name, default.encode()).decode(errors="replace")
        if value not in known:
            return f"{name} {value!r}, supported: {', '.join(known)}"
    return "antialias is not supported" if case.attribute("antialias", 0) else None


def _quantisation(case: _Case) -> str | None:
    graph, zero_point = case.graph, case.input(2)
    if case.version < (8, 6) and not zero_point:
        return "no zero point is given, and this release asks for one"
    zeros, scale = graph.constant(zero_point), graph.constant(case.input(1))
    if zeros is not None and np.any(zeros.astype(np.float32) != 0):
        return "the zero point is not zero"
    quantised = graph.type_of(case.input(0) if case.node.op_type == "DequantizeLinear" else zero_point)
    if quantised in {TensorProto.INT32, TensorProto.UINT8}:
        return f"quantised type {TensorProto.DataType.Name(quantised)}, the one that all releases take is INT8"
    if scale is not None and not np.all(scale.astype(np.float32) > 0):
        return "a scale is not above zero"
    return None


def _cast(case: _Case) -> str | None:
    ends = {case.graph.type_of(case.input(0)), case.attribute("to", TensorProto.UNDEFINED)}
    if case.version < (8, 6) and TensorProto.UINT8 in ends and not ends & {TensorProto.FLOAT, TensorProto.FLOAT16}:
        return "uint8 is cast from and to float types only"
    return None


def _topk(case: _Case) -> str | None:
    count = case.graph.constant(case.input(1))
    if count is None:
        return "K is no constant" if case.version < (8, 6) else None
    if case.version < (10, 1):
        return None
    if int(count.reshape(-1)[0]) >= _TOPK_LIMIT:
        return f"K {int(count.reshape(-1)[0])}, it must be below {_TOPK_LIMIT}"
    return None if case.attribute("sorted", 1) else "sorted 0 is not supported"


def _constant_axes(position: int, since: Version, before: Version) -> _Rule:
    """The rule that the axes, the input at `position`, are stored in the file."""

    def rule(case: _Case) -> str | None:
        axes = case.input(position)
        if since <= case.version < before and axes and not case.graph.is_constant(axes):
            return "the axes are no constant"
        return None

    return rule


_FOR_GOOD: Version = (99, 0)
_RULES: dict[str, tuple[_Rule, ...]] = {
    **dict.fromkeys(("AveragePool", "MaxPool", "LpPool"), (_pool,)),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), (_quantisation,)),
    **dict.fromkeys(("Squeeze", "Unsqueeze"), (_constant_axes(1, (8, 5), (10, 7)),)),
    **{
        f"Reduce{kind}": (_constant_axes(1, (10, 0), _FOR_GOOD),)
        for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
    },
    "Slice": (_constant_axes(3, (8, 5), (10, 3)),),
    "Resize": (_resize,),
    "Cast": (_cast,),
    "TopK": (_topk,),
}


def _name(node: onnx.NodeProto) -> str:
    return node.name or f"(without a name, gives {', '.join(node.output)})"


def _listed(lacks: list[Lack], most: int = 5) -> str:
    rest = f"; and {len(lacks) - most} more" if len(lacks) > most else ""
    return "; ".join(lack.text for lack in lacks[:most]) + rest


def _text(version: Version) -> str:
    return f"TensorRT {version[0]}.{version[1]}"
