"""The table of what each TensorRT's parser takes: nodes are named, with the reason and the release."""

import itertools
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from espnet_edge.errors import CheckError
from espnet_edge.export.operator_support import (
    VERSIONS,
    check_accepted,
    check_portable,
    lacking,
    max_opset,
    supported_operators,
)
from typed_models import one_node, typed_model

OLDEST, LATEST = VERSIONS[0], VERSIONS[-1]


def lacked_by(model: onnx.ModelProto) -> list[tuple[int, int]]:
    return [version for version in VERSIONS if lacking(model, version)]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_typed_files_are_for_every_version(precision: str) -> None:
    check_portable(typed_model(precision))


def test_the_table_only_grows() -> None:
    """Numbers of the lists that NVIDIA publishes for the releases."""
    assert [len(supported_operators(version)) for version in ((8, 5), (8, 6), (10, 0), (10, 1))] == [142, 145, 149, 150]
    for earlier, later in itertools.pairwise(VERSIONS):
        assert supported_operators(earlier) <= supported_operators(later)
        assert max_opset(earlier) <= max_opset(later)
    assert [max_opset(version) for version in ((8, 5), (8, 6), (10, 3), (11, 0), (11, 5))] == [17, 17, 20, 24, 25]


@pytest.mark.parametrize(
    ("op_type", "until"),
    [("Unique", LATEST), ("LayerNormalization", (8, 5)), ("Hardmax", (8, 6)), ("STFT", (10, 4)), ("Swish", (10, 16))],
)
def test_operators_and_the_last_release_without_them(op_type: str, until: tuple[int, int]) -> None:
    model = one_node(op_type, opset=17)
    assert [version for version in lacked_by(model) if version <= until] == [v for v in VERSIONS if v <= until]
    assert not [version for version in lacked_by(model) if version > until]
    (lack,) = lacking(model, until)
    assert lack.text == f"{op_type} the_layer: the operator is not supported"


@pytest.mark.parametrize(("opset", "first"), [(17, (8, 5)), (18, (10, 0)), (20, (10, 0)), (21, (11, 0)), (25, (11, 5))])
def test_opsets_and_the_first_release_that_reads_them(opset: int, first: tuple[int, int]) -> None:
    model = one_node("Relu", opset=opset)
    assert [version for version in VERSIONS if version not in lacked_by(model)] == [v for v in VERSIONS if v >= first]


def resize(**attributes: Any) -> onnx.ModelProto:
    scales = np.array([1, 1, 2, 2], np.float32)
    return one_node("Resize", np.zeros(0, np.float32), scales, opset=17, **attributes)


def quantise(zero: Any, scale: float = 0.1) -> onnx.ModelProto:
    return one_node("QuantizeLinear", np.array(scale, np.float32), zero, opset=17)


