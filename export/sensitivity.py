"""Which blocks of a network may be int8: those whose labels survive it, found by trying.

With every dense convolution in int8 the published networks for Cityscapes lose a tenth of their labels and more. Each
block is tried alone, then the fewest of the worst are kept in float16 with which enough labels are those of the float32
file.
"""

import bisect
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from numpy.typing import NDArray

from ..model.deploy import Io
from ..model.spec import ModelSpec, Task
from ..runtime.images import Pixels
from .batch import Batch
from .calibration import Calibration, count_values, int8_scale
from .half_precision import half_precision
from .parity import (
    MIN_LABEL_AGREEMENT,
    Floats,
    at_full_size,
    equal_answers,
    labels_of,
    logits_names,
    picture_inputs,
    session_with_logits,
)
from .precision_report import BlockSensitivity, HalfPrecisionReport, Int8Report
from .quantised import ConvSite, conv_sites, quantised

# Share of equal labels, by task, that an int8 file must keep: of pixels; of pictures, whose 1,000 classes are near to
# each other; of classes that either file sees in a picture; of priors in which either file sees something.
DEFAULT_MIN_AGREEMENT: dict[Task, float] = {
    "segmentation": 0.98,
    "classification": 0.95,
    "multi_label": 0.95,
    "detection": 0.95,
}
# Blocks are ranked on so many pictures as have this many pixels together, at least four: four street scenes.
_RANKING_PIXELS = 4 * 512 * 1024
_MIN_RANKING = 4


@dataclass(frozen=True)
class Quantised:
    """The int8 file that the search found, and what it found on the way; `report.passed` false: it found none."""

    model: onnx.ModelProto
    half_precision: HalfPrecisionReport
    report: Int8Report


def quantise_what_survives(
    model: onnx.ModelProto,
    calibration: Calibration,
    *,
    spec: ModelSpec,
    io: Io,
    batch: Batch,
    min_agreement: float,
    on_step: Callable[[str], None],
) -> Quantised:
    """`model` with as many blocks in int8 as keep its labels, and the rest in float16.

    Args:
        model: a float32 file.
        calibration: pictures at its size.
        spec: task, mean and standard deviation.
        io: which inputs and outputs `model` has.
        batch: the sizes that it accepts.
        min_agreement: share of equal labels on the calibration pictures, 0 to 1.
        on_step: told of each step.
    """
    on_step(f"ranges of {len(calibration.pictures)} pictures")
    search = _Search(model, calibration, spec, io, Batch(batch.minimum, batch.minimum, batch.minimum))
    alone: dict[str, _Score] = {}
    for block in search.blocks:
        alone[block] = search.alone(block)
        on_step(f"sensitivity: {block} alone in int8, labels equal {alone[block].agreement:.4f}")
    worst_first = sorted(alone, key=lambda block: (alone[block].agreement, -alone[block].error))
    # A hair more than asked for: PyTorch, which judges in the end, may differ from the float32 file by so much.
    wanted = min(1.0, min_agreement + 1 - MIN_LABEL_AGREEMENT["fp32"])
    by_kept: dict[int, float] = {}

    def reached(kept: int) -> float:
        if kept not in by_kept:
            by_kept[kept] = search.rank(worst_first[kept:])
            on_step(f"sensitivity: the {kept} worst blocks in float16, labels equal {by_kept[kept]:.4f}")
        return by_kept[kept]

    reached(len(worst_first))
    # Bisection takes agreement to grow with every block that is kept; where it does not, the check below still holds.
    kept = 0 if reached(0) >= wanted else bisect.bisect_left(range(len(worst_first)), wanted, key=reached)
    while kept < len(worst_first) and search.check(worst_first[kept:]) < wanted:
        kept += 1
    int8 = worst_first[kept:]
    candidate, half = search.candidate(int8)
    sites = search.sites_of(int8)
    report = Int8Report(
        passed=bool(int8),
        min_agreement=min_agreement,
        agreement=None,
        held_out_agreement=None,
        float16_agreement=by_kept[len(worst_first)],
        naive_agreement=by_kept[0],
        int8_convolutions=len(sites),
        convolutions=len(search.all_sites),
        depthwise_convolutions=sum(site.depthwise for site in search.all_sites),
        int8_macs_share=search.macs_share(sites),
        never_int8=search.never_int8,
        blocks=[
            BlockSensitivity(
                name=block,
                convolutions=len(search.sites_of([block])),
                macs_share=search.macs_share(search.sites_of([block])),
                agreement_alone=alone[block].agreement,
                error_alone=alone[block].error,
                kept=block not in int8,
                agreement_when_kept=by_kept.get(number),
            )
            for number, block in enumerate(worst_first, 1)
        ],
        calibration_pictures=[name for name, _ in calibration.pictures],
        ranking_pictures=[name for name, _ in search.ranking],
        held_out_pictures=[name for name, _ in calibration.held_out],
        skipped_pictures=list(calibration.skipped),
        pictures_found=calibration.found,
    )
    return Quantised(candidate, half, report)


