"""What a user can ask of a builder of engines, whatever the builder is."""

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..runtime.compatibility import WITH_AMPERE_PLUS, WITH_SAME_CAPABILITY, WITH_VERSIONS

# What an engine may be compatible with, in the words of --compatible and of manifests.
COMPATIBLE = (WITH_VERSIONS, WITH_AMPERE_PLUS, WITH_SAME_CAPABILITY)


@dataclass(frozen=True)
class BuildOptions:
    """How an engine is to be built; the defaults leave everything to the library.

    Args:
        compute_capabilities: such as "8.6", of a TensorRT-RTX engine; empty takes its portable default.
        workspace_mib: the most scratch memory that a layer may take while building and running, in MiB.
        timing_cache: a file of kernel timings that is read if it is there and fits, and written after the build.
        dla_core: the core of the Deep Learning Accelerator; layers that it does not take run on the GPU.
        compatible: of `COMPATIBLE`, what the engine may run with besides the version and GPU that it was built with.
    """

    compute_capabilities: tuple[str, ...] = ()
    workspace_mib: int | None = None
    timing_cache: Path | None = None
    dla_core: int | None = None
    compatible: tuple[str, ...] = ()

    @property
    def given(self) -> list[str]:
        """The command's options that are not at their defaults."""
        asked = {
            "--compute-capability": self.compute_capabilities,
            "--workspace": self.workspace_mib is not None,
            "--timing-cache": self.timing_cache,
            "--dla": self.dla_core is not None,
            "--compatible": self.compatible,
        }
        return [option for option, value in asked.items() if value]


def parse_compute_capabilities(text: str) -> tuple[str, ...]:
    """ "8.6,8.9" -> ("8.6", "8.9").

    Raises:
        InputError: the text has another form.
    """
    parts = tuple(part.strip() for part in text.split(","))
    if not all(re.fullmatch(r"\d{1,2}\.\d", part) for part in parts):
        raise InputError(f"--compute-capability {text!r}: give numbers such as 8.6, several with commas")
    if len(set(parts)) < len(parts):
        raise InputError(f"--compute-capability {text}: a number stands there twice; name each once")
    return parts


def parse_compatible(text: str) -> tuple[str, ...]:
    """ "version,ampere+" -> ("version", "ampere+").

    Raises:
        InputError: a word is unknown, or two of them exclude each other.
    """
    parts = tuple(part.strip() for part in text.split(","))
    if unknown := [part for part in parts if part not in COMPATIBLE]:
        raise InputError(f"--compatible {unknown[0]!r} is unknown; there are {', '.join(COMPATIBLE)}")
    if len(set(parts)) < len(parts):
        raise InputError(f"--compatible {text}: a word stands there twice; name each once")
    if {WITH_AMPERE_PLUS, WITH_SAME_CAPABILITY} <= set(parts):
        raise InputError(f"--compatible {text}: {WITH_AMPERE_PLUS} and {WITH_SAME_CAPABILITY} exclude each other")
    return parts
