"""Whether a file is whole and fits a machine, and the way out: the rules, the messages, the exit codes."""

import json
import random
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from espnet_edge.files import sha256_of
from espnet_edge.runtime.compatibility import BuiltEngine, EngineMachine, compatibility
from espnet_edge.runtime.cuda_probe import CudaProbe
from espnet_edge.runtime.doctor import diagnose, engine_problem
from espnet_edge.runtime.manifest import read_manifest
from espnet_edge.runtime.plan import parse_version
from plans import one_node, rtx_plan, tensorrt_plan, write_manifest

NO_GPU = CudaProbe(None, "no CUDA driver")
ORIN = CudaProbe("Orin", "found", "8.7", "12.6")
L4 = CudaProbe("NVIDIA L4", "found", "8.9", "13.0")


def machine(gpu: CudaProbe, version: str, builder: str = "tensorrt") -> EngineMachine:
    return EngineMachine(builder, gpu, parse_version(version), "" if version else "not installed")


def gpu(capability: str, name: str = "GPU") -> CudaProbe:
    return CudaProbe(name, "found", capability, "13.0")


def trt(version: str, capability: str | None = "8.7", *compatible: str, device: str | None = None) -> BuiltEngine:
    capabilities = None if capability is None else (capability,)
    return BuiltEngine("tensorrt", parse_version(version), capabilities, device=device, compatible=compatible)


def rtx(
    *capabilities: str, and_later: bool = False, version: str = "1.7.1.116", compatible: tuple[str, ...] = ()
) -> BuiltEngine:
    return BuiltEngine("tensorrt-rtx", parse_version(version), capabilities, and_later, None, compatible)


@pytest.mark.parametrize(
    ("engine", "here", "kinds"),
    [
        (trt("10.3.0.26"), machine(ORIN, "10.3.0.26"), []),
        (trt("10.3.0.26"), machine(ORIN, "10.3.0"), []),  # the module does not say its build number
        (trt("10.3.0"), machine(ORIN, "10.3.0.26"), []),
        (trt("10.3.0.26"), machine(ORIN, "10.3"), ["version"]),
        (trt("8.6.1.2"), machine(ORIN, "8.6.1.6"), ["version"]),
        (trt("10.3.0.26"), machine(ORIN, "10.3.1.1"), ["version"]),
        (trt("10.3.0.26"), machine(ORIN, "10.13.3.9"), ["version"]),
        (trt("8.5"), machine(ORIN, "8.5.2.2"), ["version"]),  # only two numbers are known
        (trt(""), machine(ORIN, "8.5.2.2"), ["version"]),
        (trt("10.3.0.26"), machine(L4, "10.3.0.26"), ["capability"]),
        (trt("10.3.0.26", None), machine(L4, "10.3.0.26"), ["capability"]),
        (trt("10.3.0.26", None, device="Orin"), machine(L4, "10.3.0.26"), ["capability"]),
        (trt("10.3.0.26", None, device="NVIDIA L4"), machine(L4, "10.3.0.26"), []),
        (trt("10.3.0.26"), machine(L4, "10.13.3.9"), ["capability", "version"]),
        (trt("10.3.0.26"), machine(ORIN, ""), ["library"]),
        (trt("10.3.0.26"), machine(NO_GPU, ""), ["gpu", "library"]),
        (trt("10.3.0.26"), machine(CudaProbe("GPU", "found"), "10.3.0.26"), ["gpu"]),
        (trt("10.3.0.26", "8.6", "ampere+"), machine(L4, "10.3.0.26"), []),
        (trt("10.3.0.26", "8.6", "ampere+"), machine(gpu("7.5"), "10.3.0.26"), ["capability"]),
        (trt("10.3.0.26", "8.6", "same-compute-capability"), machine(L4, "10.3.0.26"), ["capability"]),
        (trt("10.3.0.26", "8.9", "version"), machine(L4, "10.13.3.9"), ["version"]),  # would run host code
        (rtx("8.6", "8.9"), machine(L4, "1.7.1.116", "tensorrt-rtx"), []),
        (rtx("8.6", "12.0"), machine(L4, "1.7.1.116", "tensorrt-rtx"), ["capability"]),
        (rtx("8.9"), machine(L4, "1.6.1.120", "tensorrt-rtx"), ["version"]),
        (rtx("8.9", version="1.6.1.120"), machine(L4, "1.7.1.116", "tensorrt-rtx"), ["version"]),
        (rtx("8.0", "8.6", and_later=True), machine(gpu("13.0"), "1.7.1.116", "tensorrt-rtx"), []),
        (rtx("8.0", "8.6", and_later=True), machine(gpu("9.0"), "1.7.1.116", "tensorrt-rtx"), ["capability"]),
        (rtx("8.0", "8.6", and_later=True), machine(ORIN, "1.7.1.116", "tensorrt-rtx"), ["capability"]),
        (rtx("8.6", compatible=("ampere+",)), machine(gpu("9.0"), "1.7.1.116", "tensorrt-rtx"), ["capability"]),
        (rtx("12.0"), machine(gpu("13.0"), "1.7.1.116", "tensorrt-rtx"), ["capability"]),
    ],
)
def test_the_rules(engine: BuiltEngine, here: EngineMachine, kinds: list[str]) -> None:
    verdict = compatibility(engine, here)
    assert [problem.kind for problem in verdict.problems] == kinds
    assert verdict.fits == (not kinds)


