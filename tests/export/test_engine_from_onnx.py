"""Engines: the seam to TensorRT, and real builds by TensorRT-RTX, which needs no GPU for that."""

import importlib.util
import sys
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from espnet_edge.errors import CheckError, InputError, UnavailableError
from espnet_edge.export import engine_from_onnx as seam
from espnet_edge.export.onnx_from_torch import Batch
from espnet_edge.runtime.cuda_probe import CudaProbe, probe_cuda
from networks import ONE, exported

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="no TensorRT-RTX wheel for this platform"
)


def rtx() -> seam.Builder:
    builder = seam.find_builder("tensorrt-rtx")
    assert isinstance(builder, seam.Builder)
    return builder


def build(model: onnx.ModelProto, batch: Batch = ONE, capabilities: tuple[str, ...] = ()) -> seam.Engine:
    return seam.engine_from_onnx(rtx(), model.SerializeToString(), batch=batch, compute_capabilities=capabilities)


@needs_rtx
@pytest.mark.parametrize(
    ("name", "io", "batch"),
    [
        ("seg", "deploy", Batch()),
        ("cls", "deploy", Batch(1, 1, 4)),
        ("mobilenetv1", "deploy", Batch()),
        ("mobilenetv2", "deploy", Batch()),
        ("shufflenetv1", "deploy", Batch()),
        ("shufflenetv2", "deploy", Batch()),
    ],
)
def test_real_networks_build(name: str, io: str, batch: Batch) -> None:
    engine = build(exported(name, io, (64, 64), batch)[1], batch)
    assert len(engine.data) > 100_000
    assert engine.info.builder == "tensorrt-rtx"
    assert engine.info.precision == "fp32"
    assert (engine.info.profile is not None) == batch.is_dynamic
    if engine.info.profile:
        assert (engine.info.profile.minimum, engine.info.profile.optimum, engine.info.profile.maximum) == (1, 1, 4)


def one_node(op_type: str, *constants: Any, **attributes: Any) -> onnx.ModelProto:
    """A graph of a single operator on an image of 8 channels, to see what the parser refuses."""
    tensors = [numpy_helper.from_array(constant, f"c{i}") for i, constant in enumerate(constants)]
    node = helper.make_node(op_type, ["image", *(tensor.name for tensor in tensors)], ["out"], **attributes)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 8, 16, 16])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "one", [image], [out], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@needs_rtx
def test_a_slope_per_channel_is_accepted() -> None:
    assert build(one_node("PRelu", np.full((8, 1, 1), 0.25, np.float32))).data


@needs_rtx
@pytest.mark.parametrize(
    "model",
    [
        one_node("PRelu", np.full(8, 0.25, np.float32)),
        one_node("Conv", np.zeros((4, 7, 3, 3), np.float32)),
        one_node("Unknown"),
        one_node("Unique"),
        one_node(
            "Resize",
            np.zeros(0, np.float32),
            np.array([1, 1, 2, 2], np.float32),
            mode="linear",
            coordinate_transformation_mode="align_corners",
            antialias=1,
        ),
    ],
    ids=["slope", "channels", "custom", "unique", "antialias"],
)
def test_what_the_parser_refuses_is_an_error(model: onnx.ModelProto) -> None:
    with pytest.raises(CheckError, match="does not accept the ONNX file: "):
        build(model)


@needs_rtx
def test_compute_capabilities() -> None:
    model = one_node("PRelu", np.full((8, 1, 1), 0.25, np.float32))
    assert build(model, capabilities=("8.6", "8.9")).info.compute_capabilities == ("8.6", "8.9")
    with pytest.raises(InputError, match=r"--compute-capability 9.0: tensorrt-rtx [\d.]+ has 7.5, 8.0, 8.6, 8.9"):
        seam.check_compute_capabilities(rtx(), ("9.0",))


def test_compute_capabilities_are_numbers() -> None:
    assert seam.parse_compute_capabilities("8.6, 12.0") == ("8.6", "12.0")
    for text in ("86", "ampere", "8.6,", ""):
        with pytest.raises(InputError, match="give numbers such as"):
            seam.parse_compute_capabilities(text)


def test_no_driver_no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a driver the library is not even imported: its Builder would bring the process down."""
    monkeypatch.setattr(seam, "probe_cuda", lambda: CudaProbe(None, "no CUDA driver"))
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(UnavailableError, match=r"--engine tensorrt: TensorRT needs a GPU \(no CUDA driver\)"):
        seam.find_builder("tensorrt")


def test_a_missing_library_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seam, "probe_cuda", lambda: CudaProbe(None, "no CUDA driver"))
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
    monkeypatch.setattr(seam, "probe_cuda", lambda: CudaProbe("Orin", "found"))
    builder = seam.find_builder("auto")
    assert isinstance(builder, seam.Builder)
    assert (builder.name, builder.version, builder.device) == ("tensorrt", "10.3.0", "Orin")


def test_an_unknown_builder_lists_the_known() -> None:
    with pytest.raises(InputError, match="'tvm' is unknown; there are auto, none, tensorrt, tensorrt-rtx"):
        seam.find_builder("tvm")


def test_the_probe_answers_on_any_machine() -> None:
    probe = probe_cuda()
    assert (probe.device is None) != (probe.reason == "found")
