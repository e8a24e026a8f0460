"""The float16 file: its types, what stays in float32, and what would overflow."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from espnet_edge.errors import CheckError
from espnet_edge.export.half_precision import half_precision
from espnet_edge.export.onnx_from_torch import IR_VERSION, OPSET
from espnet_edge.export.operator_support import check_portable
from espnet_edge.export.parity import ParityReport, parity_inputs, prove_parity
from espnet_edge.model.registry import create_model, get_spec
from espnet_edge.model.seeded import load_seeded_weights
from networks import ONE, export_again, exported


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    graph = model.graph
    values = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.output, *graph.value_info)}
    return {**values, **{tensor.name: tensor.data_type for tensor in graph.initializer}}


def proof(network: nn.Module, model: onnx.ModelProto, name: str = "cls") -> ParityReport:
    spec = get_spec(name)
    inputs = parity_inputs(spec, "deploy", (64, 64), ONE, [])
    return prove_parity(
        network, model, inputs, spec=spec, io="deploy", onnx_sha256="", on_case=lambda _: None, precision="fp16"
    )


@pytest.mark.parametrize(("name", "io"), [("seg", "deploy"), ("seg", "raw"), ("cls", "deploy")])
def test_types_are_in_the_graph_and_the_edges_stay(name: str, io: str) -> None:
    _, single = exported(name, io, (64, 64))
    half, report = half_precision(single)
    assert list(half.graph.input) == list(single.graph.input)
    assert list(half.graph.output) == list(single.graph.output)
    assert (half.opset_import[0].version, half.ir_version) == (OPSET, IR_VERSION)
    check_portable(half)
    types = element_types(half)
    for node in half.graph.node:
        # Every tensor has a known type; products are float16, sums over whole maps are not.
        assert all(name in types for name in (*filter(None, node.input), *node.output))
        if node.op_type in {"Conv", "MatMul", "Gemm", "PRelu", "BatchNormalization"}:
            assert {types[name] for name in (*node.input, *node.output)} == {TensorProto.FLOAT16}
        if node.op_type in {"GlobalAveragePool", "Softmax", "Sub"}:
            assert {types[name] for name in (*node.input, *node.output)} <= {TensorProto.FLOAT, TensorProto.UINT8}
        if node.op_type == "Resize":
            assert types[node.input[0]] == types[node.output[0]] == TensorProto.FLOAT16
    onnx.checker.check_model(half, full_check=True)
    assert report.float16_operators > 100
    assert ("normalises pixels" in report.float32_operators) == (io == "deploy")
    assert half.ByteSize() < 0.65 * single.ByteSize()


def test_norms_of_dead_channels_survive() -> None:
    """A published variance of 5.6e-45 is 0 in float16; what counts is the factor that it stands for."""
    channels = np.array([1.0, 2.0, 0.5], np.float32)
    variance = np.array([5.6e-45, 1110.0, 1.0], np.float32)
    constants = {"weight": channels, "bias": channels, "mean": np.array([1e-9, 300, 0], np.float32), "var": variance}
    node = helper.make_node("BatchNormalization", ["image", *constants], ["out"], "norm", epsilon=1e-5)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 2, 2])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 3, 2, 2])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    half, _ = half_precision(model)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in half.graph.initializer}
    expected = channels / np.sqrt(variance.astype(np.float64) + 1e-5)
    np.testing.assert_allclose(values["norm.factor.float16"], expected, rtol=1e-3)
    np.testing.assert_allclose(values["norm.term.float16"], channels - constants["mean"] * expected, rtol=1e-3)
    assert all(np.isfinite(array).all() for array in values.values())


def classifier() -> nn.Module:
    network = create_model("cls", width_mult=0.5)
    load_seeded_weights(network)
    return network


def test_a_constant_beyond_float16_keeps_its_operator_in_float32() -> None:
    network = classifier()
    network.classifier.weight.data[3, 5] = 1e5  # type: ignore[union-attr, index, operator]
    half, report = half_precision(onnx.load_from_string(export_again(network, "cls", "deploy", (64, 64))))
    assert report.float32_operators["has a constant beyond float16"] == 1
    gemm = next(node for node in half.graph.node if node.op_type == "Gemm")
    assert {element_types(half)[name] for name in gemm.input} == {TensorProto.FLOAT}
    report_of_proof = proof(network, half)
    assert all(np.isfinite(case.max_abs_error) for case in report_of_proof.cases)


def test_values_beyond_float16_fail_the_proof() -> None:
    network = classifier()
    with torch.no_grad():
        network.stem.norm.weight *= 1e6  # type: ignore[union-attr, operator]
    half, _ = half_precision(onnx.load_from_string(export_again(network, "cls", "deploy", (64, 64))))
    report = proof(network, half)
    assert not report.passed
    assert not all(np.isfinite(case.max_abs_error) for case in report.cases)


def test_a_weight_that_is_no_number_is_refused() -> None:
    _, model = exported("cls", "deploy", (64, 64))
    tensor = next(t for t in model.graph.initializer if len(t.dims) == 4)
    values = numpy_helper.to_array(tensor).copy()
    values[0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    with pytest.raises(CheckError, match=r"weight: a weight is not a finite number; export a checkpoint"):
        half_precision(model)


def swap_colours(model: onnx.ModelProto) -> None:
    name = next(node.input[1] for node in model.graph.node if node.op_type == "Sub")
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[:, ::-1].copy(), name))


def scale_weight(model: onnx.ModelProto) -> None:
    name = next(node.input[1] for node in model.graph.node if node.op_type == "Conv")
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float16(1.1), name))


def ignore_padding_in_pools(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "count_include_pad":
                attribute.i = 0


@pytest.mark.parametrize("damage", [None, swap_colours, scale_weight, ignore_padding_in_pools])
def test_the_proof_tells_right_from_wrong(damage: object) -> None:
    reference, single = exported("seg", "deploy", (64, 64))
    half, _ = half_precision(single)
    if callable(damage):
        damage(half)
    network = reference.network
    assert isinstance(network, nn.Module)
    report = proof(network, half, "seg")
    assert report.passed == (damage is None)
    assert report.precision == "fp16"
    if damage is None:
        assert all(0 < case.max_abs_error < 0.3 * (case.tolerance.max_abs_error or 0) for case in report.cases)
        assert report.summary("x.json").label_agreement_tolerance == 0.995
