"""What a file is, whether it is whole, whether it runs here, and the command that makes one that does.

Of an engine only the header and the manifest are read: deserialising it would run it.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from ..errors import CheckError
from ..files import sha256_of
from .compatibility import (
    RTX_CAPABILITIES,
    RTX_PORTABLE,
    BuiltEngine,
    EngineMachine,
    Verdict,
    compatibility,
    is_newest,
)
from .cuda_probe import probe_cuda
from .manifest import EngineInfo, Manifest, manifest_path, read_manifest
from .plan import TENSORRT, TENSORRT_RTX, TITLES, FileFacts, Version, parse_version, read_file_facts
from .probes import Places, library, probe_library

FITS, WRONG_FILE, DOES_NOT_FIT, FAILED_CHECK = 0, 2, 3, 4
_MAX_ONNX_FILES = 20  # beside an engine, that are compared with the one that it was built from
_TRTEXEC = "trtexec"  # as the builder of an engine of TensorRT
_MAX_NAME = 100  # characters of a GPU's name: manifests may come from anywhere

ManifestState = Literal["matches", "differs", "none", "broken"]


@dataclass(frozen=True)
class Diagnosis:
    """What is known of a file. `facts`: label and text of each line; `exit_code`: of `espnet-doctor`."""

    path: str
    kind: str
    size_bytes: int
    manifest: ManifestState
    facts: Mapping[str, str]
    fits: bool
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    way_out: str | None
    exit_code: int


@dataclass(frozen=True)
class _Sidecar:
    """The manifest beside a file, and how the file's SHA-256 compares with it."""

    state: ManifestState
    text: str
    manifest: Manifest | None = None

    @property
    def trusted(self) -> Manifest | None:
        """The manifest, if it is of this very file."""
        return self.manifest if self.state == "matches" else None


def engine_problem(path: Path, manifest: Manifest | None, machine: EngineMachine | None = None) -> str | None:
    """Why the engine `path` does not run here, in one line with the way out; None if nothing certain does.

    Args:
        path: the engine; its first bytes are read.
        manifest: its manifest, after the SHA-256 was compared; None if the file is trusted without.
        machine: what is here; None asks.

    Raises:
        InputError: `path` is not a file, or cannot be read.
    """
    facts = read_file_facts(path)
    if facts.problem is not None and (facts.damaged or facts.plan or manifest is None or manifest.engine is None):
        return f"{path}: {facts.kind}: {facts.problem}; {facts.way_out}"
    engine = _built_engine(facts, manifest)
    if engine is None:
        return f"{path}: {facts.kind}, not an engine; give the .trt file"
    if (contradiction := _contradiction(facts, manifest)) is not None:
        return f"{path}: {contradiction}; export it again"
    machine = machine or read_engine_machine(engine.builder)
    verdict = compatibility(engine, machine)
    if not any(problem.certain for problem in verdict.problems):
        return None
    reasons = "; ".join(problem.text for problem in verdict.problems)
    return (
        f"{path}: built by {engine}; here is {machine}: {reasons}; {_way_out(path, manifest, engine, machine, verdict)}"
    )


def read_engine_machine(builder: str, places: Places | None = None) -> EngineMachine:
    """The GPU here and the library that engines of `builder` need."""
    said = probe_library(library(builder), places or Places())
    return EngineMachine(builder, probe_cuda(), parse_version(said.version or ""), said.answer)


def diagnose(path: Path, machine: EngineMachine | None = None) -> Diagnosis:
    """Everything about a file that can be known without running it.

    Args:
        path: an engine or an ONNX file.
        machine: what is here, for an engine; None asks.

    Raises:
        InputError: `path` is not a file, or cannot be read.
    """
    facts = read_file_facts(path)
    sidecar = _read_sidecar(path)
    is_engine = facts.plan is not None or (sidecar.trusted is not None and sidecar.trusted.engine is not None)
    by_manifest = is_engine and facts.plan is None  # the first bytes are of a kind that this version does not know
    if facts.damaged or sidecar.state in {"differs", "broken"} or (facts.problem is not None and not by_manifest):
        return _refused(path, facts, sidecar)
    if is_engine:
        return _engine_diagnosis(path, facts, sidecar, machine)
    return _onnx_diagnosis(path, facts, sidecar)


