"""The parity proof: the published network in PyTorch against the exported file in ONNX Runtime, on the same inputs.

The file's own graph is run, with the logits read out beside its outputs, so that the numbers stand for the file as it
is delivered, also where it ends in a label map or in boxes. A detection network has two kinds of logits, confidences
and locations: both are compared, and its labels are the best classes of the priors. The labels of a multi-label
network are its decisions, class by class: whether the logit is above 0.

How much a file may differ depends on its precision. For int8 there is no limit on the errors of logits: its proof are
the labels of real pictures, those that it was calibrated with, and those held out.

A segmentation that leaves its last upsampling to the host is compared after it: at full resolution, as
`runtime/upsampling.py` makes it.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from torch import nn

from ..model.deploy import PIXEL_IO, Io, Normalise, as_tuple
from ..model.seeded import formula_image
from ..model.spec import ModelSpec, Task
from ..runtime.answers import sigmoid
from ..runtime.boxes import decoded, prior_boxes_in_pixels, softmax
from ..runtime.manifest import ParitySummary, Precision
from ..runtime.upsampling import upsampled
from .batch import Batch
from .precision_report import HalfPrecisionReport, Int8Report

Floats = NDArray[np.float32]

SCHEMA_VERSION = 1
MIN_LABEL_AGREEMENT = {"fp32": 0.9999, "fp16": 0.995}
_BASE_TOLERANCE = {
    "segmentation": 1e-3,
    "classification": 1e-4,
    "multi_label": 1e-4,
    "detection": 1e-4,
    "language_modelling": 1e-4,
}
# Of the largest logit: about four times what the published and seeded networks differ by. A segmentation has the most
# layers between the image and its logits.
_FLOAT16_TOLERANCE = {
    "segmentation": 1 / 64,
    "classification": 1 / 200,
    "multi_label": 1 / 200,
    "detection": 1 / 200,
    "language_modelling": 1 / 200,
}
# Largest logit that published networks give on photos; checkpoints with larger ones have that much more rounding.
_USUAL_LOGIT = 64.0
# The dimension of the first output that runs over the classes, of which one is the best.
_CLASS_AXIS = {"segmentation": 1, "classification": 1, "detection": 2, "language_modelling": 2}
_LOGITS_OUT = ("raw", "lowres")  # files whose outputs are the logits
_TAPPED_LOGITS = ("logits_before_answer", "locations_before_answer")


class Tolerance(BaseModel):
    """What a case must keep; None where it is not limited case by case.

    Units: those of the logits, and fractions of pixels, pictures, priors or decisions.
    """

    max_abs_error: float | None
    mean_abs_error: float | None
    label_agreement: float | None
    reason: str


class ParityCase(BaseModel):
    """One input. `undecided`: fraction of pixels whose two best logits differ by less than the tolerance; of a
    multi-label network the fraction of logits that differ from 0 by less.

    The errors are those of all kinds of logits together; `max_abs_error_by_output` has the largest of each.
    `answers`: labels that say something, see `equal_answers`; `answers_equal`: how many of them agree.
    """

    name: str
    batch: int
    max_abs_error_by_output: dict[str, float]
    max_abs_error: float
    mean_abs_error: float
    p99_abs_error: float
    cosine: float
    label_agreement: float
    label_agreement_where_decided: float
    undecided: float
    answers: int
    answers_equal: int
    outputs_follow_logits: bool
    tolerance: Tolerance
    passed: bool


class ParityReport(BaseModel):
    """All cases of one file. `half_precision` and `int8`: what was done to make it of this precision."""

    schema_version: int = SCHEMA_VERSION
    reference: str
    candidate: str
    onnx_sha256: str
    precision: Precision
    passed: bool
    half_precision: HalfPrecisionReport | None = None
    int8: Int8Report | None = None
    cases: list[ParityCase]

    @classmethod
    def of(cls, cases: list[ParityCase], onnx_sha256: str, precision: Precision = "fp32") -> "ParityReport":
        """The report over `cases` of the file with this SHA-256."""
        return cls(
            reference=f"PyTorch {torch.__version__}, the published network",
            candidate=f"ONNX Runtime {onnxruntime.__version__}, CPU",
            onnx_sha256=onnx_sha256,
            precision=precision,
            passed=all(case.passed for case in cases),
            cases=cases,
        )

    def summary(self, report_name: str) -> ParitySummary:
        """The worst of each figure, for the manifest."""
        if self.int8 is not None:
            return self._int8_summary(self.int8, report_name)
        worst = max(self.cases, key=lambda case: case.max_abs_error / (case.tolerance.max_abs_error or 1))
        return ParitySummary(
            passed=self.passed,
            max_abs_error=worst.max_abs_error,
            max_abs_error_tolerance=worst.tolerance.max_abs_error,
            label_agreement=min(case.label_agreement_where_decided for case in self.cases),
            label_agreement_tolerance=MIN_LABEL_AGREEMENT[self.precision],
            cases=len(self.cases),
            report=report_name,
        )

    def _int8_summary(self, int8: Int8Report, report_name: str) -> ParitySummary:
        assert int8.agreement is not None, "the proof measures it"
        return ParitySummary(
            passed=self.passed,
            max_abs_error=max(case.max_abs_error for case in self.cases),
            max_abs_error_tolerance=None,
            label_agreement=int8.agreement,
            label_agreement_tolerance=int8.min_agreement,
            held_out_agreement=int8.held_out_agreement,
            cases=len(self.cases),
            report=report_name,
        )


def parity_inputs(
    spec: ModelSpec, io: Io, size: tuple[int, int], batch: Batch, photos: Sequence[tuple[str, NDArray[np.uint8]]]
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Name and input array of each case, one at a time: formula, noise, photos, and each batch size of a free batch.

    Args:
        spec: gives mean and standard deviation.
        io: "deploy" and "lowres" inputs are uint8 (N, H, W, 3), "raw" and "deepstream" ones float32 (N, 3, H, W).
        size: (height, width).
        batch: what the file accepts.
        photos: name and pixels, uint8 (H, W, 3), already at `size`.
    """
    sizes = sorted({batch.minimum, batch.optimum, batch.maximum})
    generator = np.random.default_rng(0)
    noise = [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(2)]
    formula = _pixels_from_normalised(formula_image(*size), spec)
    pictures = [("formula", formula), *((f"noise {i}", pixels) for i, pixels in enumerate(noise)), *photos]
    for name, pixels in pictures:
        yield name, _as_input(_different(pixels, noise, sizes[0]), spec, io)
    for count in sizes[1:]:
        yield f"batch of {count}", _as_input(_different(formula, noise, count), spec, io)