@pytest.mark.parametrize(
    ("built", "here", "says"),
    [
        ("10.3.0.26", "10.13.3.9", True),
        ("8.6.1.6", "10.3.0.26", True),
        ("10.3.0.26", "11.4.0.106", True),
        ("8.6.1.6", "11.4.0.106", False),
        ("10.13.3.9", "10.3.0.26", False),
        ("8.5.2.2", "8.6.1.6", False),
    ],
)
def test_a_version_compatible_engine_is_refused_with_the_true_reason(built: str, here: str, says: bool) -> None:
    (problem,) = compatibility(trt(built, "8.9", "version"), machine(L4, here)).problems
    assert ("host code that is not allowed here" in problem.text) == says


def test_another_model_of_the_same_sm_is_a_note() -> None:
    (note,) = compatibility(trt("10.3.0.26", "8.9", device="RTX 4090"), machine(L4, "10.3.0.26")).notes
    assert "built on RTX 4090, here is NVIDIA L4" in note
    engine = trt("10.3.0.26", "8.9", "same-compute-capability", device="RTX 4090")
    assert compatibility(engine, machine(L4, "10.3.0.26")).notes == ()
    (note,) = compatibility(trt("10.3.0.26", "8.9"), machine(L4, "10.3.0")).notes
    assert "build number" in note


@pytest.fixture
def seg(tmp_path: Path) -> Path:
    """A TensorRT engine of an Orin, with its manifest, and the ONNX file that it was built from."""
    onnx_file = tmp_path / "my nets" / "seg.onnx"
    onnx_file.parent.mkdir()
    onnx_file.write_bytes(one_node().SerializeToString())
    write_manifest(onnx_file, None)
    engine = onnx_file.with_suffix(".trt")
    engine.write_bytes(tensorrt_plan(10, 3, 0, 26))
    profile = {"minimum": 1, "optimum": 4, "maximum": 8}
    info = {"compute_capabilities": ["8.7"], "device": "Orin", "precision": "fp16", "profile": profile}
    write_manifest(engine, info, sha256_of(onnx_file))
    return engine


def test_an_engine_that_fits_is_no_problem(seg: Path) -> None:
    here = machine(ORIN, "10.3.0.26")
    assert engine_problem(seg, read_manifest(seg), here) is None
    found = diagnose(seg, here)
    assert (found.fits, found.exit_code, found.problems, found.way_out, found.manifest) == (
        True,
        0,
        (),
        None,
        "matches",
    )
    assert found.facts["built by"] == "TensorRT 10.3.0.26 for sm 8.7 (Orin)"
    assert found.facts["engine"] == "fp16, batch 1 to 8, best at 4"
    assert found.facts["here"] == "TensorRT 10.3.0.26 on sm 8.7 (Orin)"
    assert "RANDOM weights" in found.facts["network"]


def test_one_line_says_built_by_and_here_and_the_command(seg: Path) -> None:
    here = machine(L4, "10.13.3.9")
    problem = engine_problem(seg, read_manifest(seg), here)
    assert problem is not None
    assert problem.startswith(
        f"{seg}: built by TensorRT 10.3.0.26 for sm 8.7 (Orin); here is TensorRT 10.13.3.9 on sm 8.9 (NVIDIA L4): "
        "it is not for sm 8.9; TensorRT 10.13.3.9 runs only engines of 10.13.3.9; run: "
    )
    assert shlex.split(problem.partition("run: ")[2]) == [
        *("espnet-export", str(seg.with_suffix(".onnx")), "--out", str(seg.parent)),
        *("--engine", "tensorrt", "--precision", "fp16", "--batch", "1,4,8"),
    ]
    found = diagnose(seg, here)
    assert (found.fits, found.exit_code) == (False, 3)
    assert found.way_out == "run: " + problem.partition("run: ")[2]