def _read_sidecar(path: Path) -> _Sidecar:
    beside = manifest_path(path)
    if not beside.is_file():
        return _Sidecar("none", f"no {beside.name} beside it: nothing vouches for it, and programs want --trust")
    try:
        manifest = read_manifest(path)
    except CheckError as error:
        return _Sidecar("broken", str(error))
    actual, expected = sha256_of(path), manifest.file.sha256
    if actual == expected:
        return _Sidecar("matches", f"{beside.name}: sha256 {actual[:16]}... matches", manifest)
    text = f"{beside.name}: sha256 differs, the file has {actual[:16]}..., the manifest says {expected[:16]}..."
    return _Sidecar("differs", text, manifest)


def _refused(path: Path, facts: FileFacts, sidecar: _Sidecar) -> Diagnosis:
    """Of a file that is damaged, altered, or no artefact."""
    problems = [facts.problem] if facts.problem else []
    ways_out = [facts.way_out] if facts.way_out else []
    if sidecar.state == "differs" and sidecar.manifest is not None:
        problems = problems or [_difference(facts, sidecar.manifest)]
        ways_out.append("take the file and its manifest from where they were exported, or export again")
    if sidecar.state == "broken":
        problems.append(sidecar.text)
    failed = facts.damaged or sidecar.state in {"differs", "broken"}
    lines = _facts(facts, sidecar, _built_engine(facts, sidecar.trusted))
    code = FAILED_CHECK if failed else WRONG_FILE
    return _diagnosis(path, facts, sidecar, lines, code, problems, "; ".join(ways_out) or None)


def _diagnosis(
    path: Path,
    facts: FileFacts,
    sidecar: _Sidecar,
    lines: Mapping[str, str],
    exit_code: int,
    problems: Sequence[str] = (),
    way_out: str | None = None,
    notes: Sequence[str] = (),
) -> Diagnosis:
    size, state = facts.size_bytes, sidecar.state
    return Diagnosis(
        str(path), facts.kind, size, state, lines, exit_code == FITS, tuple(problems), tuple(notes), way_out, exit_code
    )


def _difference(facts: FileFacts, manifest: Manifest) -> str:
    expected = manifest.file.bytes
    if facts.size_bytes != expected:
        way = "cut off" if facts.size_bytes < expected else "longer"
        return f"it is {way}: {facts.size_bytes} bytes, its manifest says {expected}"
    return "it is not the file that its manifest describes: it was changed or replaced"


def _engine_diagnosis(path: Path, facts: FileFacts, sidecar: _Sidecar, machine: EngineMachine | None) -> Diagnosis:
    manifest = sidecar.trusted
    engine = _built_engine(facts, manifest)
    assert engine is not None
    lines = _facts(facts, sidecar, engine)
    if (contradiction := _contradiction(facts, manifest)) is not None:
        return _diagnosis(path, facts, sidecar, lines, FAILED_CHECK, [contradiction], "export it again")
    machine = machine or read_engine_machine(engine.builder)
    lines["here"] = str(machine)
    verdict = compatibility(engine, machine)
    if verdict.fits:
        return _diagnosis(path, facts, sidecar, lines, FITS, notes=verdict.notes)
    problems = [problem.text for problem in verdict.problems]
    way_out = _way_out(path, manifest, engine, machine, verdict)
    return _diagnosis(path, facts, sidecar, lines, DOES_NOT_FIT, problems, way_out, verdict.notes)


def _onnx_diagnosis(path: Path, facts: FileFacts, sidecar: _Sidecar) -> Diagnosis:
    from .runner import available_runtimes

    runtimes = available_runtimes()
    if sidecar.trusted is None or sidecar.trusted.precision != "fp32":
        # PyTorch runs the network that the manifest names, in float32, not the file.
        runtimes = tuple(name for name in runtimes if name != "torch")
    lines = _facts(facts, sidecar, None)
    lines["here"] = f"it runs in {', '.join(runtimes)}" if runtimes else "nothing runs it"
    if runtimes:
        return _diagnosis(path, facts, sidecar, lines, FITS, notes=[*_how_to_build(path, sidecar.trusted)])
    problems = ["no library that runs ONNX files is here"]
    return _diagnosis(path, facts, sidecar, lines, DOES_NOT_FIT, problems, library("onnxruntime").way_out)


