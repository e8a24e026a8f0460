"""Engines: the seam to TensorRT, and real builds by TensorRT-RTX, which needs no GPU for that."""

import importlib.util
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from espnet_edge.errors import CheckError, InputError, UnavailableError
from espnet_edge.export import builders
from espnet_edge.export import engine_from_onnx as seam
from espnet_edge.export.batch import Batch, parse_batch
from espnet_edge.export.build_options import BuildOptions, parse_compatible, parse_compute_capabilities
from espnet_edge.export.progress import Progress
from espnet_edge.model.registry import get_spec, list_models, short_name
from espnet_edge.runtime.cuda_probe import CudaProbe, probe_cuda
from networks import ONE, detection, exported
from typed_models import one_node, typed_model

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="no TensorRT-RTX wheel for this platform"
)
# The GPUs that TensorRT-RTX compiles for: Ampere, Ada, Blackwell.
RTX_GPUS = ("8.6", "8.9", "12.0")


def rtx() -> seam.Builder:
    builder = seam.find_builder("tensorrt-rtx")
    assert isinstance(builder, seam.Builder)
    return builder


def build(model: onnx.ModelProto, batch: Batch = ONE, precision: Any = "fp32", **options: Any) -> seam.Engine:
    data = model.SerializeToString()
    return seam.engine_from_onnx(rtx(), data, batch=batch, precision=precision, options=BuildOptions(**options))


def network_file(name: str) -> tuple[onnx.ModelProto, Batch]:
    """A small export, one of those that other tests use, too."""
    task = get_spec(name).task
    if task == "detection":
        return detection()[1], ONE
    batch = Batch(1, 1, 4) if task == "classification" and name.startswith("espnet") else ONE
    return exported(short_name(get_spec(name)), "deploy", (64, 64), batch)[1], batch


# The language model's exports, and so its engines for the same GPUs, are in its own tests.
@needs_rtx
@pytest.mark.parametrize("name", [name for name in list_models() if get_spec(name).task != "language_modelling"])
def test_every_network_builds_for_every_rtx_gpu(name: str) -> None:
    model, batch = network_file(name)
    engine = build(model, batch, compute_capabilities=RTX_GPUS)
    assert len(engine.data) > 100_000
    info = engine.info
    assert (info.builder, info.precision, info.typing) == ("tensorrt-rtx", "fp32", "strong")
    assert info.compute_capabilities == RTX_GPUS
    assert (info.profile is not None) == batch.is_dynamic
    assert info.network_types is not None
    assert info.network_types.half == info.network_types.quantize == 0
    if probe_cuda().device is None:
        assert info.verified_precision is None
        assert info.not_verified is not None
        assert info.not_verified.startswith("the engine cannot be loaded here: ")


@needs_rtx
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_parser_keeps_the_types_of_the_file(precision: str) -> None:
    info = build(typed_model(precision), precision=precision, workspace_mib=64).info
    assert info.network_types is not None
    assert (info.network_types.half > 0) == (precision == "fp16")
    assert (info.network_types.quantize > 0) == (info.network_types.dequantize > 0) == (precision == "int8")
    assert (info.precision, info.workspace_mib) == (precision, 64)


@needs_rtx
def test_a_file_in_other_types_is_refused() -> None:
    for precision, words in (("fp16", "none of the 2 layers .* gives float16"), ("int8", "0 quantise and 0 dequant")):
        with pytest.raises(CheckError, match=words):
            build(typed_model("fp32"), precision=precision)


@needs_rtx
def test_what_the_library_does_not_do_is_refused() -> None:
    with pytest.raises(InputError, match=r"--timing-cache timings: tensorrt-rtx [\d.]+ keeps no timings; leave it out"):
        build(typed_model("fp32"), timing_cache=Path("timings"))
    for too_much in (0, (1 << 20) + 1, 1 << 44):
        with pytest.raises(InputError, match=f"--workspace {too_much}: give MiB, 1 to 1048576"):
            build(typed_model("fp32"), workspace_mib=too_much)
    with pytest.raises(UnavailableError, match=r"--dla 0: tensorrt-rtx [\d.]+ reports 0 DLA cores"):
        build(typed_model("fp16"), precision="fp16", dla_core=0)


@needs_rtx
def test_the_build_tells_how_far_it_is_and_ends_when_asked_to() -> None:
    class Listener(Progress):
        def __init__(self, patience: int) -> None:
            self.shares: list[float] = []
            self.patience = patience

        def part(self, text: str, share: float) -> None:
            assert text
            self.shares.append(share)
            if len(self.shares) == self.patience:
                signal.raise_signal(signal.SIGINT)

    data, patient, impatient = typed_model("fp32").SerializeToString(), Listener(-1), Listener(5)
    seam.engine_from_onnx(rtx(), data, batch=ONE, progress=patient)
    assert len(patient.shares) > 10
    assert patient.shares[0] == 0
    assert patient.shares == sorted(patient.shares)
    assert 0.8 <= patient.shares[-1] <= 1  # the last step may end without a word
    with pytest.raises(KeyboardInterrupt):
        seam.engine_from_onnx(rtx(), data, batch=ONE, progress=impatient)
    assert len(impatient.shares) < len(patient.shares)


@needs_rtx
def test_a_slope_per_channel_is_accepted() -> None:
    assert build(one_node("PRelu", np.full((8, 1, 1), 0.25, np.float32))).data