def test_the_onnx_file_is_found_by_its_checksum(seg: Path) -> None:
    manifest, here = read_manifest(seg), machine(L4, "10.13.3.9")
    other = seg.with_name("renamed.onnx")
    seg.with_suffix(".onnx").rename(other)
    seg.with_suffix(".onnx").write_bytes(one_node().SerializeToString() + b"\x12\x00")
    assert f"run: espnet-export {shlex.quote(str(other))} " in str(engine_problem(seg, manifest, here))
    other.unlink()
    problem = str(engine_problem(seg, manifest, here))
    assert (
        f"get the ONNX file that it was built from (sha256 {manifest.onnx.sha256[:16]}...) with its manifest" in problem
    )


def test_options_of_the_build_are_kept(tmp_path: Path) -> None:
    engine = tmp_path / "seg.trt"
    engine.write_bytes(tensorrt_plan(10, 3, 0, 26))
    info = {"compute_capabilities": ["8.7"], "dla_core": 1, "compatible": ["version", "same-compute-capability"]}
    write_manifest(engine, info)
    problem = str(engine_problem(engine, read_manifest(engine), machine(ORIN, "10.7.0.1")))
    assert problem.endswith(f"--out {tmp_path} --engine tensorrt --dla 1 --compatible version,same-compute-capability")


@pytest.mark.parametrize(
    ("mask", "present", "version", "options"),
    [
        (0x0C, "8.9", "1.6.1.120", "--engine tensorrt-rtx --compute-capability 8.6,8.9"),
        (0x0C, "12.0", "1.7.1.116", "--engine tensorrt-rtx --compute-capability 12.0"),
        (0x7E, "8.9", "1.6.1.120", "--engine tensorrt-rtx"),
        (0x7E, "7.5", "1.7.1.116", "--engine tensorrt-rtx --compute-capability 7.5"),
        (0x0C, "13.0", "1.7.1.116", "--engine tensorrt-rtx"),
        (0x7E, "9.0", "1.7.1.116", "--engine tensorrt"),  # TensorRT-RTX has nothing for it
    ],
)
def test_the_command_builds_for_the_gpu_here(
    tmp_path: Path, mask: int, present: str, version: str, options: str
) -> None:
    engine = tmp_path / "seg.trt"
    engine.write_bytes(rtx_plan((1, 7, 1, 116), mask))
    info = {"builder": "tensorrt-rtx", "builder_version": "1.7.1.116"}
    write_manifest(engine, info)
    problem = engine_problem(engine, read_manifest(engine), machine(gpu(present), version, "tensorrt-rtx"))
    assert str(problem).endswith(f"--out {tmp_path} {options}")


def test_without_a_gpu_the_way_out_is_another_machine(seg: Path) -> None:
    found = diagnose(seg, machine(NO_GPU, ""))
    assert found.exit_code == 3
    assert found.problems == ("no GPU is here (no CUDA driver)", "TensorRT is not here (not installed)")
    assert "take it and its manifest to a machine with such a GPU" in str(found.way_out)
    assert "on a Jetson it comes with JetPack" in str(found.way_out)
    assert "espnet-export" not in str(found.way_out)


def test_a_portable_rtx_engine_is_known_by_its_manifest_where_the_header_is_new(tmp_path: Path) -> None:
    engine = tmp_path / "seg.trt"
    engine.write_bytes(rtx_plan((1, 9, 0, 1), 0x1FE))
    write_manifest(engine, {"builder": "tensorrt-rtx", "builder_version": "1.9.0.1"})
    assert diagnose(engine, machine(L4, "1.9.0.1", "tensorrt-rtx")).fits
    assert not diagnose(engine, machine(gpu("7.5"), "1.9.0.1", "tensorrt-rtx")).fits


def test_an_engine_of_a_header_that_is_not_known_goes_by_its_manifest(tmp_path: Path) -> None:
    engine = tmp_path / "seg.trt"
    engine.write_bytes(b"\x00new format" + bytes(100))
    write_manifest(engine, {"builder_version": "13.0.0.1", "compute_capabilities": ["8.9"]})
    here = machine(L4, "13.0.0.1")
    assert engine_problem(engine, read_manifest(engine), here) is None
    assert (diagnose(engine, here).exit_code, diagnose(engine, here).fits) == (0, True)
    assert "not an engine" not in str(engine_problem(engine, read_manifest(engine), machine(L4, "10.3.0.26")))
    assert "neither an engine nor" in str(engine_problem(engine, None, here))


