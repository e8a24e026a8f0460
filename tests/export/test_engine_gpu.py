"""Builds by TensorRT itself, which need a GPU; skipped, with the reason, where there is none. See `make test-gpu`."""

import signal
from pathlib import Path
from typing import Any

import pytest

from espnet_edge.errors import CheckError, UnavailableError
from espnet_edge.export import engine_from_onnx as seam
from espnet_edge.export.batch import Batch
from espnet_edge.export.build_options import BuildOptions
from espnet_edge.export.progress import Progress
from espnet_edge.runtime.manifest import TensorInfo
from typed_models import one_node, typed_model

pytestmark = pytest.mark.tensorrt
CHANNELS = 64  # wide enough for the units that compute in int8
FREE = TensorInfo(name="image", dtype="float32", shape=("batch", CHANNELS, 8, 8), layout="NCHW", meaning="")


@pytest.fixture(params=["tensorrt", "trtexec"])
def builder(request: pytest.FixtureRequest) -> seam.Builder:
    try:
        found = seam.find_builder(request.param)
    except UnavailableError as error:
        pytest.skip(str(error))
    assert isinstance(found, seam.Builder)
    return found


def build(builder: seam.Builder, precision: Any, *, progress: Progress | None = None, **options: Any) -> seam.Engine:
    return seam.engine_from_onnx(
        builder,
        typed_model(precision, channels=CHANNELS).SerializeToString(),
        batch=Batch(),
        precision=precision,
        options=BuildOptions(**options),
        progress=progress or Progress(),
    )


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_engines_compute_in_the_precision_of_the_file(builder: seam.Builder, precision: str) -> None:
    info = build(builder, precision, workspace_mib=256).info
    assert info.verified_precision is not None, info.not_verified
    found = {"fp32": info.verified_precision.fp32, "fp16": info.verified_precision.fp16}
    assert {**found, "int8": info.verified_precision.int8}[precision] > 0


def test_a_free_batch(builder: seam.Builder) -> None:
    model = typed_model("fp32", "batch", CHANNELS).SerializeToString()
    engine = seam.engine_from_onnx(builder, model, batch=Batch(1, 2, 8), inputs=[FREE])
    assert engine.info.profile is not None
    assert engine.info.profile.maximum == 8


def test_timings_are_kept(builder: seam.Builder, tmp_path: Path) -> None:
    cache = tmp_path / "timings"
    build(builder, "fp32", timing_cache=cache)
    assert cache.stat().st_size > 0
    assert build(builder, "fp32", timing_cache=cache).data


def test_compatible_engines(builder: seam.Builder) -> None:
    info = build(builder, "fp32", compatible=("ampere+",)).info
    assert info.verified_precision is not None
    assert info.verified_precision.layers > 0
    assert build(builder, "fp32", compatible=("version", "ampere+")).data


def test_what_it_does_not_take_is_refused(builder: seam.Builder) -> None:
    with pytest.raises(CheckError, match="Unique the_layer"):
        seam.engine_from_onnx(builder, one_node("Unique", opset=17).SerializeToString(), batch=Batch())


def test_control_c_ends_the_build() -> None:
    class Impatient(Progress):
        parts = 0

        def part(self, text: str, share: float) -> None:
            self.parts += 1
            if self.parts == 3:
                signal.raise_signal(signal.SIGINT)

    found, impatient = seam.find_builder("tensorrt"), Impatient()
    assert isinstance(found, seam.Builder)
    module = found.module  # type: ignore[attr-defined]
    if not hasattr(module, "IProgressMonitor"):
        pytest.skip(f"TensorRT {found.version} tells no progress")
    with pytest.raises(KeyboardInterrupt):
        build(found, "fp32", progress=impatient)