@dataclass(frozen=True)
class _Score:
    """How well a file does against the float32 one. `error`: root mean square, as a share of that of the logits."""

    agreement: float
    error: float


class _Search:
    """What every trial needs: ranges, measured once, and the answers of the float32 file."""

    def __init__(self, model: onnx.ModelProto, calibration: Calibration, spec: ModelSpec, io: Io, batch: Batch) -> None:
        self._model, self._spec, self._io, self._batch = model, spec, io, batch
        self._pictures = calibration.pictures
        self._reference = _logits_of(model, spec, io)
        self.all_sites = conv_sites(model)
        dense = [site for site in self.all_sites if not site.depthwise]
        name = model.graph.input[0].name
        counts = count_values(
            model, sorted({site.input for site in dense}), ({name: array} for array in self._inputs(self._pictures))
        )
        scales = {tensor: int8_scale(histogram) for tensor, histogram in counts.items()}
        self._scales = {tensor: scale for tensor, scale in scales.items() if scale is not None}
        self.never_int8 = {
            site.weight: f"{site.input} is 0 on all pictures, or beyond float16"
            for site in dense
            if site.input not in self._scales
        }
        self._sites = [site for site in dense if site.input in self._scales]
        self.blocks = list(dict.fromkeys(site.block for site in self._sites))
        self.ranking = _ranking(self._pictures)
        self._ranking_logits = [self._reference(array) for array in self._inputs(self.ranking)]

    def sites_of(self, blocks: Collection[str]) -> list[ConvSite]:
        """The convolutions of `blocks` that can be int8."""
        return [site for site in self._sites if site.block in blocks]

    def macs_share(self, sites: Sequence[ConvSite]) -> float:
        """Of the multiply-accumulates of all convolutions."""
        return sum(site.macs for site in sites) / sum(site.macs for site in self.all_sites)

    def candidate(self, blocks: Collection[str]) -> tuple[onnx.ModelProto, HalfPrecisionReport]:
        """The file in which `blocks` are int8 and the rest is float16."""
        return half_precision(quantised(self._model, self.sites_of(blocks), self._scales))

    def alone(self, block: str) -> _Score:
        """How much `block` loses when it is int8 and the rest float32, on the ranking pictures."""
        model = quantised(self._model, self.sites_of([block]), self._scales)
        return self._score(model, self.ranking, self._ranking_logits)

    def rank(self, blocks: Collection[str]) -> float:
        """Agreement of `candidate(blocks)` on the ranking pictures."""
        return self._score(self.candidate(blocks)[0], self.ranking, self._ranking_logits).agreement

    def check(self, blocks: Collection[str]) -> float:
        """Agreement of `candidate(blocks)` on all pictures; the float32 logits of so many are not kept."""
        expected = (self._reference(array) for array in self._inputs(self._pictures))
        return self._score(self.candidate(blocks)[0], self._pictures, expected).agreement

    def _score(
        self, model: onnx.ModelProto, pictures: Sequence[tuple[str, Pixels]], expected: Iterable[Floats]
    ) -> _Score:
        found = _logits_of(model, self._spec, self._io)
        task = self._spec.task
        equal = answers = 0
        squared_error = squared = 0.0
        for array, reference in zip(self._inputs(pictures), expected, strict=True):
            logits = found(array)
            equal_here, answers_here = equal_answers(labels_of(logits, task), labels_of(reference, task), task)
            equal, answers = equal + equal_here, answers + answers_here
            squared_error += _squared(logits - reference)
            squared += _squared(reference)
        error = math.sqrt(squared_error / squared) if squared else math.inf
        return _Score(equal / answers if answers else 1.0, error)

    def _inputs(self, pictures: Sequence[tuple[str, Pixels]]) -> Iterator[NDArray[Any]]:
        return (array for _, array in picture_inputs(self._spec, self._io, self._batch, pictures))


def _logits_of(model: onnx.ModelProto, spec: ModelSpec, io: Io) -> Callable[[NDArray[Any]], Floats]:
    """Input to those logits of `model` that labels are taken from."""
    session = session_with_logits(model, spec, io)
    wanted = logits_names(session, spec)[:1]
    name = session.get_inputs()[0].name

    def logits(array: NDArray[Any]) -> Floats:
        found: Floats = session.run(wanted, {name: array})[0]
        return at_full_size(found, array, io)

    return logits


def _squared(array: Floats) -> float:
    flat = array.ravel()
    return float(flat @ flat)


def _ranking(pictures: Sequence[tuple[str, Pixels]]) -> list[tuple[str, Pixels]]:
    height, width, _ = pictures[0][1].shape
    count = min(len(pictures), max(_MIN_RANKING, _RANKING_PIXELS // (height * width)))
    return [pictures[i * len(pictures) // count] for i in range(count)]
