"""Whether an engine runs on a machine: NVIDIA's rules, written once, on facts alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from .cuda_probe import CudaProbe
from .plan import TENSORRT, TENSORRT_RTX, TITLES, Version, parse_version, version_text

# What a TensorRT-RTX engine runs on that was built for no GPU in particular: these "and later", without Turing.
RTX_PORTABLE = ("8.0", "8.6", "8.9", "12.0")
# What TensorRT-RTX builds for; GPUs of other kinds (9.0, 8.7) need TensorRT.
RTX_CAPABILITIES = ("7.5", *RTX_PORTABLE, "12.1")
# Engines that were built version-compatible run on newer releases of their own major version, and from these to those.
_VERSION_COMPATIBLE_SINCE = (8, 6)
_NEXT_MAJOR = {8: 10, 10: 11}
_AMPERE = (8, 0)
# What an engine may have been made to run with besides the version and the GPU of its builder.
WITH_VERSIONS, WITH_AMPERE_PLUS, WITH_SAME_CAPABILITY = "version", "ampere+", "same-compute-capability"

Kind = Literal["gpu", "library", "version", "capability"]


@dataclass(frozen=True)
class BuiltEngine:
    """How an engine was built, as far as its header and its manifest say.

    `version`: of the builder, empty if not known. `compute_capabilities`: of the GPUs that it is for, None if not
    known; `and_later`: newer ones, too. `device`: the GPU that it was built on. `compatible`: TensorRT's modes, in the
    words of the manifest: "version", "ampere+", "same-compute-capability".
    """

    builder: str
    version: Version
    compute_capabilities: tuple[str, ...] | None
    and_later: bool = False
    device: str | None = None
    compatible: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Such as "TensorRT 10.3.0.26 for sm 8.7 (Orin)"."""
        gpus = "an unknown GPU"
        if self.compute_capabilities is not None:
            gpus = f"sm {', '.join(self.compute_capabilities)}{' and newer' if self.and_later else ''}"
        if WITH_AMPERE_PLUS in self.compatible:
            gpus += ", made to run on Ampere and newer"
        on = f" ({self.device})" if self.device else ""
        return f"{TITLES[self.builder]} {version_text(self.version)} for {gpus}{on}"


@dataclass(frozen=True)
class EngineMachine:
    """What here would run it: the GPU, and the library of that builder; `version` empty if not there."""

    builder: str
    gpu: CudaProbe
    version: Version
    library_answer: str = ""

    def __str__(self) -> str:
        """Such as "TensorRT 10.13.3.9 on sm 8.9 (NVIDIA L4)"."""
        title = TITLES[self.builder]
        library = f"{title} {version_text(self.version)}" if self.version else f"no {title} ({self.library_answer})"
        if self.gpu.device is None:
            return f"{library}, and no GPU ({self.gpu.reason})"
        return f"{library} on sm {self.gpu.compute_capability or 'unknown'} ({self.gpu.device})"


@dataclass(frozen=True)
class Problem:
    """Why an engine does not run here; `certain` false: why that cannot be told, and TensorRT itself would have to."""

    kind: Kind
    text: str
    certain: bool = True


@dataclass(frozen=True)
class Verdict:
    """An engine runs where there are no problems; `notes` are what one should know even so."""

    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.problems


def compatibility(engine: BuiltEngine, machine: EngineMachine) -> Verdict:
    """Whether `engine` runs on `machine`, which has the library of the engine's builder or has it not."""
    problems = [*_gpu_problems(engine, machine), *_library_problems(engine, machine)]
    return Verdict(tuple(problems), tuple(_notes(engine, machine)))


def _gpu_problems(engine: BuiltEngine, machine: EngineMachine) -> Iterator[Problem]:
    if machine.gpu.device is None:
        yield Problem("gpu", f"no GPU is here ({machine.gpu.reason})")
    elif machine.gpu.compute_capability is None:
        text = f"the driver does not say the compute capability of {machine.gpu.device}"
        yield Problem("gpu", text, certain=False)
    elif engine.compute_capabilities is None:
        if engine.device != machine.gpu.device:
            built_on = f"only that it was built on {engine.device}" if engine.device else "nothing"
            text = f"of the GPU that it is for {built_on} is known"
            yield Problem("capability", text, certain=False)
    elif not _covers(engine, machine.gpu.compute_capability):
        yield Problem("capability", f"it is not for sm {machine.gpu.compute_capability}")


def _covers(engine: BuiltEngine, present: str) -> bool:
    assert engine.compute_capabilities is not None
    if present in engine.compute_capabilities:
        return True
    if WITH_AMPERE_PLUS in engine.compatible and engine.builder == TENSORRT:
        return parse_version(present) >= _AMPERE
    return engine.and_later and is_newest(present)


def is_newest(compute_capability: str) -> bool:
    """Whether it is newer than all that TensorRT-RTX names: portable engines are for those, too."""
    return parse_version(compute_capability) > max(map(parse_version, RTX_CAPABILITIES))


def _library_problems(engine: BuiltEngine, machine: EngineMachine) -> Iterator[Problem]:
    title = TITLES[engine.builder]
    if not machine.version:
        yield Problem("library", f"{title} is not here ({machine.library_answer})")
    elif len(engine.version) < 3:
        text = f"the version of {title} that built it is not known to the patch"
        yield Problem("version", text, certain=engine.version != machine.version[: len(engine.version)])
    elif not _same(engine.version, machine.version):
        yield Problem("version", _version_problem(engine, machine))


def _same(built: Version, present: Version) -> bool:
    """All numbers that both have: the build number counts, too, 8.6.1.6 refuses a plan of 8.6.1.2."""
    shared = min(len(built), len(present), 4)
    return shared >= 3 and built[:shared] == present[:shared]


def _version_problem(engine: BuiltEngine, machine: EngineMachine) -> str:
    title, present = TITLES[engine.builder], version_text(machine.version)
    if engine.builder == TENSORRT_RTX or not (
        WITH_VERSIONS in engine.compatible and _runs_older(engine, machine.version)
    ):
        return f"{title} {present} runs only engines of {present}"
    # The lean runtime of the older version is what would run it, from the plan or from a file: both are code for the
    # host, which the runner does not allow.
    return (
        f"it is version-compatible, but {title} {present} runs it through the lean runtime of "
        f"{version_text(engine.version)}, host code that is not allowed here"
    )


def _runs_older(engine: BuiltEngine, present: Version) -> bool:
    built = engine.version
    majors = (built[0], _NEXT_MAJOR.get(built[0], built[0]))
    return built[:2] >= _VERSION_COMPATIBLE_SINCE and present > built and present[0] in majors


def _notes(engine: BuiltEngine, machine: EngineMachine) -> Iterator[str]:
    if len(machine.version) == 3 and _same(engine.version, machine.version):
        yield f"the build number of the {TITLES[engine.builder]} here is not known; it must be the engine's, too"
    present = machine.gpu.compute_capability
    other = engine.device is not None and machine.gpu.device not in {None, engine.device}
    any_model = {WITH_AMPERE_PLUS, WITH_SAME_CAPABILITY} & {*engine.compatible}
    if other and not any_model and present in (engine.compute_capabilities or ()):
        yield (
            f"it was built on {engine.device}, here is {machine.gpu.device}: TensorRT advises against engines of other "
            "models of the same sm; for the best speed build it here"
        )
