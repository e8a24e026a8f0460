"""Convolutions in int8: the form that NVIDIA's parser accepts, dead channels, names of blocks, every network."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from espnet_edge.errors import CheckError
from espnet_edge.export.batch import Batch
from espnet_edge.export.build_options import BuildOptions
from espnet_edge.export.calibration import count_values, int8_scale
from espnet_edge.export.engine_from_onnx import Builder, engine_from_onnx, find_builder
from espnet_edge.export.half_precision import half_precision
from espnet_edge.export.onnx_from_torch import OPSET
from espnet_edge.export.operator_support import check_portable
from espnet_edge.export.quantised import block_of, channel_scales, conv_sites, quantised
from espnet_edge.model.registry import create_model
from espnet_edge.runtime.images import load_photo
from networks import ONE, detection, export_again, exported, multi_label
from pictures import scene

BASELINES = ("mobilenetv1", "mobilenetv2", "shufflenetv1", "shufflenetv2")
CAPABILITIES = ("8.6", "8.9", "12.0")
needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="no TensorRT-RTX wheel for this platform"
)


def feed(model: onnx.ModelProto) -> dict[str, Any]:
    """A picture for the only input."""
    value = model.graph.input[0]
    shape = [dimension.dim_value or 1 for dimension in value.type.tensor_type.shape.dim]
    if value.type.tensor_type.elem_type == TensorProto.UINT8:
        return {value.name: np.repeat(scene(1, (shape[1], shape[2]))[np.newaxis], shape[0], axis=0)}
    pixels = scene(1, (shape[2], shape[3])).astype(np.float32).transpose(2, 0, 1)[np.newaxis]
    return {value.name: np.repeat((pixels - 120) / 60, shape[0], axis=0)}


def int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """All dense convolutions of a float32 file in int8, the rest in float16."""
    sites = [site for site in conv_sites(model) if not site.depthwise]
    counts = count_values(model, sorted({site.input for site in sites}), [feed(model)])
    scales = {name: scale for name, values in counts.items() if (scale := int8_scale(values)) is not None}
    return half_precision(quantised(model, [site for site in sites if site.input in scales], scales))[0]


def fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    return half_precision(model)[0]


def build(model: onnx.ModelProto, batch: Batch = ONE, precision: Any = "int8") -> bytes:
    builder = find_builder("tensorrt-rtx")
    assert isinstance(builder, Builder)
    return engine_from_onnx(
        builder,
        model.SerializeToString(),
        batch=batch,
        options=BuildOptions(compute_capabilities=CAPABILITIES),
        precision=precision,
    ).data


def case(name: str, io: str = "deploy", batch: Batch = ONE) -> Any:
    model = {"det": lambda: detection()[1], "multi_label": lambda: multi_label()[1]}.get(
        name, lambda: exported(name, io, (64, 64), batch)[1]
    )
    return pytest.param(model, batch, id=f"{name} {io} {batch.maximum}")


@pytest.mark.parametrize("precision", [fp16, int8])
@pytest.mark.parametrize(
    ("source", "batch"),
    [
        case("seg"),
        case("seg", "raw"),
        case("cls", batch=Batch(1, 1, 4)),
        case("cls", "raw"),
        case("multi_label"),
        case("det"),
        *map(case, BASELINES),
    ],
)
def test_every_runtime_takes_every_network(
    source: Callable[[], onnx.ModelProto], batch: Batch, precision: Callable[[onnx.ModelProto], onnx.ModelProto]
) -> None:
    model = source()
    typed = precision(model)
    onnx.checker.check_model(typed, full_check=True)
    assert (typed.opset_import[0].version, len(typed.opset_import)) == (OPSET, 1)
    check_portable(typed)
    assert list(typed.graph.input) == list(model.graph.input)
    assert list(typed.graph.output) == list(model.graph.output)
    picture = feed(model)
    found = onnxruntime.InferenceSession(typed.SerializeToString()).run(None, picture)
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(typed.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    others = compiled(list(picture.values()))
    reference = onnxruntime.InferenceSession(model.SerializeToString()).run(None, picture)
    for ours, other, wanted in zip(found, others.values(), reference, strict=True):
        assert ours.shape == other.shape == wanted.shape
        if ours.dtype == np.float32 and precision is fp16:
            # Scores and logits; both runtimes round at other places.
            limit = 0.03 * max(1.0, float(np.abs(wanted).max()))
            np.testing.assert_allclose(ours, wanted, atol=limit)
            np.testing.assert_allclose(other, wanted, atol=limit)
    if importlib.util.find_spec("tensorrt_rtx") is not None:
        assert len(build(typed, batch, precision.__name__)) > 100_000


def test_pairs_have_the_form_that_old_parsers_know() -> None:
    _, model = exported("cls", "deploy", (64, 64))
    typed = int8(model)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in typed.graph.initializer}
    makers = {output: node for node in typed.graph.node for output in node.output}
    pairs = [node for node in typed.graph.node if node.op_type in {"QuantizeLinear", "DequantizeLinear"}]
    for node in pairs:
        scale, zero = (constants[name] for name in node.input[1:])
        assert (scale.dtype, zero.dtype, scale.shape) == (np.float32, np.int8, zero.shape)
        assert (scale > 0).all()
        assert not zero.any()
        assert (scale.ndim == 1) == (node.input[0].removesuffix(".int8").endswith("weight"))
    convs = [n for n in typed.graph.node if n.op_type == "Conv" and makers.get(n.input[1]) in pairs]
    assert len(convs) == sum(not site.depthwise for site in conv_sites(model))
    for conv in convs:
        assert makers[conv.input[0]].op_type == "DequantizeLinear"
        assert conv.input[2] in constants, "biases stay float32"
    # Convolutions that read the same tensor share one pair.
    quantised_tensors = [node.input[0] for node in pairs if node.op_type == "QuantizeLinear"]
    assert len(quantised_tensors) == len(set(quantised_tensors))


def test_a_dead_channel_gets_a_scale_that_is_not_zero() -> None:
    weight = np.array([[0.0, 0.0], [5e-18, -5e-18], [1e-3, -2.54], [526.0, 3.0]], np.float32).reshape(4, 2, 1, 1)
    np.testing.assert_allclose(channel_scales(weight), [1, 1, 2.54 / 127, 526 / 127], rtol=1e-6)

    _, model = exported("cls", "raw", (64, 64))
    site = next(site for site in conv_sites(model) if not site.depthwise)
    tensor = next(t for t in model.graph.initializer if t.name == site.weight)
    values = numpy_helper.to_array(tensor).copy()
    values[2] = 0
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    found = int8(model)
    logits = onnxruntime.InferenceSession(found.SerializeToString()).run(None, feed(model))[0]
    assert np.isfinite(logits).all()


@pytest.mark.shared
def test_a_published_checkpoint_has_a_dead_tensor(shared: Path) -> None:
    """The reinforcement of level 3 gives zeros: there is nothing to take a range from, and nothing to divide by."""
    network = create_model("seg", weights=shared / "weights" / "espnetv2_s_2.0_city_1024x512.pth")
    model = onnx.load_from_string(export_again(network, "seg", "deploy", (96, 192)))
    photo = load_photo(shared / "golden" / "seg" / "photos" / "sample2_512x256.png")[np.newaxis, 80:176, 160:352]
    sites = conv_sites(model)
    counts = count_values(model, sorted({site.input for site in sites}), [{"image": photo}])
    dead = [site.weight for site in sites if int8_scale(counts[site.input]) is None]
    assert dead == ["network.network.encoder.down3.reinforce.1.conv.weight"]


def test_few_bits_cost_little_where_they_fit() -> None:
    """The logits of int8 are those of float32 within a few per cent: scales, axes and zero points are right."""
    _, model = exported("cls", "raw", (64, 64))
    found = onnxruntime.InferenceSession(int8(model).SerializeToString()).run(None, feed(model))[0]
    wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feed(model))[0]
    assert 1e-4 < np.abs(found - wanted).max() / np.abs(wanted).max() < 0.1


@needs_rtx
def test_what_onnxruntime_makes_by_default_is_refused(tmp_path: Path) -> None:
    """Why there is a form of our own: quantised biases and zero points are not for NVIDIA's parser."""
    _, model = exported("cls", "raw", (64, 64))
    onnx.save(model, tmp_path / "cls.onnx")

    class OnePicture(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._feeds = [feed(model)]

        def get_next(self) -> Any:
            return self._feeds.pop() if self._feeds else None

    quantize_static(
        tmp_path / "cls.onnx",
        tmp_path / "int8.onnx",
        OnePicture(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )
    with pytest.raises(CheckError, match=r"tensorrt-rtx .* does not accept the ONNX file: "):
        build(onnx.load(tmp_path / "int8.onnx"))


@pytest.mark.parametrize(
    ("weight", "block"),
    [
        ("network.network.encoder.stage3.2.project.conv.weight", "stage3.2"),
        ("network.network.encoder.down2.eesp.branches.0.weight", "down2"),
        ("network.network.encoder.stem.conv.weight", "stem"),
        ("network.network.pyramid4.mix.convs.1.weight", "pyramid4"),
        ("network.network.skip3.gate.weight", "skip3"),
        ("network.features.stage2.unit3.dw_conv.conv.weight", "stage2.unit3"),
        ("network.features.7.conv.0.0.weight", "features.7"),
        ("network.stage2.0.branch1.0.weight", "stage2.0"),
        ("network.network.backbone.head.1.conv.weight", "head.1"),
        ("val_12", "val_12"),
    ],
)
def test_blocks_have_the_names_of_the_code(weight: str, block: str) -> None:
    assert block_of(weight) == block


def test_multiply_accumulates_are_those_of_the_network() -> None:
    _, model = exported("mobilenetv1", "deploy", (64, 64))
    sites = conv_sites(model)
    assert len(sites) == 27
    assert sum(site.depthwise for site in sites) == 13
    stem = sites[0]
    assert (stem.block, stem.macs) == ("init_block", 32 * 32 * 16 * 3 * 9)
