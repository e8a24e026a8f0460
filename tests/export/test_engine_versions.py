"""The one adapter against the recorded interface of each version: what it asks for, and nothing that is not there."""

import json
import signal
import sys
from enum import IntEnum
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from espnet_edge.errors import CheckError, InputError, UnavailableError
from espnet_edge.export import builders, module_build
from espnet_edge.export import engine_from_onnx as seam
from espnet_edge.export.batch import Batch
from espnet_edge.export.build_options import BuildOptions
from espnet_edge.export.progress import Progress
from espnet_edge.runtime.cuda_probe import CudaProbe
from tensorrt_api import PLAN, RTX, VERSIONS, fake_tensorrt
from typed_models import typed_model

# Bits of the network: bit 0 is EXPLICIT_BATCH up to 10.x, bit 1 STRONGLY_TYPED in 10.x, which is bit 0 in 11.x.
FIRST_CHOICE = {
    "8.5": (0b01, "weak"),
    "8.6.1": (0b01, "weak"),
    "10.3.0": (0b11, "strong"),
    "10.13.3.9": (0b11, "strong"),
    "10.16.1.11": (0b11, "strong"),
    "11.4.0.106": (0b01, "strong"),
    RTX: (0b01, "strong"),
}
WEAK, BOTH = ("8.5", "8.6.1"), ("10.3.0", "10.13.3.9", "10.16.1.11")
TYPE_FLAGS = {"fp32": [], "fp16": ["FP16"], "int8": ["INT8"]}
FORMATS = {"fp32": "Row major linear FP32", "fp16": "Half", "int8": "Row major Int8 format"}


