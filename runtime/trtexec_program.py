"""TensorRT's program trtexec: where it is, which version it is, which options it has; all asked of itself."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

# Where JetPack and NVIDIA's packages put it; it is not on PATH there.
USUAL_PLACE = Path("/usr/src/tensorrt/bin/trtexec")
_ANSWER_SECONDS = 60  # it loads TensorRT's libraries before it prints a word


@dataclass(frozen=True)
class Program:
    """A trtexec that answered. `options`: the names in its help, without dashes."""

    path: Path
    version: str
    options: frozenset[str]


def find_program() -> Program | str:
    """The trtexec on PATH or where JetPack puts it, or why there is none."""
    found = shutil.which("trtexec") or shutil.which(USUAL_PLACE)
    if found is None:
        return f"trtexec is neither on PATH nor at {USUAL_PLACE}: on a Jetson `apt install libnvinfer-bin`"
    return ask_program(found)


def ask_program(path: str) -> Program | str:
    """The trtexec at `path`, or why it does not answer with its version."""
    try:
        done = subprocess.run(
            [path, "--help"], capture_output=True, text=True, errors="replace", timeout=_ANSWER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{path} --help does not answer ({error})"
    version = banner_version(done.stdout + done.stderr)
    if version is None:
        said = " ".join((done.stdout + done.stderr).split())[-200:]
        return f"{path} --help does not name its version (exit code {done.returncode}): {said or 'it said nothing'}"
    return Program(Path(path), version, frozenset(re.findall(r"^\s+--(\w+)", done.stdout, re.MULTILINE)))


def banner_version(output: str) -> str | None:
    """ "... [TensorRT v8502] ..." -> "8.5.2", "[TensorRT v100300]" -> "10.3.0"; None without a banner.

    Up to TensorRT 8 the number is major * 1000 + minor * 100 + patch, later major * 10000 + minor * 100 + patch.
    """
    match = re.search(r"\[TensorRT v(\d+)\]", output)
    if match is None:
        return None
    number = int(match.group(1))
    factor = 10_000 if number >= 10_000 else 1_000
    return f"{number // factor}.{number % factor // 100}.{number % 100}"