def dequantised_bias() -> onnx.ModelProto:
    """What quantisation tools make of a convolution's bias by default."""
    node = helper.make_node("DequantizeLinear", ["bias", "scale", "zero"], ["out"], name="b0_DequantizeLinear")
    stored = [
        onnx.numpy_helper.from_array(array, name)
        for name, array in (
            ("bias", np.ones(8, np.int32)),
            ("scale", np.array(0.1, np.float32)),
            ("zero", np.array(0, np.int32)),
        )
    ]
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [8])
    graph = helper.make_graph([node], "bias", [], [out], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("model", "lacking_versions", "words"),
    [
        (resize(mode="linear", coordinate_transformation_mode="tf_crop_and_resize"), VERSIONS, "tf_crop_and_resize"),
        (resize(mode="cubic"), VERSIONS, "mode 'cubic', supported: nearest, linear"),
        (resize(mode="linear", coordinate_transformation_mode="align_corners"), (), ""),
        (quantise(np.array(3, np.int8)), VERSIONS, "the zero point is not zero"),
        (quantise(np.array(0, np.uint8)), VERSIONS, "quantised type UINT8"),
        (quantise(np.array(0, np.int8), scale=0.0), VERSIONS, "a scale is not above zero"),
        (quantise(np.array(0, np.int8)), (), ""),
        (dequantised_bias(), VERSIONS, "quantised type INT32"),
        (one_node("QuantizeLinear", np.array(0.1, np.float32), opset=17), (OLDEST,), "no zero point is given"),
        (
            one_node("MaxPool", opset=17, kernel_shape=[3, 3], dilations=[2, 2]),
            tuple(version for version in VERSIONS if version >= (10, 0)),
            "dilations [2, 2]",
        ),
        (one_node("AveragePool", opset=17, kernel_shape=[3, 3], count_include_pad=1, pads=[1] * 4), (), ""),
        (one_node("AveragePool", opset=17, kernel_shape=[3]), VERSIONS, "2 or 3 dimensions"),
        (
            one_node("TopK", np.array([3840], np.int64), opset=17),
            tuple(version for version in VERSIONS if version >= (10, 1)),
            "K 3840, it must be below 3840",
        ),
        (one_node("TopK", np.array([5], np.int64), opset=17), (), ""),
    ],
)
def test_forms(model: onnx.ModelProto, lacking_versions: tuple[Any, ...], words: str) -> None:
    assert tuple(lacked_by(model)) == lacking_versions
    for version in lacking_versions[:1]:
        assert words in lacking(model, version)[0].text


def chain(*casts: int) -> onnx.ModelProto:
    """An argmax, and casts to these types."""
    names = ["labels", *(f"cast{i}" for i in range(len(casts)))]
    nodes = [helper.make_node("ArgMax", ["image"], ["labels"], name="argmax", axis=1)]
    nodes += [helper.make_node("Cast", [names[i]], [names[i + 1]], name=f"to_{i}", to=to) for i, to in enumerate(casts)]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 4, 8, 8])
    out = helper.make_tensor_value_info(names[-1], casts[-1], None)
    graph = helper.make_graph(nodes, "casts", [image], [out])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_uint8_goes_through_float_and_stays_at_the_edge() -> None:
    """8.5 casts uint8 from float types only; later ones have uint8 at the edges only."""
    assert lacked_by(chain(TensorProto.FLOAT, TensorProto.UINT8)) == []
    assert lacked_by(chain(TensorProto.UINT8)) == [(8, 5)]
    inside = chain(TensorProto.FLOAT, TensorProto.UINT8, TensorProto.FLOAT)
    assert lacked_by(inside) == [version for version in VERSIONS if version >= (8, 6)]
    (lack,) = lacking(inside, (10, 3))
    assert lack.text.startswith("Cast to_1: gives uint8 inside of the graph")


def test_axes_that_are_computed() -> None:
    nodes = [
        helper.make_node("Shape", ["image"], ["shape"], name="shape"),
        helper.make_node("Unsqueeze", ["image", "shape"], ["out"], name="grow"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [4])
    graph = helper.make_graph(nodes, "g", [image], [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert lacked_by(model) == [version for version in VERSIONS if version < (10, 7)]


def test_operators_of_others_need_plugins() -> None:
    model = one_node("Relu", opset=17)
    model.graph.node[0].domain = "com.example"
    assert tuple(lacked_by(model)) == VERSIONS
    assert "an operator of com.example, which needs a plugin" in lacking(model, LATEST)[0].text


def test_messages_name_the_nodes() -> None:
    model = typed_model("fp32")
    for node in model.graph.node:
        node.op_type = "Unique"
    with pytest.raises(CheckError, match=r"TensorRT 10.3.0 does not take .*: Unique conv_a: .*; Unique conv_out: "):
        check_accepted(model.SerializeToString(), "10.3.0")
    with pytest.raises(RuntimeError, match=r"not for every TensorRT: TensorRT 8.5 lacks Unique conv_a: "):
        check_portable(model)
    check_accepted(typed_model("int8").SerializeToString(), "12.0.0.1")
    for rubbish in (b"<html>404</html>", b"\x00" * 100, b""):
        with pytest.raises(CheckError, match="no ONNX file"):
            check_accepted(rubbish, "10.3.0")