def test_an_old_plan_is_known_to_the_build_number_by_its_manifest(tmp_path: Path) -> None:
    engine = tmp_path / "seg.trt"
    engine.write_bytes(b"ptrt" + bytes(4) + (232).to_bytes(4, "little") + bytes(100))
    here = machine(gpu("7.2", "Xavier"), "8.5.2.2")
    write_manifest(engine, {"builder_version": "8.5.2.2", "compute_capabilities": ["7.2"]})
    assert diagnose(engine, here).fits
    write_manifest(engine, {"builder_version": "8.4.1.5", "compute_capabilities": ["7.2"]})
    assert diagnose(engine, here).problems == (
        "by its header it was built by TensorRT 8.5, by its manifest by tensorrt 8.4.1.5",
    )


def test_without_a_manifest_the_header_counts(tmp_path: Path) -> None:
    engine = tmp_path / "seg.trt"
    engine.write_bytes(rtx_plan((1, 7, 1, 116), 0x08))
    found = diagnose(engine, machine(L4, "1.7.1.116", "tensorrt-rtx"))
    assert (found.exit_code, found.manifest) == (0, "none")
    assert "programs want --trust" in found.facts["manifest"]
    engine.write_bytes(tensorrt_plan(10, 3, 0, 26))
    found = diagnose(engine, machine(L4, "10.3.0.26"))
    assert found.exit_code == 3
    assert found.problems == ("of the GPU that it is for nothing is known",)
    assert found.way_out == (
        f"get the ONNX file that it was built from as {tmp_path / 'seg.onnx'} and run: "
        f"espnet-export {tmp_path / 'seg.onnx'} --out {tmp_path} --engine tensorrt"
    )


def test_a_file_that_was_changed_is_not_judged_further(seg: Path) -> None:
    changed = bytearray(seg.read_bytes())
    changed[2000] ^= 1
    seg.write_bytes(changed)
    found = diagnose(seg, machine(ORIN, "10.3.0.26"))
    assert (found.exit_code, found.fits, found.manifest) == (4, False, "differs")
    assert found.problems == ("it is not the file that its manifest describes: it was changed or replaced",)
    assert "sha256 differs" in found.facts["manifest"]
    assert "network" not in found.facts  # the manifest speaks of another file
    seg.write_bytes(changed[:1000])
    assert diagnose(seg).problems == ("it is cut off: 1000 bytes, its manifest says 4096",)


def test_header_and_manifest_must_agree(tmp_path: Path) -> None:
    engine = tmp_path / "seg.trt"
    engine.write_bytes(tensorrt_plan(8, 6, 1, 6))
    write_manifest(engine, {"builder_version": "10.3.0.26"})
    found = diagnose(engine, machine(ORIN, "10.3.0.26"))
    assert found.exit_code == 4
    assert found.problems == ("by its header it was built by TensorRT 8.6.1.6, by its manifest by tensorrt 10.3.0.26",)
    assert "by its header it was built by" in str(
        engine_problem(engine, read_manifest(engine), machine(ORIN, "8.6.1.6"))
    )
    engine.write_bytes(rtx_plan((1, 7, 1, 116), 0x04))
    info = {"builder": "tensorrt-rtx", "builder_version": "1.7.1.116", "compute_capabilities": ["8.9"]}
    write_manifest(engine, info)
    assert diagnose(engine).problems == ("by its header it is for sm 8.6, by its manifest for sm 8.9",)
    write_manifest(engine, None)
    assert diagnose(engine).problems == ("it is an engine, its manifest is one of an ONNX file",)


def test_what_cannot_be_told_is_left_to_tensorrt(tmp_path: Path) -> None:
    """The doctor does not say that it fits; the runner of a file that the user trusts goes on."""
    engine = tmp_path / "seg.trt"
    engine.write_bytes(tensorrt_plan(10, 3, 0, 26))
    here = machine(L4, "10.3.0.26")
    assert (diagnose(engine, here).fits, engine_problem(engine, None, here)) == (False, None)
    assert "runs only engines of 10.13.3.9" in str(engine_problem(engine, None, machine(L4, "10.13.3.9")))
    engine.write_bytes(b"ptrt" + bytes(4) + (232).to_bytes(4, "little") + bytes(100))
    assert engine_problem(engine, None, machine(L4, "8.5.2.2")) is None
    assert "not known to the patch" in str(engine_problem(engine, None, machine(L4, "10.3.0.26")))


