"""What is to be exported: the options, and the network, size and data set that they come to, checked."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..files import available_memory_bytes
from ..model.datasets import Dataset, get_dataset
from ..model.deploy import Io
from ..model.registry import check_width, get_spec, short_name
from ..model.spec import ModelSpec
from ..runtime.manifest import Precision
from ..runtime.vocabulary import Vocabulary, read_vocabulary
from .batch import Batch
from .build_options import BuildOptions
from .sequence_parity import STEPS

# Peak of an export: what the libraries take, and what one pixel of the batch adds, both rounded up from measurements at
# the default widths (1,500 bytes for segmentation; 400 to 950 for the others, the small ones with their weights).
_BASE_BYTES = 800_000_000
# What the proof of a language model holds of each word of the vocabulary at each step, in several copies.
_BYTES_PER_LOGIT = 60
_BYTES_PER_PIXEL = {"segmentation": 1_600, "classification": 1_000, "multi_label": 1_000, "detection": 1_000}
# What the data set of a language model with the user's own words is called.
OWN_VOCABULARY = "own"


@dataclass(frozen=True)
class ExportOptions:
    """What is to be exported. Sizes are (height, width); None takes the network's default."""

    model: str
    out: Path
    width_mult: float | None = None
    dataset: str | None = None
    size: tuple[int, int] | None = None
    batch: Batch = field(default_factory=Batch)
    weights: str = "auto"
    io: Io = "deploy"
    engine: str = "auto"
    build: BuildOptions = field(default_factory=BuildOptions)
    photos: tuple[Path, ...] = ()
    vocabulary: Path | None = None
    precision: Precision = "fp32"
    calibration: Path | None = None
    min_agreement: float | None = None


@dataclass(frozen=True)
class Target:
    """The options with all defaults filled in and checked."""

    name: str
    spec: ModelSpec
    width_mult: float
    dataset: Dataset
    size: tuple[int, int] | None
    batch: Batch
    io: Io
    precision: Precision
    vocabulary: Vocabulary | None = None

    @property
    def image_size(self) -> tuple[int, int]:
        """The size of a network that takes pictures."""
        assert self.size is not None, f"{self.name} takes no pictures"
        return self.size

    @property
    def num_classes(self) -> int:
        """Of the data set, in the network's task."""
        return self.dataset.num_classes_for(self.spec.task)


def checked_target(options: ExportOptions) -> Target:
    """What `options` come to.

    Raises:
        InputError: one that is unknown, or does not fit the network.
    """
    spec = get_spec(options.model)
    width_mult = check_width(spec, options.width_mult)
    _check_kind_of_input(options, spec)
    _check_precision(options, spec)
    vocabulary = read_vocabulary(options.vocabulary) if options.vocabulary else None
    if vocabulary is not None and options.dataset is None:
        dataset = Dataset(OWN_VOCABULARY, len(vocabulary.words))
        return Target(
            short_name(spec), spec, width_mult, dataset, None, options.batch, options.io, options.precision, vocabulary
        )
    dataset = get_dataset(options.dataset or spec.default_dataset)
    if dataset.name not in spec.default_sizes:
        raise InputError(
            f"{spec.name} has no form for data set {dataset.name}; there are {', '.join(spec.default_sizes)}"
        )
    if vocabulary is not None and len(vocabulary.words) != dataset.num_classes:
        raise InputError(
            f"--vocabulary {options.vocabulary}: {len(vocabulary.words)} words, {dataset.name} has "
            f"{dataset.num_classes}; leave --dataset out for a vocabulary of your own"
        )
    size = options.size or spec.default_sizes[dataset.name]
    if size is not None and not spec.accepts(size):
        raise InputError(_size_problem(spec, size))
    spec = spec.for_dataset(dataset.name)
    return Target(
        short_name(spec), spec, width_mult, dataset, size, options.batch, options.io, options.precision, vocabulary
    )


def parse_size(text: str) -> tuple[int, int]:
    """ "512x1024" -> (512, 1024): height, then width.

    Raises:
        InputError: the text has another form.
    """
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None:
        raise InputError(f"--size {text!r} is no size; give HEIGHTxWIDTH in pixels, such as 512x1024")
    return int(match.group(1)), int(match.group(2))


def check_memory(target: Target) -> None:
    """Refuse what the system would otherwise end without a word."""
    available = available_memory_bytes()
    if target.size is None:
        of_one = STEPS * target.dataset.num_classes * _BYTES_PER_LOGIT
        what, way_out = f"{STEPS} steps with {target.dataset.num_classes} words", "lower --batch"
    else:
        of_one = target.size[0] * target.size[1] * _BYTES_PER_PIXEL[target.spec.task]
        what, way_out = f"{target.size[0]}x{target.size[1]}", "lower --batch or --size"
    needed = _BASE_BYTES + target.batch.maximum * of_one
    if available is not None and needed > available:
        raise InputError(
            f"a batch of {target.batch.maximum} at {what} needs about {needed / 1e9:.0f} GB "
            f"of memory to export and prove, {available / 1e9:.0f} GB are available; {way_out}"
        )


def _check_kind_of_input(options: ExportOptions, spec: ModelSpec) -> None:
    """Options for pictures are for networks that take pictures, and those for words likewise."""
    if options.io == "lowres" and spec.task != "segmentation":
        raise InputError(
            f"--io lowres leaves the last upsampling of a segmentation to the host, and {spec.name} has none: "
            "leave it out"
        )
    if spec.task != "language_modelling":
        if options.vocabulary is not None:
            raise InputError(f"--vocabulary is for language models, {spec.name} takes pictures: leave it out")
        return
    deepstream = options.io == "deepstream"
    for option, value in (("--size", options.size), ("--photo", options.photos), ("--io deepstream", deepstream)):
        if value:
            raise InputError(f"{option} is for networks that take pictures, {spec.name} takes words: leave it out")


def _check_precision(options: ExportOptions, spec: ModelSpec) -> None:
    """The options of int8 come with int8, and int8 with a network that has something to quantise."""
    if options.precision != "int8":
        for option, value in (("--calibration", options.calibration), ("--min-agreement", options.min_agreement)):
            if value is not None:
                raise InputError(f"{option} is for --precision int8, not for {options.precision}: leave it out")
        return
    if spec.task == "language_modelling":
        raise InputError(
            f"--precision int8 is for convolutions, and {spec.name} has none: its states pass small errors on from "
            "word to word; --precision fp16 halves its file"
        )
    if options.calibration is None:
        raise InputError("--precision int8 needs --calibration DIR, a folder with photos of what the network will see")
    if options.min_agreement is not None and not 0 < options.min_agreement <= 1:
        raise InputError(f"--min-agreement {options.min_agreement:g}: give a share above 0, at most 1, such as 0.98")


def _size_problem(spec: ModelSpec, size: tuple[int, int]) -> str:
    if spec.only_sizes:
        known = " and ".join(f"{height}x{width}" for height, width in spec.only_sizes)
        return f"--size {size[0]}x{size[1]} (HEIGHTxWIDTH) does not work: {spec.name} comes in {known} only"
    multiple = spec.size_multiple
    rule = f"sides of {spec.min_size} to {spec.max_size} pixels"
    if multiple > 1:
        rule += f" that are 0 or {multiple - 1} modulo {multiple}"
    nearest = " or ".join(dict.fromkeys(f"{h}x{w}" for h, w in spec.nearest_sizes(size)))
    return f"--size {size[0]}x{size[1]} (HEIGHTxWIDTH) does not work: {spec.name} takes {rule}; the nearest: {nearest}"
