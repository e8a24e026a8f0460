"""What every package for a server needs: a checked artefact, a verified copy of it, class names, configs that are ours.

A package is a folder that another program reads: `triton_repository` and `deepstream` write one each.
"""

import hashlib
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckError, InputError
from ..files import sha256_of
from .manifest import EngineInfo, FileInfo, Manifest, load_manifest

# One word that is a folder and a name in both programs.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_SIGNATURE = re.compile(r"# Written by espnet-package; sha256 of what follows: ([0-9a-f]{64})\n")
RTX_BUILDER = "tensorrt-rtx"


@dataclass(frozen=True)
class Package:
    """What was written. `notes`: what the user must know of it."""

    folder: Path
    config: Path
    model: Path
    files: tuple[Path, ...]
    notes: tuple[str, ...]


def servable_manifest(artefact: Path, *, allow_random: bool) -> Manifest:
    """The manifest of `artefact`, which is the file that it describes and may be handed on.

    Raises:
        InputError: `artefact` is not a file, its weights are random and `allow_random` is false, or it is an engine
            that no server of the two can load.
        CheckError: no valid manifest, or another SHA-256.
    """
    manifest = load_manifest(artefact)
    assert manifest is not None
    if manifest.weights.random and not allow_random:
        raise InputError(
            f"{artefact}: its weights are random, the answers would mean nothing; export it with real weights "
            "(espnet-export --weights FILE), or pass --allow-random-weights"
        )
    if manifest.engine is not None and manifest.engine.builder == RTX_BUILDER:
        raise InputError(
            f"{artefact}: an engine by TensorRT-RTX, Triton and DeepStream load those of TensorRT only; package the "
            f"ONNX file beside it, or build one there: espnet-export ... --engine tensorrt"
        )
    return manifest


def checked_name(option: str, name: str) -> str:
    """`name` where it can be a folder's name and a name in both programs.

    Raises:
        InputError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{option} {name!r}: a name has letters, digits, '_', '-' and '.', at most 128, and begins with a letter "
            "or digit; give one with --name"
        )
    return name


def copy_artefact(artefact: Path, manifest: Manifest, to: Path) -> None:
    """Copy the file to `to`, with its manifest beside it, and its vocabulary where it has one.

    A copy, not a hard link: what is served must not change when somebody writes into the file that it came from.

    Raises:
        CheckError: the file is no longer the one that the manifest describes, or its vocabulary is not.
        OSError: the disk is full, or a folder cannot be read or written.
    """
    _copy(artefact, to, manifest.file.sha256)
    info = FileInfo(name=to.name, sha256=manifest.file.sha256, bytes=manifest.file.bytes)
    manifest.model_copy(update={"file": info}).write(to)
    if manifest.vocabulary is not None:
        name = manifest.vocabulary.name
        if not artefact.with_name(name).is_file():
            raise CheckError(f"{artefact.with_name(name)}: no such file; put it back beside {artefact.name}")
        _copy(artefact.with_name(name), to.with_name(name), manifest.vocabulary.sha256)


def fixed_batch(manifest: Manifest) -> int | None:
    """The one batch size that the artefact takes, or None where it is free."""
    size = manifest.inputs[0].shape[manifest.inputs[0].batch_axis]
    return size if isinstance(size, int) else None


def max_batch_of(manifest: Manifest, asked: int | None) -> int:
    """The largest batch that a server may form: the one size of a fixed batch, else what was asked for.

    Raises:
        InputError: the batch is fixed and another size was asked for, the file does not say how large a free one may be
            and nobody else does, or the engine was built for less.
    """
    fixed = fixed_batch(manifest)
    if fixed is not None:
        if asked not in {None, fixed}:
            raise InputError(
                f"--max-batch {asked}: {manifest.name} takes batches of {fixed} only; leave it out, or export it with "
                "a free batch (--batch 1,4,8)"
            )
        return fixed
    profile = manifest.engine.profile if manifest.engine else None
    if profile is not None and profile.minimum > 1:
        raise InputError(
            f"{manifest.name}: the engine takes {profile.minimum} to {profile.maximum} pictures at once, servers ask "
            f"for single ones, too; export it with --batch 1,{profile.optimum},{profile.maximum}"
        )
    largest = asked if asked is not None else (profile.maximum if profile else None)
    if largest is None:
        raise InputError(f"{manifest.name}: the batch is free, and the file does not say how large: give --max-batch N")
    if largest < 1:
        raise InputError(f"--max-batch {largest}: give at least 1")
    if profile is not None and largest > profile.maximum:
        raise InputError(
            f"--max-batch {largest}: the engine was built for {profile.maximum} at most; give that or less, or export "
            "it with a larger --batch"
        )
    return largest


def warnings_of(manifest: Manifest) -> list[str]:
    """What everybody must know who serves this artefact: that its weights are random, where an engine can run."""
    warnings = ["The weights are RANDOM: the answers mean nothing."] if manifest.weights.random else []
    return warnings if manifest.engine is None else [*warnings, _place_of(manifest.engine)]


def _place_of(engine: EngineInfo) -> str:
    gpu = engine.device or ", ".join(engine.compute_capabilities) or "a GPU that the manifest does not name"
    return (
        "An engine runs only with the version and on the kind of GPU that it was built for, which the server must "
        f"have: {engine.builder} {engine.builder_version}, {gpu}."
    )


def one_line(text: str) -> str:
    """`text` without line breaks and control characters.

    Much of a manifest is free text: a line of its own in a configuration could name a library that the server loads.
    """
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def as_comments(lines: Iterable[str]) -> str:
    """Each of `lines` as a comment, of one line whatever it holds."""
    return "".join(f"# {one_line(line)}\n" for line in lines)


def signed(text: str) -> str:
    """`text`, a configuration, under a comment by which `check_unedited` knows that nobody changed it."""
    return f"# Written by espnet-package; sha256 of what follows: {_sha256(text)}\n{text}"


def check_unedited(config: Path) -> None:
    """See that the configuration `config`, which is about to be replaced, is none or as `signed` gave it.

    Raises:
        InputError: somebody has changed it or written it.
    """
    if not config.exists():
        return
    text = config.read_text(encoding="utf-8", errors="replace")
    signature = _SIGNATURE.match(text)
    if signature is None or signature.group(1) != _sha256(text[signature.end() :]):
        raise InputError(
            f"{config}: was not written by espnet-package, or was changed since; move it away, or pass --overwrite to "
            "replace it"
        )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _copy(source: Path, to: Path, sha256: str) -> None:
    shutil.copyfile(source, to)
    if (actual := sha256_of(to)) != sha256:
        raise CheckError(
            f"{source}: sha256 {actual[:16]}..., the manifest says {sha256[:16]}...; the file was changed or replaced: "
            "export it again"
        )
