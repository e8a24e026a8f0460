"""Why a network takes as long as it does: what its file holds, and where its runtime spends the time.

The profile is taken in a session of its own, apart from those whose latency is measured: profilers slow things down.
"""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path

from ..errors import InputError, UnavailableError
from ..files import sha256_of
from .manifest import Manifest, load_manifest
from .onnx_counts import onnx_counts
from .operator_times import OperatorTimes
from .result import Breakdown, Line, OperatorShare

Profiler = Callable[[Line, Path, Manifest | None, int, int], OperatorTimes]

# Module and function by runtime; each imports its library.
_PROFILERS = {
    "onnxruntime": ("ort_profile", "ort_times"),
    "openvino": ("openvino_profile", "openvino_times"),
    "torch": ("torch_profile", "torch_times"),
    "tensorrt": ("trt_profile", "trt_times"),
    "tensorrt_rtx": ("trt_profile", "trt_times"),
}
_MIB = 1 << 20
_SHOWN = 10


def breakdown(line: Line, artefact: Path, *, trust: bool = False, inferences: int = 20, seed: int = 0) -> Breakdown:
    """Counts of the ONNX file behind `line`, and times of its operators by the runtime's own profiler.

    What cannot be had is left out, and `unavailable` says why. The counts of an engine are those of the ONNX file
    beside it from which it was built.

    Args:
        line: what was measured; runtime, device, threads and batch size are as there.
        artefact: its file.
        trust: as in `open_runner`.
        inferences: under the profiler, after a few to warm up.
        seed: of the random inputs.

    Raises:
        InputError: `inferences` is below 1, or the file is broken.
        CheckError: the manifest is missing or invalid, or the file is not the one that it describes.
    """
    if inferences < 1:
        raise InputError(f"inferences {inferences}: give at least 1")
    manifest = load_manifest(artefact, trust=trust)
    missing = []
    counted = Breakdown(line=line.name)
    try:
        counts = onnx_counts(_onnx_file(artefact, manifest), line.batch)
        counted = Breakdown(line=line.name, **vars(counts))
    except UnavailableError as error:
        missing.append(f"no counts: {error}")
    profiled: Mapping[str, object] = {}
    try:
        profiled = _profile_fields(_profiler(line)(line, artefact, manifest, inferences, seed))
    except UnavailableError as error:
        missing.append(f"no profile: {error}")
    return counted.model_copy(update={**profiled, "unavailable": "; ".join(missing) or None})


def breakdown_rows(parts: Breakdown, most: int = _SHOWN) -> list[dict[str, str]]:
    """Rows of a table: the operators that take longest, and the others together."""
    shown, others = parts.shares[:most], parts.shares[most:]
    rows = [_row(share.operator, share.count, share.time_ms, share.share) for share in shown]
    if others:
        count, time_ms, part = (
            sum(share.count for share in others),
            sum(share.time_ms for share in others),
            sum(share.share for share in others),
        )
        rows.append(_row(f"{len(others)} other kinds", count, time_ms, part))
    return rows


def breakdown_lines(parts: Breakdown) -> list[str]:
    """What is known beside the operators' times, in sentences for a report."""
    lines = []
    if parts.operators:
        nodes = ", ".join(f"{count} {kind}" for kind, count in list(parts.operators.items())[:_SHOWN])
        lines.append(f"{parts.line}: {sum(parts.operators.values())} nodes in the file: {nodes}")
    if parts.weights_bytes is not None:
        moved = "unknown" if parts.activations_bytes is None else f"{parts.activations_bytes / _MIB:.1f} MiB"
        lines.append(
            f"{parts.line}: {parts.weights_bytes / _MIB:.1f} MiB of weights, {moved} of maps between nodes, "
            "written once and read once by each reader"
        )
    if parts.kernels is not None and parts.profiled_ms is not None:
        lines.append(
            f"{parts.line}: {parts.kernels} operators are executed in one inference, {parts.profiled_ms:.3f} ms "
            f"together with the profiler on ({parts.source})"
        )
    if parts.unavailable is not None:
        lines.append(f"{parts.line}: {parts.unavailable}")
    return lines


def _row(operator: str, count: int, time_ms: float, share: float) -> dict[str, str]:
    return {"operator": operator, "count": str(count), "ms": f"{time_ms:.3f}", "share": f"{100 * share:.1f} %"}


def _onnx_file(artefact: Path, manifest: Manifest | None) -> Path:
    """The ONNX file that `artefact` is, or was built from.

    Raises:
        UnavailableError: it is not beside the engine.
    """
    if artefact.suffix == ".onnx":
        return artefact
    beside = artefact.with_suffix(".onnx")
    if not beside.is_file():
        raise UnavailableError(f"{artefact}: {beside.name}, from which engines are built, is not beside it")
    if manifest is not None and sha256_of(beside) != manifest.onnx.sha256:
        raise UnavailableError(f"{artefact}: it was not built from the {beside.name} beside it")
    return beside


def _profiler(line: Line) -> Profiler:
    """The function that profiles `line`; its module imports the library."""
    if line.runtime not in _PROFILERS:
        raise UnavailableError(f"{line.name}: {line.runtime} has no profiler that this program reads")
    module, name = _PROFILERS[line.runtime]
    try:
        profiler: Profiler = getattr(importlib.import_module(f".{module}", __package__), name)
    except ImportError as error:
        raise UnavailableError(f"{line.name}: {line.runtime} is not here ({error})") from error
    return profiler


def _profile_fields(times: OperatorTimes) -> dict[str, object]:
    total_ms = times.operators_ms
    if not total_ms:
        raise UnavailableError(f"{times.source}: every operator is shorter than its clock can tell")
    shares = [
        OperatorShare(operator=kind, count=count, time_ms=time_ms, share=time_ms / total_ms)
        for kind, (count, time_ms) in times.by_kind.items()
    ]
    return {
        "kernels": times.kernels,
        "shares": tuple(sorted(shares, key=lambda share: -share.share)),
        "profiled_ms": total_ms,
        # Far from the whole, the profiler misses operators, or counts some twice.
        "source": f"{times.source} in a session apart from the measured ones; the operators take "
        f"{100 * total_ms / times.inference_ms:.0f} % of its {times.inference_ms:.3f} ms",
    }