def _how_to_build(path: Path, manifest: Manifest | None) -> Iterator[str]:
    """The command that makes an engine of an ONNX file; it wants the manifest."""
    if manifest is not None:
        image = manifest.inputs[0]
        free = isinstance(image.shape[image.batch_axis], str)
        batch = " --batch 1,1,8 (or another smallest, best and largest batch)" if free else ""
        yield f"for an engine: espnet-export {_quoted(path)} --out {_quoted(path.parent)}{batch}"


def _facts(facts: FileFacts, sidecar: _Sidecar, engine: BuiltEngine | None) -> dict[str, str]:
    lines = {"is": f"{facts.kind}, {facts.size_bytes} bytes"}
    if engine is not None:
        lines["built by"] = str(engine)
    if facts.onnx is not None:
        opset = facts.onnx.opset if facts.onnx.opset is not None else "unknown"
        lines["format"] = (
            f"opset {opset}, IR {facts.onnx.ir_version}, written by {facts.onnx.producer or 'an unknown program'}"
        )
    if facts.plan or facts.onnx or sidecar.state != "none":
        lines["manifest"] = sidecar.text
    if (manifest := sidecar.trusted) is not None:
        lines["network"] = _network(manifest)
        if manifest.engine is not None:
            lines["engine"] = _engine_text(manifest.engine)
    return lines


def _network(manifest: Manifest) -> str:
    weights = "RANDOM weights" if manifest.weights.random else f"weights from {manifest.weights.source}"
    return (
        f"{manifest.network}, width {manifest.width_mult:g}, {manifest.dataset}, {manifest.precision}, "
        f"{manifest.io} inputs and outputs, {weights}"
    )


def _engine_text(info: EngineInfo) -> str:
    profile = info.profile
    batch = f"batch {profile.minimum} to {profile.maximum}, best at {profile.optimum}" if profile else "one batch size"
    return f"{info.precision}, {batch}"


def _builder(info: EngineInfo) -> str:
    """The library that the engine is of: trtexec's are of TensorRT."""
    return TENSORRT_RTX if info.builder == TENSORRT_RTX else TENSORRT


def _built_engine(facts: FileFacts, manifest: Manifest | None) -> BuiltEngine | None:
    """What header and manifest say together; the header is right where both say something."""
    plan, info = facts.plan, manifest.engine if manifest else None
    if plan is None and info is None:
        return None
    builder = plan.builder if plan else _builder(info) if info else TENSORRT
    noted = parse_version(info.builder_version) if info else ()
    capabilities, and_later = (plan.compute_capabilities, plan.and_later) if plan else (None, False)
    if capabilities is None and info is not None:
        capabilities, and_later = info.compute_capabilities or None, False
        if capabilities is None and builder == TENSORRT_RTX:
            capabilities, and_later = RTX_PORTABLE, True
    return BuiltEngine(
        builder,
        max(plan.version if plan else (), noted, key=len),
        capabilities,
        and_later,
        info.device[:_MAX_NAME] if info and info.device else None,
        info.compatible if info else (),
    )


def _contradiction(facts: FileFacts, manifest: Manifest | None) -> str | None:
    """What header and manifest say differently: then one of them is not of this engine."""
    if facts.plan is None or manifest is None:
        return None
    if manifest.engine is None:
        return "it is an engine, its manifest is one of an ONNX file"
    plan, info = facts.plan, manifest.engine
    noted: Version = parse_version(info.builder_version)
    shared = min(len(plan.version), len(noted))
    if plan.builder != _builder(info) or plan.version[:shared] != noted[:shared]:
        by_header = f"{TITLES[plan.builder]} {'.'.join(map(str, plan.version))}"
        return f"by its header it was built by {by_header}, by its manifest by {info.builder} {info.builder_version}"
    named = set(plan.compute_capabilities or ())
    if named and info.compute_capabilities and named != {*info.compute_capabilities}:
        return (
            f"by its header it is for sm {', '.join(sorted(named))}, by its manifest for sm "
            f"{', '.join(info.compute_capabilities)}"
        )
    return None