class Listener(Progress):
    def __init__(self) -> None:
        self.parts: list[tuple[str, float]] = []
        self.warnings: list[str] = []

    def part(self, text: str, share: float) -> None:
        self.parts.append((text, share))

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def layers(**counts: int) -> str:
    """What the inspector says of an engine with so many convolutions in each precision."""
    made = [
        {
            "Name": f"{precision}_{number}",
            "LayerType": "CaskConvolution",
            "Inputs": [{"Name": "x", "Format/Datatype": FORMATS[precision]}],
            "Outputs": [{"Name": "y", "Format/Datatype": FORMATS["fp32"]}],
        }
        for precision, count in counts.items()
        for number in range(count)
    ]
    return json.dumps({"Layers": made, "Bindings": ["image", "out"]})


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine with a GPU and TensorRT of a version: on("10.3.0") -> (builder, world)."""

    def machine(version: str) -> tuple[seam.Builder, Any]:
        probe = CudaProbe("Orin", "found", compute_capability="8.7")
        monkeypatch.setattr(builders, "probe_cuda", lambda: probe)
        monkeypatch.setattr(module_build, "probe_cuda", lambda: probe)
        module: ModuleType = fake_tensorrt(version)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        builder = seam.find_builder(module.__name__.replace("_", "-"))
        assert isinstance(builder, seam.Builder)
        module.world.inspected = layers(fp32=1, fp16=3, int8=2)
        return builder, module.world

    return machine


def build(builder: seam.Builder, precision: Any = "fp32", batch: Batch | None = None, **options: Any) -> seam.Engine:
    batch = batch or Batch()
    model = typed_model(precision, batch.dimension).SerializeToString()
    progress = options.pop("progress", Listener())
    return seam.engine_from_onnx(
        builder, model, batch=batch, precision=precision, options=BuildOptions(**options), progress=progress
    )


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_build(version: str, precision: str, on: Any) -> None:
    builder, world = on(version)
    engine = build(builder, precision)
    bits, typing = FIRST_CHOICE[version]
    assert engine.data == PLAN
    assert world.values("create_network") == [bits]
    assert world.flags() == (TYPE_FLAGS[precision] if typing == "weak" else [])
    assert world.values("build_serialized_network")
    assert [verbosity.name for verbosity in world.values("profiling_verbosity")] == ["DETAILED"]
    info = engine.info
    assert (info.builder_version, info.precision, info.typing) == (version.rsplit(maxsplit=1)[-1], precision, typing)
    # An engine of TensorRT is for the GPU that it was built on.
    assert info.compute_capabilities == (() if builder.name == "tensorrt-rtx" else ("8.7",))
    assert info.network_types is not None
    assert (info.network_types.half > 0) == (precision == "fp16")
    assert info.network_types.quantize == (2 if precision == "int8" else 0)
    assert info.verified_precision is not None
    assert info.verified_precision.model_dump(exclude={"other", "unknown"}) == {
        "layers": 6,
        "fp32": 1,
        "fp16": 3,
        "int8": 2,
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_a_free_batch_has_a_profile(version: str, on: Any) -> None:
    builder, world = on(version)
    engine = build(builder, batch=Batch(1, 4, 8))
    assert world.values("set_shape") == [("image", (1, 4, 8, 8), (4, 4, 8, 8), (8, 4, 8, 8))]
    assert len(world.values("add_optimization_profile")) == 1
    assert engine.info.profile is not None


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("version", BOTH)
def test_a_strongly_typed_build_that_fails_is_tried_weakly_typed(version: str, precision: str, on: Any) -> None:
    builder, world = on(version)
    world.refused_typings = ("strong",)
    listener = Listener()
    engine = build(builder, precision, progress=listener)
    assert world.values("create_network") == [0b11, 0b01]
    assert world.flags() == TYPE_FLAGS[precision]
    assert engine.info.typing == "weak"
    assert len(listener.warnings) == 1
    assert "no implementation was found; trying again" in listener.warnings[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_build_that_fails_in_every_way_says_what_the_library_said(version: str, on: Any) -> None:
    builder, world = on(version)
    world.refused_typings = ("strong", "weak")
    with pytest.raises(CheckError, match=r"did not build the engine: no implementation was found$"):
        build(builder, "fp16")
    assert len(world.values("build_serialized_network")) == (2 if version in BOTH else 1)


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0", "11.4.0.106"])
@pytest.mark.parametrize("says", ["Error Code 2: OutOfMemory (no details)", "Requested amount could not be allocated"])
def test_out_of_memory_is_the_hardwares_lack(version: str, says: str, on: Any) -> None:
    builder, world = on(version)
    world.refused_typings, world.says = ("strong", "weak"), says
    with pytest.raises(UnavailableError, match=r"ran out of memory: .*--workspace MIB"):
        build(builder)
    assert len(world.values("build_serialized_network")) == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_hardware_without_the_type_is_said_where_the_version_answers(version: str, on: Any) -> None:
    builder, world = on(version)
    world.fast_fp16 = world.fast_int8 = False
    for precision in ("fp16", "int8"):
        if version in {*WEAK, *BOTH}:
            with pytest.raises(UnavailableError, match=f"--precision {precision}: Orin computes it no faster"):
                build(builder, precision)
        else:
            assert build(builder, precision).data == PLAN


@pytest.mark.parametrize("version", VERSIONS)
def test_compute_capabilities_are_for_rtx(version: str, on: Any) -> None:
    builder, world = on(version)
    if version != RTX:
        with pytest.raises(InputError, match="--compute-capability is for tensorrt-rtx; tensorrt builds for the GPU"):
            build(builder, compute_capabilities=("8.6",))
        return
    build(builder, compute_capabilities=("8.6", "12.0"))
    assert world.values("num_compute_capabilities") == [2]
    assert [(value.name, index) for value, index in world.values("set_compute_capability")] == [
        ("SM86", 0),
        ("SM120", 1),
    ]
    world.takes_capability = False
    with pytest.raises(InputError, match=r"--compute-capability 7.5,8.6: .* does not take 7.5 in this list"):
        build(builder, compute_capabilities=("7.5", "8.6"))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_workspace_limit_is_bytes(version: str, on: Any) -> None:
    builder, world = on(version)
    assert build(builder, workspace_mib=64).info.workspace_mib == 64
    ((pool, size),) = world.values("set_memory_pool_limit")
    assert (pool.name, size) == ("WORKSPACE", 64 << 20)


@pytest.mark.parametrize(("version", "typing"), [(version, choice[1]) for version, choice in FIRST_CHOICE.items()])
def test_dla(version: str, typing: str, on: Any) -> None:
    builder, world = on(version)
    with pytest.raises(UnavailableError, match=r"--dla 0: .* reports 0 DLA cores"):
        build(builder, "fp16", dla_core=0)
    world.dla_cores = 2
    with pytest.raises(UnavailableError, match=r"--dla 2: .* reports 2 DLA cores"):
        build(builder, "fp16", dla_core=2)
    for precision, batch in (("fp32", Batch()), ("fp16", Batch(1, 1, 4))):
        with pytest.raises(InputError, match="one fixed batch in fp16 or int8"):
            build(builder, precision, batch=batch, dla_core=1)
    world.calls.clear()
    engine = build(builder, "fp16", dla_core=1)
    assert engine.info.dla_core == 1
    assert [device.name for device in world.values("default_device_type")] == ["DLA"]
    assert world.values("DLA_core") == [1, 1]  # of the build, and of the runtime that reads the engine back
    assert world.flags() == (["FP16"] if typing == "weak" else []) + ["GPU_FALLBACK"]


@pytest.mark.parametrize("version", VERSIONS)
def test_quantised_files_on_a_dla(version: str, on: Any) -> None:
    builder, world = on(version)
    world.dla_cores = 1
    if version in WEAK:
        with pytest.raises(InputError, match="takes no quantised ONNX file on the DLA"):
            build(builder, "int8", dla_core=0)
        return
    world.refused_typings = ("strong",)
    with pytest.raises(CheckError, match="did not build"):  # and no second try, in which nothing would run on the DLA
        build(builder, "int8", dla_core=0)
    assert len(world.values("build_serialized_network")) == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_compatible_engines_where_the_version_has_them(version: str, on: Any) -> None:
    builder, world = on(version)
    if builder.name == "tensorrt-rtx":
        with pytest.raises(InputError, match=r"--compatible ampere.: .* builds for its own version"):
            build(builder, compatible=("ampere+",))
        return
    there = {
        "version": version != "8.5",
        "ampere+": version != "8.5",
        "same-compute-capability": version not in {"8.5", "8.6.1", "10.3.0"},
    }
    for word, has_it in there.items():
        world.calls.clear()
        if not has_it:
            with pytest.raises(InputError, match=rf"--compatible {word.replace('+', '.')}: .* has no such engines"):
                build(builder, compatible=(word,))
            continue
        assert build(builder, compatible=(word,)).info.compatible == (word,)
        levels = [level.name for level in world.values("hardware_compatibility_level")]
        assert levels == ([] if word == "version" else [word.upper().replace("-", "_").replace("+", "_PLUS")])
        # An engine that brings its own runtime holds host code.
        assert world.flags() == (["VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME"] if word == "version" else [])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_timing_cache_is_read_and_written(version: str, on: Any, tmp_path: Path) -> None:
    builder, world = on(version)
    path, listener = tmp_path / "timings", Listener()
    build(builder, timing_cache=path, progress=listener)
    assert path.read_bytes() == b"new timings"
    path.write_bytes(b"earlier timings")
    world.calls.clear()
    build(builder, timing_cache=path, progress=listener)
    assert b"earlier timings" in [
        cache[0]._data if isinstance(cache, tuple) else cache._data for cache in world.values("set_timing_cache")
    ]
    assert not listener.warnings
    path.write_bytes(b"timings of another GPU")
    world.cache_fits = False
    build(builder, timing_cache=path, progress=listener)
    assert "is from another GPU or version" in listener.warnings[0]
    assert path.read_bytes() == b"new timings"


def test_a_failed_build_leaves_the_timing_cache(on: Any, tmp_path: Path) -> None:
    builder, world = on("10.3.0")
    (tmp_path / "timings").write_bytes(b"earlier timings")
    world.refused_typings = ("strong", "weak")
    with pytest.raises(CheckError):
        build(builder, timing_cache=tmp_path / "timings")
    assert (tmp_path / "timings").read_bytes() == b"earlier timings"


@pytest.mark.parametrize("version", VERSIONS)
def test_progress_where_the_version_tells_it(version: str, on: Any) -> None:
    builder, world = on(version)
    listener = Listener()
    build(builder, progress=listener)
    if version in WEAK:
        assert not listener.parts
        return
    assert [part for part in listener.parts if part[0] == "Timing"] == [
        ("Timing", 0.0),
        ("Timing", 0.125),
        ("Timing", 0.25),
        ("Timing", 0.375),
        ("Timing", 0.5),
    ]
    assert listener.parts[-1] == ("Building", 1.0)
    assert world.values("progress_monitor")[-1] is None  # the library keeps none that is gone


@pytest.mark.parametrize("version", ["10.3.0", "10.16.1.11", "11.4.0.106", RTX])
def test_control_c_ends_the_build(version: str, on: Any) -> None:
    class Impatient(Progress):
        parts = 0

        def part(self, text: str, share: float) -> None:
            self.parts += 1
            if self.parts == 3:
                signal.raise_signal(signal.SIGINT)

    builder, world = on(version)
    world.steps = 1000
    impatient = Impatient()
    with pytest.raises(KeyboardInterrupt):
        build(builder, progress=impatient)
    assert impatient.parts < 10
    assert len(world.values("build_serialized_network")) == 1  # no second try


def test_what_the_listener_raises_comes_out_after_the_library_has_ended(on: Any) -> None:
    class Broken(Progress):
        def part(self, text: str, share: float) -> None:
            raise OSError("the terminal is gone")

    builder, _ = on("11.4.0.106")
    with pytest.raises(OSError, match="the terminal is gone"):
        build(builder, progress=Broken())


@pytest.mark.parametrize("version", VERSIONS)
def test_an_engine_in_another_precision_is_a_failed_check(version: str, on: Any) -> None:
    builder, world = on(version)
    world.inspected = layers(fp32=6)
    for precision in ("fp16", "int8"):
        with pytest.raises(
            CheckError, match=f"{precision} was asked for, but of the engine's 6 computing layers 6 are"
        ):
            build(builder, precision)
    assert build(builder, "fp32").info.verified_precision is not None


@pytest.mark.parametrize("version", [version for version in VERSIONS if version not in WEAK])
def test_a_file_without_the_types_is_a_failed_check(version: str, on: Any) -> None:
    builder, _ = on(version)
    model = typed_model("fp32").SerializeToString()
    for precision, words in (("fp16", "gives float16"), ("int8", "0 quantise and 0 dequantise")):
        with pytest.raises(CheckError, match=words):
            seam.engine_from_onnx(builder, model, batch=Batch(), precision=precision)  # type: ignore[arg-type]


def test_an_engine_that_cannot_be_read_back_says_why(on: Any) -> None:
    builder, world = on(RTX)
    world.loads = False
    info = build(builder).info
    assert info.verified_precision is None
    assert info.not_verified == "the engine cannot be loaded here: the library gave no reason"
    world.loads, world.inspected = True, '{"Layers": ["conv_a", "conv_b"]}'
    assert build(builder).info.not_verified == "the library does not say in what its layers compute"


def test_a_version_that_no_longer_names_what_it_always_does(on: Any) -> None:
    builder, world = on("11.4.0.106")
    sys.modules["tensorrt"].NetworkDefinitionCreationFlag = IntEnum("NetworkDefinitionCreationFlag", {"OTHER": 0})
    assert build(builder, "int8").info.typing == "strong"
    assert world.values("create_network") == [0]
    world.dla_cores = 1
    assert build(builder, "int8", dla_core=0).info.dla_core == 0


def test_the_recorded_interfaces_refuse_what_a_version_lacks() -> None:
    """Else the tests above would prove nothing."""
    old, new = fake_tensorrt("8.6.1"), fake_tensorrt("11.4.0.106")
    log = old.ILogger()
    config = old.Builder(log).create_builder_config()
    config.max_workspace_size = 1
    assert old.world.values("max_workspace_size") == [1]
    assert old.Builder(log).platform_has_fast_fp16
    with pytest.raises(AttributeError, match="progress_monitor"):
        config.progress_monitor = None
    new_builder = new.Builder(new.ILogger())
    with pytest.raises(AttributeError, match="max_workspace_size"):
        new_builder.create_builder_config().max_workspace_size = 1
    with pytest.raises(AttributeError, match="platform_has_fast_fp16"):
        _ = new_builder.platform_has_fast_fp16
    for name in ("FP16", "INT8"):
        assert not hasattr(new.BuilderFlag, name)
    assert not hasattr(new.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH")
    assert int(old.BuilderFlag.GPU_FALLBACK) == int(new.BuilderFlag.GPU_FALLBACK) == 3


def test_an_old_operator_set_is_refused_by_name(on: Any) -> None:
    model = typed_model("fp32")
    model.graph.node[0].op_type = "Unique"
    for version in ("8.5", "10.3.0", "11.4.0.106"):
        builder, _ = on(version)
        with pytest.raises(CheckError, match=rf"TensorRT {version} does not take the ONNX file: Unique conv_a: "):
            seam.engine_from_onnx(builder, model.SerializeToString(), batch=Batch())
