"""Building with trtexec, for boards whose Python has no TensorRT: the command line is written from its own help."""

import re
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import IO

from ..errors import InputError, UnavailableError
from ..files import write_bytes
from ..runtime.compatibility import WITH_AMPERE_PLUS, WITH_SAME_CAPABILITY, WITH_VERSIONS
from ..runtime.manifest import LayerPrecisions, TensorInfo
from ..runtime.trtexec_program import Program
from .build_options import BuildOptions
from .build_request import BuildRequest, Engine, Typing, build_failure, engine_info
from .builders import TrtexecBuilder
from .layer_precisions import check_layer_precisions, layer_precisions

MODEL, ENGINE, LAYERS, TIMINGS = "model.onnx", "model.engine", "layers.json", "timings.cache"
_HARDWARE_LEVELS = {WITH_AMPERE_PLUS: "ampere+", WITH_SAME_CAPABILITY: "sameComputeCapability"}
# How trtexec marks its errors: "[11/23/2026-10:00:00] [E] what went wrong".
_ERROR_LINE = re.compile(r"^(?:\[[^\]]*\] )?\[[EF]\] (?P<text>.*)$", re.MULTILINE)
_MOST_WORDS = 600  # of its errors that make the line which the user reads


def trtexec_typings(builder: TrtexecBuilder) -> tuple[bool, bool]:
    """Whether the program can bind the builder to the file's types, and whether it can leave it the choice."""
    weak = "fp16" in builder.program.options
    # Without --fp16 there is no choice any more, and --stronglyTyped, where it is still listed, does nothing.
    return not weak or "stronglyTyped" in builder.program.options, weak


def check_trtexec(builder: TrtexecBuilder, options: BuildOptions) -> None:
    """Whether this trtexec has what the options ask for.

    Raises:
        InputError: it does not.
    """
    program = builder.program
    for word in options.compatible:
        needed = "versionCompatible" if word == WITH_VERSIONS else "hardwareCompatibilityLevel"
        if needed not in program.options:
            raise InputError(f"--compatible {word}: trtexec {program.version} has no --{needed}; leave it out")


def build_with_trtexec(builder: TrtexecBuilder, typing: Typing, request: BuildRequest) -> Engine:
    """Build an engine in one way; what trtexec says is kept in the request's log file.

    Raises:
        RefusedError: trtexec does not parse or build the file in this way, in its own words.
        CheckError: what it built is not in the precision that was asked for.
        UnavailableError: it cannot be started, or the hardware lacks memory or the DLA core.
    """
    with tempfile.TemporaryDirectory(prefix="espnet-edge-") as name:
        folder = Path(name)
        (folder / MODEL).write_bytes(request.model)
        cache = request.options.timing_cache
        if cache is not None and cache.exists():
            # A copy: an interrupted program must not leave half a cache behind.
            (folder / TIMINGS).write_bytes(cache.read_bytes())
        log_file = request.log_file or folder / "trtexec.log"
        _run(builder, command_line(builder.program, folder, typing, request), log_file)
        if not (folder / ENGINE).is_file():
            raise build_failure(builder, "ended without an engine", f"its output is in {log_file}")
        data = (folder / ENGINE).read_bytes()
        verified = _verified(folder / LAYERS, typing, request)
        if cache is not None and (folder / TIMINGS).exists():
            write_bytes(cache, (folder / TIMINGS).read_bytes())
    return Engine(data, engine_info(builder, request, typing, network_types=None, verified=verified))


def command_line(program: Program, folder: Path, typing: Typing, request: BuildRequest) -> list[str]:
    """The arguments for this trtexec: files are read from and written to `folder`.

    What depends on the version is taken from the options that its help lists: --fp16 and --int8 ended with TensorRT 10,
    --stronglyTyped came with it, --skipInference was --buildOnly before 8.6.
    """
    options = request.options
    line = [str(program.path), f"--onnx={folder / MODEL}", f"--saveEngine={folder / ENGINE}"]
    line.append("--skipInference" if "skipInference" in program.options else "--buildOnly")
    line += [f"--exportLayerInfo={folder / LAYERS}", "--profilingVerbosity=detailed"]
    line += _typing_options(program, typing, request)
    if request.needs_profile:
        line += _shape_options(request)
    if options.workspace_mib is not None:
        line.append(f"--memPoolSize=workspace:{options.workspace_mib}")
    if options.timing_cache is not None:
        line.append(f"--timingCacheFile={folder / TIMINGS}")
    if options.dla_core is not None:
        line += [f"--useDLACore={options.dla_core}", "--allowGPUFallback"]
    for word in options.compatible:
        if word == WITH_VERSIONS:
            # Else the engine carries a runtime: host code, which a program that loads it would have to allow.
            line += ["--versionCompatible", "--excludeLeanRuntime"]
        else:
            line.append(f"--hardwareCompatibilityLevel={_HARDWARE_LEVELS[word]}")
    return line


def error_lines(output: str) -> str:
    """What trtexec itself calls errors, in one line without its clock; empty where it names none."""
    texts = dict.fromkeys(" ".join(match.group("text").split()) for match in _ERROR_LINE.finditer(output))
    line = "; ".join(text for text in texts if text)
    return line if len(line) <= _MOST_WORDS else f"{line[:_MOST_WORDS]} ..."


def _typing_options(program: Program, typing: Typing, request: BuildRequest) -> list[str]:
    if typing == "strong":
        return ["--stronglyTyped"] if "fp16" in program.options else []
    # Quantised files may hold float16 beside int8; trtexec has no way to look, so both are allowed.
    return {"fp32": [], "fp16": ["--fp16"], "int8": ["--int8", "--fp16"]}[request.precision]


def _shape_options(request: BuildRequest) -> list[str]:
    batch = request.batch
    counts = {"min": batch.minimum, "opt": batch.optimum, "max": batch.maximum}
    return [
        f"--{name}Shapes={','.join(_shape(tensor, count) for tensor in request.inputs)}"
        for name, count in counts.items()
    ]


def _shape(tensor: TensorInfo, batch: int) -> str:
    return f"{tensor.name}:{'x'.join(str(batch if isinstance(size, str) else size) for size in tensor.shape)}"


def _run(builder: TrtexecBuilder, line: list[str], log_file: Path) -> None:
    """Run trtexec to its end, with all that it says in `log_file`."""
    with log_file.open("wb") as log:
        log.write(f"{shlex.join(line)}\n".encode())
        log.flush()
        code = _exit_code(builder.program, line, log)
    if code == 0:
        return
    said = error_lines(log_file.read_text(errors="replace"))
    if "DLA" in said and "not available" in said:
        raise UnavailableError(f"trtexec {builder.version}: {said}; leave --dla out")
    ended = f"signal {-code}" if code < 0 else f"exit code {code}"
    raise build_failure(
        builder, f"did not build the engine ({ended}, output in {log_file})", said or "it named no error"
    )


def _exit_code(program: Program, line: list[str], log: IO[bytes]) -> int:
    """Start the program and wait for it; whatever stops the waiting, such as Ctrl-C, stops the program."""
    try:
        process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    except OSError as error:
        raise UnavailableError(f"{program.path} cannot be started: {error.strerror}") from error
    try:
        return process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise


def _verified(layers: Path, typing: Typing, request: BuildRequest) -> LayerPrecisions | str:
    if not layers.is_file():
        return "trtexec wrote no layer information"
    found = layer_precisions(layers.read_text(errors="replace"))
    if found is None:
        return "trtexec does not say in what the layers compute"
    check_layer_precisions(found, request.precision, types_bind=typing == "strong")
    return found
