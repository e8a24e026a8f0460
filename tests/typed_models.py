"""Small ONNX files in the three precisions, as the exporter types them: the edges are float32."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Batch = int | str


def typed_model(precision: str, batch: Batch = 1, channels: int = 4) -> onnx.ModelProto:
    """Two convolutions and what belongs between the types."""
    nodes, tensors = {"fp32": _fp32, "fp16": _fp16, "int8": _int8}[precision](channels)
    shape = [batch, channels, 8, 8]
    graph = helper.make_graph(
        nodes,
        precision,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def weights(seed: int, channels: int, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, (channels, channels, 3, 3)).astype(dtype)


def _convolution(source: str, target: str, weight: str) -> onnx.NodeProto:
    return helper.make_node("Conv", [source, weight], [target], name=f"conv_{target}", pads=[1] * 4)


def _fp32(channels: int) -> tuple[list[onnx.NodeProto], dict[str, Any]]:
    nodes = [_convolution("image", "a", "w0"), _convolution("a", "out", "w1")]
    return nodes, {"w0": weights(0, channels), "w1": weights(1, channels)}


def _fp16(channels: int) -> tuple[list[onnx.NodeProto], dict[str, Any]]:
    nodes = [
        helper.make_node("Cast", ["image"], ["half"], name="narrow", to=TensorProto.FLOAT16),
        _convolution("half", "a", "w0"),
        _convolution("a", "b", "w1"),
        helper.make_node("Cast", ["b"], ["out"], name="widen", to=TensorProto.FLOAT),
    ]
    return nodes, {"w0": weights(0, channels, np.float16), "w1": weights(1, channels, np.float16)}


def _int8(channels: int) -> tuple[list[onnx.NodeProto], dict[str, Any]]:
    tensors: dict[str, Any] = {"scale": np.array(0.02, np.float32), "zero": np.array(0, np.int8)}
    nodes = []
    for source, target, number in (("image", "a", 0), ("a", "out", 1)):
        tensors[f"q{number}"] = np.round(weights(number, channels) / 0.0025).astype(np.int8)
        tensors[f"s{number}"] = np.full(channels, 0.0025, np.float32)
        tensors[f"z{number}"] = np.zeros(channels, np.int8)
        nodes += [
            helper.make_node("QuantizeLinear", [source, "scale", "zero"], [f"{source}_q"], name=f"quantise_{source}"),
            helper.make_node("DequantizeLinear", [f"{source}_q", "scale", "zero"], [f"{source}_d"], name=f"d_{source}"),
            helper.make_node(
                "DequantizeLinear",
                [f"q{number}", f"s{number}", f"z{number}"],
                [f"w{number}"],
                name=f"dw{number}",
                axis=0,
            ),
            _convolution(f"{source}_d", target, f"w{number}"),
        ]
    return nodes, tensors


def one_node(op_type: str, *constants: Any, opset: int = 18, **attributes: Any) -> onnx.ModelProto:
    """A graph of a single operator on an image of 8 channels, to see what is refused."""
    tensors = [numpy_helper.from_array(constant, f"c{i}") for i, constant in enumerate(constants)]
    inputs = ["image", *("" if tensor.dims == [0] else tensor.name for tensor in tensors)]
    node = helper.make_node(op_type, inputs, ["out"], name="the_layer", **attributes)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 8, 16, 16])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "one", [image], [out], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