def picture_inputs(
    spec: ModelSpec, io: Io, batch: Batch, pictures: Sequence[tuple[str, NDArray[np.uint8]]]
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Name and input array of each case: all `pictures`, in the smallest batch and once in each other size.

    A last batch that they do not fill begins again with the first; sizes are those of `batch`.
    """
    for start in range(0, len(pictures), batch.minimum):
        chosen = _cycled(pictures, start, batch.minimum)
        yield ", ".join(name for name, _ in chosen), _as_input([pixels for _, pixels in chosen], spec, io)
    for count in sorted({batch.optimum, batch.maximum} - {batch.minimum}):
        chosen = _cycled(pictures, 0, count)
        yield f"batch of {count}", _as_input([pixels for _, pixels in chosen], spec, io)


def prove_parity(
    network: nn.Module,
    model: onnx.ModelProto,
    inputs: Iterable[tuple[str, NDArray[Any]]],
    *,
    spec: ModelSpec,
    io: Io,
    onnx_sha256: str,
    on_case: Callable[[ParityCase], None],
    precision: Precision = "fp32",
) -> ParityReport:
    """Compare on all inputs.

    Args:
        network: the reference, which takes normalised images and gives logits, one tensor or several.
        model: the exported file.
        inputs: from `parity_inputs`, or for int8 from `picture_inputs`.
        spec: task, mean and standard deviation.
        io: which inputs and outputs `model` has.
        onnx_sha256: of the file, for the report.
        on_case: told of each case when it is done.
        precision: of the file.
    """
    session = session_with_logits(model, spec, io)
    cases = []
    for name, array in inputs:
        cases.append(_compare(network, session, name, array, spec, io, precision))
        on_case(cases[-1])
    return ParityReport.of(cases, onnx_sha256, precision)


def with_int8(calibration: ParityReport, held_out: ParityReport | None, int8: Int8Report) -> ParityReport:
    """The report of an int8 file from those on the calibration pictures and on pictures held out, and the search's.

    The agreement on the calibration pictures decides.
    """
    agreement = _agreement(calibration.cases)
    passed = int8.passed and agreement >= int8.min_agreement
    cases = [*calibration.cases, *(held_out.cases if held_out else ())]
    measured = int8.model_copy(
        update={
            "passed": passed,
            "agreement": agreement,
            "held_out_agreement": _agreement(held_out.cases) if held_out else None,
        }
    )
    return calibration.model_copy(
        update={"cases": cases, "int8": measured, "passed": passed and all(case.passed for case in cases)}
    )


def compared(
    name: str,
    batch: int,
    expected: Mapping[str, Floats],
    found: Sequence[Floats],
    *,
    task: Task,
    outputs_follow_logits: bool,
    precision: Precision = "fp32",
) -> ParityCase:
    """The case `name`: what the file gave, `found`, against what the reference gave, `expected` by name.

    The first tensor holds the logits that labels are taken from.
    """
    tolerance = _tolerance(list(expected.values()), task, precision)
    errors = {
        key: np.abs(ours.astype(np.float64) - theirs)
        for (key, theirs), ours in zip(expected.items(), found, strict=True)
    }
    error = _flat(errors.values())
    reference_logits = next(iter(expected.values()))
    decided = _margin(reference_logits, task) >= (tolerance.max_abs_error or 0)
    labels, reference_labels = labels_of(found[0], task), labels_of(reference_logits, task)
    agree = labels == reference_labels
    answers_equal, answers = equal_answers(labels, reference_labels, task)
    case = {
        "max_abs_error": float(error.max()),
        "mean_abs_error": float(error.mean()),
        "label_agreement_where_decided": float(agree[decided].mean()) if decided.any() else 1.0,
    }
    # An error that is not a number is never within a limit, not even where there is none.
    passed = (
        case["max_abs_error"] <= _or_else(tolerance.max_abs_error, math.inf)
        and case["mean_abs_error"] <= _or_else(tolerance.mean_abs_error, math.inf)
        and case["label_agreement_where_decided"] >= _or_else(tolerance.label_agreement, 0)
        and math.isfinite(case["max_abs_error"])
        and outputs_follow_logits
    )
    return ParityCase(
        name=name,
        batch=batch,
        max_abs_error_by_output={key: float(e.max()) for key, e in errors.items()},
        p99_abs_error=float(np.quantile(error, 0.99)),
        cosine=_cosine(_flat(found), _flat(expected.values())),
        label_agreement=float(agree.mean()),
        undecided=float(1 - decided.mean()),
        answers=answers,
        answers_equal=answers_equal,
        outputs_follow_logits=outputs_follow_logits,
        tolerance=tolerance,
        passed=passed,
        **case,
    )


def session_with_logits(model: onnx.ModelProto, spec: ModelSpec, io: Io) -> onnxruntime.InferenceSession:
    """The file's graph with the tensors that the answers are computed from as more outputs, the last ones, float32."""
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    if io not in _LOGITS_OUT:
        for source, name in zip(_logits(tapped.graph, spec), _TAPPED_LOGITS, strict=False):
            to_float32 = onnx.helper.make_node("Cast", [source], [name], to=onnx.TensorProto.FLOAT)
            tapped.graph.node.append(to_float32)
            tapped.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return onnxruntime.InferenceSession(tapped.SerializeToString(), providers=["CPUExecutionProvider"])


def logits_names(session: onnxruntime.InferenceSession, spec: ModelSpec) -> list[str]:
    """The outputs of a `session_with_logits` that hold logits, the one that labels are taken from first."""
    return [output.name for output in session.get_outputs()][-len(_output_names(spec)) :]


def at_full_size(logits: Floats, array: NDArray[Any], io: Io) -> Floats:
    """The logits that labels are taken from, for the input `array`: upsampled where the host is to do that."""
    return upsampled(logits, (array.shape[1], array.shape[2])) if io == "lowres" else logits


def labels_of(logits: Floats, task: Task) -> NDArray[Any]:
    """The best class of each pixel, picture, prior or word; for several labels whether a picture has each class."""
    labels: NDArray[Any] = logits > 0 if task == "multi_label" else logits.argmax(axis=_CLASS_AXIS[task])
    return labels


def equal_answers(labels: NDArray[Any], reference: NDArray[Any], task: Task) -> tuple[int, int]:
    """How many answers are equal, of how many.

    Of a detection network and one of several labels only those count where one of the two sees something: that most of
    the priors show the background and most classes are absent would pass for agreement.
    """
    counted: NDArray[Any] = np.ones(labels.shape, bool)
    if task in {"detection", "multi_label"}:
        counted = (labels > 0) | (reference > 0)
    return int((labels == reference)[counted].sum()), int(counted.sum())


def _agreement(cases: Sequence[ParityCase]) -> float:
    """Of the answers of all cases together; 1 where there are none."""
    answers = sum(case.answers for case in cases)
    return sum(case.answers_equal for case in cases) / answers if answers else 1.0


def _cycled(pictures: Sequence[Any], start: int, count: int) -> list[Any]:
    return list(itertools.islice(itertools.cycle(pictures), start, start + count))


def _or_else(value: float | None, default: float) -> float:
    return default if value is None else value


def _pixels_from_normalised(image: Floats, spec: ModelSpec) -> NDArray[np.uint8]:
    pixels = 255 * (image.transpose(1, 2, 0) * np.array(spec.std) + np.array(spec.mean))
    rounded: NDArray[np.uint8] = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return rounded


def _different(first: NDArray[np.uint8], others: Sequence[NDArray[np.uint8]], count: int) -> list[NDArray[np.uint8]]:
    """A batch of pictures that all differ, the others shifted down a row each: a file that mixes them up must fail."""
    shifted = (np.roll(other, row, axis=0) for row, other in enumerate(itertools.cycle(others), 1))
    return [first, *itertools.islice(shifted, count - 1)]


def _as_input(pixels: list[NDArray[np.uint8]], spec: ModelSpec, io: Io) -> NDArray[Any]:
    batch = np.stack(pixels)
    if io in PIXEL_IO:
        return batch
    if io == "deepstream":
        return np.ascontiguousarray(batch.transpose(0, 3, 1, 2).astype(np.float32))
    normalised: Floats = Normalise(spec.mean, spec.std)(torch.from_numpy(batch)).numpy()
    return normalised


def _logits(graph: onnx.GraphProto, spec: ModelSpec) -> list[str]:
    """The tensors in a deployed graph that hold logits, in the order of the reference's outputs."""
    if spec.task == "multi_label":
        # Not by the operator's name: there may be other sigmoids inside of a network.
        return [next(node.input[0] for node in graph.node if graph.output[0].name in node.output)]
    first = next(node.input[0] for node in graph.node if node.op_type in {"ArgMax", "Softmax"})
    if spec.task != "detection":
        return [first]
    # Locations are what the two halves of the boxes are cut from; the sizes go through the only Exp.
    makers = {output: node for node in graph.node for output in node.output}
    node = next(node for node in graph.node if node.op_type == "Exp")
    while node.op_type != "Slice":
        node = makers[node.input[0]]
    return [first, node.input[0]]


def _compare(
    network: nn.Module,
    session: onnxruntime.InferenceSession,
    name: str,
    array: NDArray[Any],
    spec: ModelSpec,
    io: Io,
    precision: Precision,
) -> ParityCase:
    with torch.inference_mode():
        image = torch.from_numpy(array)
        given = network(_normalised(image, spec, io))
    expected = dict(zip(_output_names(spec), (tensor.numpy() for tensor in as_tuple(given)), strict=True))
    outputs = session.run(None, {session.get_inputs()[0].name: array})
    answers, logits = outputs[: -len(expected)], outputs[-len(expected) :]
    logits[0] = at_full_size(logits[0], array, io)
    size = array.shape[1:3] if io in PIXEL_IO else array.shape[2:4]
    follows = True if io in _LOGITS_OUT else _follow(answers, logits, spec, (size[0], size[1]), io)
    return compared(
        name, len(array), expected, logits, task=spec.task, outputs_follow_logits=follows, precision=precision
    )


def _normalised(image: torch.Tensor, spec: ModelSpec, io: Io) -> torch.Tensor:
    """What the reference takes, from what the file takes."""
    if io == "raw":
        return image
    normalise = Normalise(spec.mean, spec.std)
    normalised: torch.Tensor = normalise(image) if io in PIXEL_IO else normalise.planes(image)
    return normalised


def _output_names(spec: ModelSpec) -> tuple[str, ...]:
    """What the reference's outputs are called."""
    return ("confidences", "locations") if spec.task == "detection" else ("logits",)


def _flat(arrays: Iterable[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate([array.ravel() for array in arrays])


def _tolerance(expected: Sequence[Floats], task: Task, precision: Precision) -> Tolerance:
    if precision == "int8":
        reason = "int8 is judged by the labels of all calibration pictures together"
        return Tolerance(max_abs_error=None, mean_abs_error=None, label_agreement=None, reason=reason)
    largest = max(float(np.abs(array).max()) for array in expected)
    if precision == "fp16":
        allowed = _FLOAT16_TOLERANCE[task] * largest
        rule = f"each value rounded to float16; 1/{1 / _FLOAT16_TOLERANCE[task]:.0f} of the largest logit"
    else:
        allowed = _BASE_TOLERANCE[task] * max(1.0, largest / _USUAL_LOGIT)
        rule = (
            f"float32 rounding in another order; {_BASE_TOLERANCE[task]:g} for logits up to {_USUAL_LOGIT:g}, "
            "in proportion above"
        )
    decided = "the logit differs from 0" if task == "multi_label" else "the two best logits differ"
    return Tolerance(
        max_abs_error=allowed,
        mean_abs_error=allowed / 10,
        label_agreement=MIN_LABEL_AGREEMENT[precision],
        reason=f"{rule} (largest here {largest:.1f}); labels are compared where {decided} by at least that",
    )


def _margin(logits: Floats, task: Task) -> Floats:
    """How far each label is from being another: the difference of the two highest logits, or of the logit from 0."""
    if task == "multi_label":
        return np.abs(logits)
    axis = _CLASS_AXIS[task]
    top_two = np.partition(logits, -2, axis=axis)
    margin: Floats = np.take(top_two, -1, axis=axis) - np.take(top_two, -2, axis=axis)
    return margin


def _follow(
    answers: Sequence[NDArray[Any]], logits: Sequence[Floats], spec: ModelSpec, size: tuple[int, int], io: Io
) -> bool:
    """Whether the file's answers for pictures of `size` (height, width) are the ones that its own logits give."""
    if io == "deepstream" and spec.task in {"segmentation", "classification"}:
        # The classes run along the second dimension.
        expected = np.moveaxis(softmax(np.moveaxis(logits[0], 1, -1)), -1, 1)
        return bool(np.allclose(answers[0], expected, atol=1e-6))
    if spec.task == "segmentation":
        return bool(np.array_equal(answers[0], logits[0].argmax(axis=1)))
    if spec.task == "multi_label":
        return bool(np.allclose(answers[0], sigmoid(logits[0]), atol=1e-6))
    probabilities = softmax(logits[0])
    if spec.task == "detection":
        boxes, scores = answers
        expected = decoded(logits[1], prior_boxes_in_pixels(size))
        # A thousandth of a pixel: sums of a few hundred pixels in float32.
        return bool(np.allclose(boxes, expected, atol=1e-3) and np.allclose(scores, probabilities, atol=1e-6))
    classes, scores = answers
    best = -np.sort(-probabilities, axis=1)[:, : classes.shape[1]]
    return bool(
        np.allclose(scores, best, atol=1e-6)
        and np.allclose(np.take_along_axis(probabilities, classes, axis=1), scores, atol=1e-6)
    )


def _cosine(a: Floats, b: Floats) -> float:
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    norm = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / norm if norm else 1.0
