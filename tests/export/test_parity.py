"""The proof passes for a right file and fails for every kind of wrong one."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from espnet_edge.export.batch import Batch
from espnet_edge.export.parity import ParityReport, parity_inputs, prove_parity
from espnet_edge.model.registry import get_spec
from networks import exported

BASELINES = ("mobilenetv1", "mobilenetv2", "shufflenetv1", "shufflenetv2")


def proof(name: str, io: Any, reference: nn.Module, model: onnx.ModelProto, size: tuple[int, int]) -> ParityReport:
    spec = get_spec(name)
    inputs = parity_inputs(spec, io, size, Batch(), [("grey", np.full((*size, 3), 128, np.uint8))])
    network = reference.network
    assert isinstance(network, nn.Module)
    return prove_parity(network, model, inputs, spec=spec, io=io, onnx_sha256="0" * 64, on_case=lambda _: None)


@pytest.mark.parametrize(
    ("name", "io"),
    [
        *(("seg", io) for io in ("raw", "deploy", "lowres")),
        *((name, "deploy") for name in ("cls", *BASELINES)),
    ],
)
def test_a_right_file_passes(name: str, io: Any) -> None:
    reference, model = exported(name, io, (64, 64))
    report = proof(name, io, reference, model, (64, 64))
    assert report.passed
    assert [case.name for case in report.cases] == ["formula", "noise 0", "noise 1", "grey"]
    for case in report.cases:
        assert 0 < case.max_abs_error <= 1e-5
        assert case.max_abs_error_by_output == {"logits": case.max_abs_error}
        assert case.mean_abs_error <= case.p99_abs_error <= case.max_abs_error
        assert case.cosine == pytest.approx(1, abs=1e-9)
        assert case.label_agreement_where_decided == 1
    summary = report.summary("x.json")
    assert summary.passed
    assert summary.max_abs_error == max(case.max_abs_error for case in report.cases)


@pytest.fixture
def right() -> tuple[nn.Module, onnx.ModelProto]:
    return exported("seg", "deploy", (64, 64))


def first(model: onnx.ModelProto, op_type: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == op_type)


def scale_weight(model: onnx.ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == first(model, "Conv").input[1])
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.01), tensor.name))


def drop_corner_alignment(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "coordinate_transformation_mode":
                attribute.s = b"half_pixel"


def ignore_padding_in_pools(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "count_include_pad":
                attribute.i = 0


def swap_colours(model: onnx.ModelProto) -> None:
    name = next(node.input[1] for node in model.graph.node if node.op_type == "Sub")
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[:, ::-1].copy(), name))


def last_class_wins(model: onnx.ModelProto) -> None:
    """Right logits, wrong answer."""
    node = first(model, "ArgMax")
    node.op_type = "ArgMin"


@pytest.mark.parametrize(
    "damage", [scale_weight, drop_corner_alignment, ignore_padding_in_pools, swap_colours, last_class_wins]
)
def test_a_wrong_file_fails(damage: Any, right: tuple[nn.Module, onnx.ModelProto]) -> None:
    reference, model = right
    if damage is last_class_wins:
        # The tap is found by the operator's name: keep one ArgMax for it, give the output to the wrong one.
        wrong = onnx.NodeProto()
        wrong.CopyFrom(first(model, "ArgMax"))
        wrong.op_type, wrong.name, wrong.output[0] = "ArgMin", "wrong", "wrong"
        position = list(model.graph.node).index(first(model, "ArgMax"))
        model.graph.node.insert(position + 1, wrong)
        model.graph.node[position + 2].input[0] = "wrong"
    else:
        damage(model)
    report = proof("seg", "deploy", reference, model, (64, 64))
    assert not report.passed
    assert not report.summary("x.json").passed
    if damage is last_class_wins:
        assert not report.cases[0].outputs_follow_logits
        assert report.cases[0].max_abs_error < 1e-5


@pytest.mark.parametrize("damage", [scale_weight, drop_corner_alignment, swap_colours])
def test_a_wrong_file_that_leaves_the_upsampling_fails(damage: Any) -> None:
    reference, model = exported("seg", "lowres", (64, 64))
    damage(model)
    assert not proof("seg", "lowres", reference, model, (64, 64)).passed


def test_every_batch_holds_different_pictures() -> None:
    spec = get_spec("seg")
    arrays = dict(parity_inputs(spec, "deploy", (32, 32), Batch(1, 2, 3), []))
    assert [(name, len(array)) for name, array in arrays.items()] == [
        ("formula", 1),
        ("noise 0", 1),
        ("noise 1", 1),
        ("batch of 2", 2),
        ("batch of 3", 3),
    ]
    batch = arrays["batch of 3"]
    assert len({picture.tobytes() for picture in batch}) == 3
    for _, fixed in parity_inputs(spec, "deploy", (32, 32), Batch(4, 4, 4), []):
        assert len({picture.tobytes() for picture in fixed}) == 4


def test_a_file_that_mixes_up_its_batch_fails() -> None:
    reference, model = exported("cls", "raw", (64, 64), Batch(2, 2, 2))
    last = model.graph.node[-1]
    last.output[0] = "in_order"
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 0]), "order"))
    model.graph.node.append(onnx.helper.make_node("Gather", ["in_order", "order"], ["logits"], axis=0))
    spec, network = get_spec("cls"), reference.network
    assert isinstance(network, nn.Module)
    inputs = parity_inputs(spec, "raw", (64, 64), Batch(2, 2, 2), [])
    report = prove_parity(network, model, inputs, spec=spec, io="raw", onnx_sha256="0" * 64, on_case=lambda _: None)
    assert not report.passed


def test_raw_and_deploy_inputs_are_the_same_pictures() -> None:
    spec = get_spec("seg")
    deploy = dict(parity_inputs(spec, "deploy", (32, 48), Batch(), []))
    raw = dict(parity_inputs(spec, "raw", (32, 48), Batch(), []))
    for name, pixels in deploy.items():
        assert pixels.shape == (1, 32, 48, 3)
        expected = (pixels / 255 - np.array(spec.mean)) / np.array(spec.std)
        np.testing.assert_allclose(raw[name], expected.transpose(0, 3, 1, 2), atol=1e-6)
        assert torch.from_numpy(raw[name]).dtype == torch.float32