def _way_out(
    path: Path, manifest: Manifest | None, engine: BuiltEngine, machine: EngineMachine, verdict: Verdict
) -> str:
    kinds = {problem.kind for problem in verdict.problems}
    ways_out = []
    if "gpu" in kinds:
        ways_out.append("take it and its manifest to a machine with such a GPU and run espnet-doctor there")
    if "library" in kinds and not _needs_other_builder(engine, machine):
        ways_out.append(library(engine.builder).way_out)
    # Building is of use where the GPU is, and TensorRT-RTX builds without one.
    if kinds & {"version", "capability"} and ("gpu" not in kinds or engine.builder == TENSORRT_RTX):
        ways_out.append(_rebuild(path, manifest, engine, machine))
    return "; ".join(ways_out)


def _needs_other_builder(engine: BuiltEngine, machine: EngineMachine) -> bool:
    """Whether TensorRT-RTX has nothing for the GPU here, which TensorRT has."""
    present = machine.gpu.compute_capability
    known = present is None or present in RTX_CAPABILITIES or is_newest(present)
    return engine.builder == TENSORRT_RTX and not known


def _rebuild(path: Path, manifest: Manifest | None, engine: BuiltEngine, machine: EngineMachine) -> str:
    """Such as "run: espnet-export seg.onnx --out . --engine tensorrt"."""
    onnx = path.with_suffix(".onnx")
    command = f"espnet-export {{}} --out {_quoted(path.parent)} {' '.join(_options(manifest, engine, machine))}"
    if manifest is None:
        there = "" if onnx.is_file() else f"get the ONNX file that it was built from as {_quoted(onnx)} and "
        return f"{there}run: {command.format(_quoted(onnx))}"
    if (found := _onnx_of(path, manifest)) is not None:
        return f"run: {command.format(_quoted(found))}"
    return (
        f"get the ONNX file that it was built from (sha256 {manifest.onnx.sha256[:16]}...) with its manifest as "
        f"{_quoted(onnx)} and run: {command.format(_quoted(onnx))}"
    )


def _options(manifest: Manifest | None, engine: BuiltEngine, machine: EngineMachine) -> Iterator[str]:
    """What the engine was built with, where that still is of use on this machine."""
    other_builder = _needs_other_builder(engine, machine)
    info = manifest.engine if manifest else None
    by_trtexec = info is not None and info.builder == _TRTEXEC
    yield f"--engine {TENSORRT if other_builder else _TRTEXEC if by_trtexec else engine.builder}"
    if info is not None and info.precision != "fp32":
        yield f"--precision {info.precision}"
    if engine.builder == TENSORRT_RTX and not other_builder:
        wanted = _capabilities_to_build(engine, machine)
        if wanted:
            yield f"--compute-capability {shlex.quote(','.join(wanted))}"
    if info is not None and info.profile is not None:
        yield f"--batch {info.profile.minimum},{info.profile.optimum},{info.profile.maximum}"
    if info is not None and info.dla_core is not None:
        yield f"--dla {info.dla_core}"
    if engine.compatible:
        yield f"--compatible {shlex.quote(','.join(engine.compatible))}"


def _capabilities_to_build(engine: BuiltEngine, machine: EngineMachine) -> tuple[str, ...]:
    """Those of the engine if they hold the GPU here, else that GPU's; none for a portable engine."""
    present = machine.gpu.compute_capability
    named = engine.compute_capabilities or ()
    if present is None or present in named:
        return () if engine.and_later else named
    return (present,) if present in RTX_CAPABILITIES else ()


def _onnx_of(path: Path, manifest: Manifest) -> Path | None:
    """The ONNX file beside the engine that it was built from."""
    beside = path.with_suffix(".onnx")
    others = (file for file in sorted(path.parent.glob("*.onnx")) if file != beside)
    for file in (beside, *islice(others, _MAX_ONNX_FILES)):
        if file.is_file() and sha256_of(file) == manifest.onnx.sha256:
            return file
    return None


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
