"""Convolutions in int8, written into the graph as pairs of QuantizeLinear and DequantizeLinear.

The form is the one that NVIDIA's ONNX parsers accept from TensorRT 8.5 on: symmetric int8 with zero point 0, one scale
for the input, one for each output channel of the weights, the pair also on the weights, biases left alone. The weights
stay float32 in the file: constants of TensorRT 8.5 are int32 or real numbers (`addConstant` in its NvInfer.h). Engines
hold them as int8.
"""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

_INT8_STEPS = 127
# A channel below this is dead: a published checkpoint has weights down to 5e-18 and whole channels of zeros. Its scale
# must not be 0, and any other gives zeros, as it should.
_DEAD = 2.0**-60
_SCOPES = ("network", "encoder", "backbone")


@dataclass(frozen=True)
class ConvSite:
    """A convolution with constant weights. `macs`: multiply-accumulates of one picture."""

    node: str
    block: str
    input: str
    weight: str
    macs: int
    depthwise: bool


def conv_sites(model: onnx.ModelProto) -> list[ConvSite]:
    """The convolutions of `model` whose weights are constants, in the order of the graph."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {value.name: value.type.tensor_type.shape.dim for value in (*graph.value_info, *graph.output)}
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    sites = []
    for node in graph.node:
        if node.op_type == "Conv" and node.input[1] in weights:
            height, width = (dimension.dim_value for dimension in shapes[node.output[0]][2:])
            kernel = weights[node.input[1]]
            sites.append(
                ConvSite(
                    node=node.name,
                    block=block_of(node.input[1]),
                    input=node.input[0],
                    weight=node.input[1],
                    macs=math.prod(kernel) * height * width,
                    depthwise=kernel[1] == 1 and kernel[0] > 1,
                )
            )
    return sites


def block_of(weight: str) -> str:
    """The part of the network that a weight belongs to, as people call it.

    "network.network.encoder.stage3.2.project.conv.weight" -> "stage3.2"; "network.features.stage2.unit3.dw_conv.weight"
    -> "stage2.unit3"; "network.network.pyramid4.mix.convs.1.weight" -> "pyramid4".
    """
    parts = weight.split(".")
    while len(parts) > 1 and parts[0] in _SCOPES:
        parts.pop(0)
    if parts[0] == "features" and len(parts) > 1 and not parts[1].isdigit():
        parts.pop(0)
    has_index = len(parts) > 2 and re.fullmatch(r"\d+|unit\d+", parts[1])
    return ".".join(parts[: 2 if has_index else 1])


def quantised(model: onnx.ModelProto, sites: Collection[ConvSite], scales: Mapping[str, float]) -> onnx.ModelProto:
    """A copy of `model` in which the convolutions of `sites` multiply int8.

    Args:
        model: a float32 file.
        sites: some of `conv_sites(model)`.
        scales: step of the int8 numbers for the input of each site.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    by_node = {site.node: site for site in sites}
    nodes: list[onnx.NodeProto] = []
    done: set[str] = set()
    for original in graph.node:
        node = onnx.NodeProto()
        node.CopyFrom(original)
        if site := by_node.get(node.name):
            steps = np.float32(scales[site.input]), channel_scales(constants[site.weight])
            for position, (name, scale) in enumerate(zip((site.input, site.weight), steps, strict=True)):
                if name not in done:
                    done.add(name)
                    nodes.extend(_pair(graph, name, np.asarray(scale)))
                node.input[position] = f"{name}.dequantised"
        nodes.append(node)
    graph.ClearField("node")
    graph.node.extend(nodes)
    return result


def channel_scales(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """The step of the int8 numbers for each output channel: (channels, ...) -> (channels,)."""
    largest = np.abs(weight.reshape(len(weight), -1)).max(axis=1) / _INT8_STEPS
    return np.where(largest < _DEAD, 1, largest).astype(np.float32)


def _pair(graph: onnx.GraphProto, name: str, scale: NDArray[np.float32]) -> list[onnx.NodeProto]:
    """Quantise and dequantise `name`: by one scale, or by one for each entry of its first dimension."""
    names = [f"{name}.scale", f"{name}.zero"]
    graph.initializer.append(numpy_helper.from_array(scale.astype(np.float32), names[0]))
    graph.initializer.append(numpy_helper.from_array(np.zeros(scale.shape, np.int8), names[1]))
    int8, back = f"{name}.int8", f"{name}.dequantised"
    pair = [
        onnx.helper.make_node("QuantizeLinear", [name, *names], [int8], f"quantise_{name}"),
        onnx.helper.make_node("DequantizeLinear", [int8, *names], [back], f"dequantise_{name}"),
    ]
    if scale.ndim:
        for node in pair:
            node.attribute.append(onnx.helper.make_attribute("axis", 0))
    return pair
