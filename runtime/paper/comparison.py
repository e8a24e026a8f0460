"""The paper's comparison: which files it takes, its third panel, and the result with the paper's part in it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError, UnavailableError
from ...power.meter import Meter
from ..manifest import Manifest, load_manifest
from ..result import PaperComparison, Result, WorkTrace
from ..work import Work
from .claims import claims_of
from .lines import measured_networks, settings_of
from .published import NETWORKS, PaperNetwork, by_name
from .work_trace import Progress, images_for, recorded_traces


@dataclass(frozen=True)
class PaperFiles:
    """The artefacts of the comparison in the paper's order; () for a kind of which not all five are there."""

    onnx: tuple[Path, ...]
    engines: tuple[Path, ...]


@dataclass(frozen=True)
class Traced:
    """The third panel, and why there is none or not all of it."""

    traces: tuple[WorkTrace, ...] = ()
    reason: str | None = None
    interrupted: bool = False


def paper_files(folder: Path, *, trust: bool = False) -> PaperFiles:
    """The five networks' files in `folder`: FOLDER/MODEL/MODEL.onnx of all five, MODEL.trt of all five, or both.

    Raises:
        InputError: one is missing, is another network or width, or differs from the others of its kind in precision or
            input; the message has the command that makes it.
        CheckError: a file is not the one that its manifest describes.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; make paper exports the five networks to build/paper")
    onnx, engines = (
        tuple(folder / network.model / f"{network.model}{suffix}" for network in NETWORKS)
        for suffix in (".onnx", ".trt")
    )
    has_onnx, has_engines = (all(path.is_file() for path in paths) for paths in (onnx, engines))
    if not has_onnx and not has_engines:
        missing = [i for i, path in enumerate(onnx) if not path.is_file()]
        others = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(f"{onnx[missing[0]]} is missing{others}; {_way_out(folder, NETWORKS[missing[0]])}")
    files = PaperFiles(onnx if has_onnx else (), engines if has_engines else ())
    for paths in filter(None, (files.onnx, files.engines)):
        _check_kind(folder, paths, trust=trust)
    return files


def traced(
    works: Mapping[str, Work],
    open_meter: Callable[[], Meter],
    *,
    images: int | None,
    seed: int,
    progress: Progress | None = None,
) -> Traced:
    """Record the third panel. Ctrl-C ends it with the traces that are whole.

    Args:
        works: one inference of each line, by its name.
        open_meter: opens one.
        images: for each to infer; None for what the slowest infers in about five seconds.
        seed: of the order.
        progress: called before each.
    """
    found: list[WorkTrace] = []
    try:
        meter = open_meter()
        for trace in recorded_traces(works, meter, images=images or images_for(works), seed=seed, progress=progress):
            found.append(trace)
    except (InputError, UnavailableError) as error:
        return Traced(tuple(found), str(error))
    except KeyboardInterrupt:
        return Traced(tuple(found), f"interrupted after {len(found)} of {len(works)} traces", interrupted=True)
    return Traced(tuple(found))


def panel_lines(result: Result) -> tuple[str, ...]:
    """Names of the lines of the third panel: the first runtime's, at its smallest batch, in the paper's order."""
    settings = settings_of(result)
    if not settings:
        return ()
    batch = settings[0].batches[0]
    lines = (settings[0].line(network.network, batch) for network in NETWORKS)
    return tuple(line.name for line in lines if line is not None)


def with_paper(result: Result, traced_work: Traced) -> Result:
    """The result with the paper's part, its claims computed from the rest."""
    networks = measured_networks(result)
    batches = {batch for setting in settings_of(result) for batch in setting.batches}
    paper = PaperComparison(
        networks=networks,
        top1={name: by_name()[name].top1 for name in networks},
        batches=tuple(sorted(batches)),
        claims=claims_of(result),
        traces=traced_work.traces,
        no_traces_reason=traced_work.reason,
    )
    return result.model_copy(update={"paper": paper})


def recomputed(result: Result) -> Result:
    """The same with claims computed again, from the figures that are in it.

    Raises:
        InputError: none of its lines is of the paper's networks.
    """
    if not measured_networks(result):
        known = ", ".join(network.label for network in NETWORKS)
        raise InputError(f"no line of the result is of the paper's networks ({known}); measure with espnet-paper")
    old = result.paper
    return with_paper(result, Traced(old.traces, old.no_traces_reason) if old else Traced(reason="not recorded"))


def _check_kind(folder: Path, paths: Sequence[Path], *, trust: bool) -> None:
    manifests = [load_manifest(path, trust=trust) for path in paths]
    for network, path, manifest in zip(NETWORKS, paths, manifests, strict=True):
        _check_network(folder, network, path, manifest)
    _check_alike(paths, manifests)


def _check_network(folder: Path, network: PaperNetwork, path: Path, manifest: Manifest | None) -> None:
    if manifest is None:
        raise InputError(f"{path} has no manifest, so nothing says which network it is; {_way_out(folder, network)}")
    if (manifest.network, manifest.width_mult) != (network.network, network.width_mult):
        raise InputError(
            f"{path} is {manifest.network} {manifest.width_mult:g}, the paper's comparison has {network.network} "
            f"{network.width_mult:g} there; {_way_out(folder, network)}"
        )


def _check_alike(paths: Sequence[Path], manifests: Sequence[Manifest | None]) -> None:
    """Of another size or precision the work is not the same."""
    kinds = [_kind(manifest) for manifest in manifests if manifest is not None]
    for path, kind in zip(paths, kinds, strict=True):
        if kind != kinds[0]:
            raise InputError(f"{path} is {kind}, {paths[0]} is {kinds[0]}; export all five alike: make paper")


def _kind(manifest: Manifest) -> str:
    inputs = (f"{one.name} {one.dtype} ({','.join(map(str, one.shape))})" for one in manifest.inputs)
    return f"{manifest.precision}, {', '.join(inputs)}"


def _way_out(folder: Path, network: PaperNetwork) -> str:
    return (
        f"espnet-export {network.model} --width {network.width_mult:g} --batch 1,8,64 --weights random "
        f"--out {folder / network.model}, or make paper for all five"
    )
