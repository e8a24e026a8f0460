"""The ONNX files keep the contract: opset 17, IR 8, one file, portable operators, the right sizes, the same numbers."""

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from torch import Tensor, nn

from conftest import formula_input
from espnet_edge.export.batch import Batch
from espnet_edge.export.onnx_from_torch import onnx_from_torch
from espnet_edge.export.operator_support import check_portable
from espnet_edge.runtime.manifest import TensorInfo
from networks import export_again, exported


def run(model: onnx.ModelProto, image: Tensor) -> list[Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, {"image": image.numpy()}))


def shape_of(value: onnx.ValueInfoProto) -> list[int | str]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


@pytest.fixture
def segmentation() -> tuple[nn.Module, onnx.ModelProto]:
    return exported("seg", "deploy", (64, 64))


def test_contract(segmentation: tuple[nn.Module, onnx.ModelProto]) -> None:
    _, model = segmentation
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    assert model.ir_version == 8
    assert not model.functions
    assert all(tensor.data_location != TensorProto.EXTERNAL for tensor in model.graph.initializer)
    check_portable(model)
    assert {p.key: p.value for p in model.metadata_props} == {"task": "a test"}
    onnx.checker.check_model(model, full_check=True)


def test_no_unrolled_pools(segmentation: tuple[nn.Module, onnx.ModelProto]) -> None:
    _, model = segmentation
    counts = Counter(node.op_type for node in model.graph.node)
    # The default export of the official network has 1,102 nodes, about 400 of them Gather.
    assert len(model.graph.node) < 400
    assert not counts.keys() & {"Gather", "GatherND", "ReduceMean", "Where", "Loop", "If", "Slice", "Constant"}


def test_nothing_of_the_exporting_machine_is_in_the_file(segmentation: tuple[nn.Module, onnx.ModelProto]) -> None:
    data = segmentation[1].SerializeToString()
    assert b"espnetv2.py" not in data
    assert b"forward" not in data


def test_the_same_network_gives_the_same_bytes(segmentation: tuple[nn.Module, onnx.ModelProto]) -> None:
    reference, model = segmentation
    assert isinstance(reference.network, nn.Module)
    again = export_again(reference.network, "seg", "deploy", (64, 64))
    assert again == model.SerializeToString(deterministic=True)


def test_segmentation_labels(segmentation: tuple[nn.Module, onnx.ModelProto]) -> None:
    reference, model = segmentation
    assert [shape_of(value) for value in model.graph.input] == [[1, 64, 64, 3]]
    assert [shape_of(value) for value in model.graph.output] == [[1, 64, 64]]
    pixels = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    (labels,) = run(model, pixels)
    with torch.inference_mode():
        (expected,) = reference(pixels)
    assert labels.dtype == np.uint8
    assert (labels == expected.numpy()).mean() >= 0.999
    assert len(np.unique(labels)) > 3


@pytest.mark.parametrize("size", [(79, 47)])
def test_raw_logits_with_a_free_batch(size: tuple[int, int]) -> None:
    reference, model = exported("seg", "raw", size, Batch(1, 2, 3))
    assert shape_of(model.graph.input[0]) == ["batch", 3, *size]
    assert shape_of(model.graph.output[0]) == ["batch", 20, *size]
    for phases in ([0.0], [0.0, 0.4, 0.8]):
        image = torch.from_numpy(np.concatenate([formula_input(*size, phase) for phase in phases]))
        with torch.inference_mode():
            (expected,) = reference(image)
        np.testing.assert_allclose(run(model, image)[0], expected.numpy(), rtol=0, atol=1e-5)


def test_classifier_answers() -> None:
    reference, model = exported("cls", "deploy", (64, 64), Batch(1, 1, 4))
    pixels = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    classes, scores = run(model, pixels)
    with torch.inference_mode():
        expected_classes, expected_scores = reference(pixels)
    assert classes.dtype == np.int32
    assert classes.shape == scores.shape == (3, 5)
    np.testing.assert_array_equal(classes, expected_classes.numpy())
    np.testing.assert_allclose(scores, expected_scores.numpy(), rtol=1e-5)
    assert (np.diff(scores) <= 0).all()


def test_an_operator_that_some_tensorrt_lacks_is_refused() -> None:
    class Infinite(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (torch.isinf(x),)

    info = TensorInfo(name="image", dtype="float32", shape=(1, 3, 4, 4), layout="NCHW", meaning="")
    with pytest.raises(RuntimeError, match=r"TensorRT 8\.5 lacks IsInf \w+: the operator is not supported"):
        onnx_from_torch(Infinite(), [info], output_names=["y"], batch=Batch(), metadata={})


class Mean(nn.Module):
    """A mean over `axes`, as somebody would write it."""

    def __init__(self, axes: tuple[int, ...], keepdim: bool) -> None:
        super().__init__()
        self.axes, self.keepdim = axes, keepdim

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (2 * x.mean(dim=self.axes, keepdim=self.keepdim),)


IMAGE = TensorInfo(name="image", dtype="float32", shape=(2, 3, 4, 5), layout="NCHW", meaning="")


@pytest.mark.parametrize("axes", [(2, 3), (-1, -2)])
@pytest.mark.parametrize("keepdim", [True, False])
def test_means_over_height_and_width_become_global_pools(axes: tuple[int, ...], keepdim: bool) -> None:
    module = Mean(axes, keepdim)
    model = onnx_from_torch(module, [IMAGE], output_names=["y"], batch=Batch(), metadata={})
    assert "GlobalAveragePool" in {node.op_type for node in model.graph.node}
    image = torch.from_numpy(np.random.default_rng(0).random((2, 3, 4, 5), np.float32))
    expected = module(image)[0].numpy()
    (found,) = run(model, image)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_other_means_are_refused() -> None:
    with pytest.raises(RuntimeError, match=r"over axes \[1\]; only means over height and width, axes 2 and 3 of 4"):
        onnx_from_torch(Mean((1,), True), [IMAGE], output_names=["y"], batch=Batch(), metadata={})


@pytest.mark.parametrize("size", [(64, 64), (64, 128), (96, 32), (79, 47)])
def test_openvino_gives_the_same_logits(size: tuple[int, int]) -> None:
    """It merges operators on its own account; at small and odd sizes the pyramid takes its rarer forms."""
    openvino = pytest.importorskip("openvino")
    reference, model = exported("seg", "raw", size)
    image = torch.from_numpy(formula_input(*size))
    compiled = openvino.Core().compile_model(
        openvino.Core().read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    with torch.inference_mode():
        (expected,) = reference(image)
    np.testing.assert_allclose(compiled([image.numpy()])[0], expected.numpy(), rtol=0, atol=1e-5)