def test_trtexec_is_tensorrt(tmp_path: Path) -> None:
    engine = tmp_path / "seg.trt"
    engine.write_bytes(tensorrt_plan(10, 3, 0, 26))
    write_manifest(engine, {"builder": "trtexec", "builder_version": "10.3.0", "compute_capabilities": ["8.7"]})
    assert diagnose(engine, machine(ORIN, "10.3.0.26")).fits
    assert str(diagnose(engine, machine(ORIN, "10.7.0.1")).way_out).endswith("--engine trtexec")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", 4),
        (b"ftrt", 4),
        (rtx_plan((1, 7, 1, 116), 0x7E)[:100], 4),
        (b"\x02\x00\x00\x00{}" + tensorrt_plan(10, 3, 0, 26), 2),
        (b"\x80\x04\x95", 2),
        (b"anything else", 2),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_else(tmp_path: Path, data: bytes, code: int) -> None:
    path = tmp_path / "seg.trt"
    path.write_bytes(data)
    found = diagnose(path)
    assert (found.exit_code, found.fits) == (code, False)
    assert found.problems
    assert found.way_out
    assert f"{path}: {found.kind}: {found.problems[0]}; " in str(engine_problem(path, None))


def test_an_onnx_file_is_not_an_engine(seg: Path) -> None:
    onnx_file = seg.with_suffix(".onnx")
    assert "not an engine" in str(engine_problem(onnx_file, None))
    found = diagnose(onnx_file)
    assert (found.exit_code, found.fits) == (0, True)
    assert "onnxruntime" in found.facts["here"]
    assert found.facts["format"] == "opset 17, IR 8, written by tests"
    assert found.notes == (f"for an engine: espnet-export {shlex.quote(str(onnx_file))} --out '{seg.parent}'",)
    onnx_file.write_bytes(onnx_file.read_bytes()[:-9])
    assert diagnose(onnx_file).exit_code == 4


def test_where_nothing_runs_onnx_files(seg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("espnet_edge.runtime.runner.available_runtimes", tuple)
    found = diagnose(seg.with_suffix(".onnx"))
    assert (found.exit_code, found.way_out) == (3, "pip install 'espnet-edge[onnxruntime]'")


def test_manifests_from_elsewhere_are_bounded(seg: Path) -> None:
    beside = seg.with_name(seg.name + ".json")
    for text in ("", "[]", "{" * 100_000, '{"schema_version": 99}', " " * (5 << 20)):
        beside.write_text(text)
        found = diagnose(seg, machine(ORIN, "10.3.0.26"))
        assert (found.exit_code, found.manifest) == (4, "broken")


def test_no_manifest_brings_the_doctor_down(seg: Path) -> None:
    """Bytes and values of a good manifest are changed at random: always a diagnosis, and never a fit by accident."""
    generator = random.Random(1)  # noqa: S311  Cases, not secrets.
    beside, here = seg.with_name(seg.name + ".json"), machine(ORIN, "10.3.0.26")
    good = beside.read_bytes()
    values: list[Any] = [None, -1, 1e308, "", "\x1b[2J", "9" * 400, [], {}, ["8.7"] * 50, True]
    states = set()
    for _ in range(400):
        changed = json.loads(good)
        record = generator.choice([changed, changed["engine"], changed["file"], changed["onnx"]])
        record[generator.choice([*record])] = generator.choice(values)
        text = json.dumps(changed).encode()
        beside.write_bytes(text if generator.random() < 0.7 else text[: generator.randrange(len(text))])
        found = diagnose(seg, here)
        states.add(found.manifest)
        assert found.exit_code in {0, 3, 4}
        assert found.fits == (found.exit_code == 0)
        assert found.fits or found.problems
    assert states == {"matches", "differs", "broken"}


def test_no_library_is_loaded_to_judge_an_engine(seg: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom espnet_edge.runtime.doctor import diagnose\n"
        f"assert diagnose(Path({str(seg)!r})).exit_code == 3\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "assert not loaded & {'tensorrt', 'tensorrt_rtx', 'torch', 'onnx', 'onnxruntime', 'openvino'}, loaded\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