def resize(**attributes: Any) -> onnx.ModelProto:
    return one_node("Resize", np.zeros(0, np.float32), np.array([1, 1, 2, 2], np.float32), mode="linear", **attributes)


def dequantised_bias() -> onnx.ModelProto:
    """A convolution whose bias is quantised to int32, as quantisation tools do by default."""
    nodes = [
        helper.make_node("DequantizeLinear", ["bias", "scale", "zero"], ["b"], name="b0_DequantizeLinear"),
        helper.make_node("Conv", ["image", "weight", "b"], ["out"], name="conv"),
    ]
    stored = {
        "bias": np.ones(4, np.int32),
        "scale": np.array(0.1, np.float32),
        "zero": np.array(0, np.int32),
        "weight": np.ones((4, 8, 3, 3), np.float32),
    }
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 8, 16, 16])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(array, name) for name, array in stored.items()]
    graph = helper.make_graph(nodes, "bias", [image], [out], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@needs_rtx
@pytest.mark.parametrize(
    ("model", "words"),
    [
        (one_node("PRelu", np.full(8, 0.25, np.float32)), "PRelu the_layer: .*slope tensor must be unidirectional"),
        (one_node("Conv", np.zeros((4, 7, 3, 3), np.float32)), "the_layer"),
        (one_node("Unknown"), "Unknown the_layer: .*Plugin not found"),
        (one_node("Unique"), "Unique the_layer: "),
        (resize(coordinate_transformation_mode="align_corners", antialias=1), "Resize the_layer: "),
        (resize(coordinate_transformation_mode="tf_crop_and_resize"), "only supports half_pixel"),
        (one_node("AveragePool", opset=19, kernel_shape=[3, 3], dilations=[2, 2]), "does not support dilations"),
        (
            one_node("QuantizeLinear", np.array(0.1, np.float32), np.array(3, np.int8), opset=17),
            "QuantizeLinear the_layer: .*Non-zero zero point is not supported",
        ),
        (dequantised_bias(), "b0_DequantizeLinear.*Int32 but must have type"),
    ],
    ids=["slope", "channels", "custom", "unique", "antialias", "crop", "dilations", "zero-point", "bias"],
)
def test_what_the_parser_refuses_is_an_error_in_its_words(model: onnx.ModelProto, words: str) -> None:
    with pytest.raises(CheckError, match=f"(?s)(does not accept the ONNX file|did not build the engine): .*{words}"):
        build(model)


@needs_rtx
def test_compute_capabilities() -> None:
    model = typed_model("fp32")
    assert build(model, compute_capabilities=("8.6", "8.9")).info.compute_capabilities == ("8.6", "8.9")
    with pytest.raises(InputError, match=r"--compute-capability 9.0: tensorrt-rtx [\d.]+ has 7.5, 8.0, 8.6, 8.9"):
        build(model, compute_capabilities=("9.0",))


def test_compatibilities_are_words() -> None:
    assert parse_compatible("version, ampere+") == ("version", "ampere+")
    for text, words in (("ampere", "'ampere' is unknown"), ("ampere+,same-compute-capability", "exclude each other")):
        with pytest.raises(InputError, match=words):
            parse_compatible(text)


def test_batches_are_numbers() -> None:
    assert parse_batch("1,4,8") == Batch(1, 4, 8)
    for text in ("", "0", "4,2,1", "1,2", "a"):
        with pytest.raises(InputError, match="is no batch"):
            parse_batch(text)


def test_compute_capabilities_are_numbers() -> None:
    assert parse_compute_capabilities("8.6, 12.0") == ("8.6", "12.0")
    with pytest.raises(InputError, match="a number stands there twice"):
        parse_compute_capabilities("8.6,8.9,8.6")
    for text in ("86", "ampere", "8.6,", ""):
        with pytest.raises(InputError, match="give numbers such as"):
            parse_compute_capabilities(text)


def test_no_driver_no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a driver the library is not even imported: its Builder would bring the process down."""
    monkeypatch.setattr(builders, "probe_cuda", lambda: CudaProbe(None, "no CUDA driver"))
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(UnavailableError, match=r"--engine tensorrt: TensorRT needs a GPU \(no CUDA driver\)"):
        seam.find_builder("tensorrt")


def test_a_missing_library_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builders, "probe_cuda", lambda: CudaProbe(None, "no CUDA driver"))
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(UnavailableError, match="pip install tensorrt-rtx"):
        seam.find_builder("tensorrt-rtx")
    reason = seam.find_builder("auto")
    assert isinstance(reason, str)
    assert "TensorRT needs a GPU (no CUDA driver)" in reason
    assert "TensorRT-RTX cannot be imported" in reason


def test_auto_prefers_tensorrt_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = ModuleType("tensorrt")
    fake.__version__ = "10.3.0"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    monkeypatch.setattr(builders, "probe_cuda", lambda: CudaProbe("Orin", "found"))
    builder = seam.find_builder("auto")
    assert isinstance(builder, seam.Builder)
    assert (builder.name, builder.version, builder.device) == ("tensorrt", "10.3.0", "Orin")


def test_an_unknown_builder_lists_the_known() -> None:
    with pytest.raises(InputError, match="'tvm' is unknown; there are auto, none, tensorrt, trtexec, tensorrt-rtx"):
        seam.find_builder("tvm")


def test_the_probe_answers_on_any_machine() -> None:
    probe = probe_cuda()
    assert (probe.device is None) != (probe.reason == "found")
