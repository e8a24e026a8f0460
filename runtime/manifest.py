"""The manifest: the sidecar `<file>.json` that says what an artefact is, how to feed it and how to read its answer.

The artefact itself stays byte for byte what its own tools expect. The manifest carries the SHA-256 of the file, and
that is checked before anything of the file is parsed: an engine is native code.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import CheckError, InputError
from ..files import sha256_of, write_text

SCHEMA_VERSION = 1
TOKEN, LOGITS = "token", "logits"  # of every language model, beside its states
_MAX_MANIFEST_BYTES = 4 << 20


# What a manifest from elsewhere may say at most: pixels of a side, a level of a colour, a factor to divide by, a share.
Side = Annotated[int, Field(ge=1, le=65_536)]
Level = Annotated[int, Field(ge=0, le=255)]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
# These become parts of commands that people are told to run.
ComputeCapability = Annotated[str, Field(pattern=r"^\d{1,2}\.\d{1,2}$")]
Word = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.-]{0,39}$")]
Precision = Literal["fp32", "fp16", "int8"]

# What the host may have to do with the outputs, by task; `Postprocessing` says what each means.
_KINDS_OF_TASK = {
    "classification": ("top5", "softmax_top5", "rank_top5"),
    "multi_label": ("threshold", "sigmoid_threshold"),
    "segmentation": ("labels", "argmax", "upsample_argmax"),
    "detection": ("nms", "decode_nms"),
    "language_modelling": ("next_word",),
}


class _Record(BaseModel):
    # Unknown fields are let through: a newer writer may say more than this reader needs.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class ClassInfo(_Record):
    """A class: its name and the colour (red, green, blue) that pictures of results use."""

    name: str
    colour: tuple[Level, Level, Level] | None = None


class TensorInfo(_Record):
    """An input or output. `shape` holds numbers, or a name such as "batch" where the size is free."""

    name: str
    dtype: Literal["float32", "float16", "uint8", "int32", "int64"]
    shape: tuple[int | str, ...]
    layout: str
    meaning: str

    @model_validator(mode="after")
    def _layout_fits(self) -> "TensorInfo":
        if self.shape and self.batch_axis >= len(self.shape):
            raise ValueError(f"layout {self.layout[:20]!r} has its batch beyond the {len(self.shape)} dimensions")
        return self

    @property
    def batch_axis(self) -> int:
        """The dimension that runs over the batch: N in the layout, the first where the layout does not say."""
        return max(self.layout.find("N"), 0)


class Preprocessing(_Record):
    """What the host does to a photo before inference.

    `resize` "stretch": to exactly (height, width). "shorter_side_crop": the shorter side to `shorter_side`, then the
    centre (height, width). Both with Pillow's antialiased bilinear filter. If `normalise_in_graph` is true the
    network takes uint8 pixels as they are; else the host feeds (pixel * scale - mean) / std as float32.
    """

    colour_order: Literal["RGB"] = "RGB"
    resize: Literal["stretch", "shorter_side_crop"]
    height: Side
    width: Side
    shorter_side: Side | None = None
    scale: Positive
    mean: tuple[float, float, float]
    std: tuple[Positive, Positive, Positive]
    normalise_in_graph: bool


class Postprocessing(_Record):
    """What the host does with the outputs.

    "labels": nothing, the output is the label map. "argmax": class of the highest logit or probability, the lowest
    class on a tie. "upsample_argmax": the logits have a lower resolution; bilinear with aligned corners to the image's
    (height, width), then as "argmax"; `upsampled_labels` defines it to the last bit.
    "top5": nothing, classes and scores come sorted. "softmax_top5": softmax, then the five highest. "rank_top5": the
    five highest of `probabilities`.
    "threshold": take the classes whose score is above `score_threshold`. "sigmoid_threshold": before that, the sigmoid
    of each logit.
    "nms": for each class but 0, the background, take the boxes whose score is above `score_threshold`; from the best
    score down, drop those that overlap a kept one by an intersection over union above `iou_threshold`; keep at most
    `max_per_class`. "decode_nms": before that, softmax of the confidences, and boxes from the locations.
    "next_word": softmax, then choose a word, which is the next token; `states` of the manifest are fed back.
    """

    kind: Literal[
        "labels",
        "argmax",
        "upsample_argmax",
        "top5",
        "softmax_top5",
        "rank_top5",
        "threshold",
        "sigmoid_threshold",
        "nms",
        "decode_nms",
        "next_word",
    ]
    score_threshold: Fraction | None = None
    iou_threshold: Fraction | None = None
    max_per_class: Annotated[int, Field(ge=1)] | None = None


class StateInfo(_Record):
    """What the network remembers from call to call: feed zeros as `input` first, later what came out as `output`."""

    input: str
    output: str


class Macs(_Record):
    """Multiply-accumulates of one image or word; `conv` and `linear` apart: published "FLOPs" count only the first."""

    conv: int
    linear: int


class WeightsInfo(_Record):
    """Where the weights came from. `random` true: seeded random numbers, the answers mean nothing."""

    source: str
    sha256: str | None
    random: bool


class OnnxInfo(_Record):
    """The ONNX file that the artefact is, or was built from."""

    sha256: str
    opset: int
    ir_version: int


def _plain_name(name: str) -> str:
    """A name that leads nowhere else: a manifest may come from anywhere."""
    if name in {"", ".", ".."} or not set(name).isdisjoint("/\\\0"):
        raise ValueError(f"{name[:40]!r} is not the name of a file beside it")
    return name


class FileInfo(_Record):
    """A file beside this manifest."""

    name: Annotated[str, AfterValidator(_plain_name)]
    sha256: str
    bytes: int


class Profile(_Record):
    """The batch sizes that an engine with a free batch was built for."""

    minimum: int
    optimum: int
    maximum: int


class NetworkTypes(_Record):
    """What the parser made of the typed ONNX file: layers, and how many give float16, quantise, dequantise."""

    layers: int
    half: int
    quantize: int
    dequantize: int


class LayerPrecisions(_Record):
    """In what the layers of a finished engine compute, as its inspector says; `unknown`: where it does not say."""

    layers: int
    fp32: int
    fp16: int
    int8: int
    other: int
    unknown: int


class EngineInfo(_Record):
    """How an engine was built, and what it turned out to be.

    `compute_capabilities` empty: the builder's portable default. `typing`: "strong" where the types of the ONNX file
    bind the builder, "weak" where it may choose among those that were allowed. `network_types` and
    `verified_precision` are null where they could not be read; `not_verified` says why the second is.
    """

    builder: str
    builder_version: str
    precision: Precision
    compute_capabilities: tuple[ComputeCapability, ...]
    device: str | None
    profile: Profile | None
    typing: Literal["strong", "weak"] | None = None
    workspace_mib: int | None = None
    dla_core: int | None = None
    compatible: tuple[Word, ...] = ()
    network_types: NetworkTypes | None = None
    verified_precision: LayerPrecisions | None = None
    not_verified: str | None = None


class ParitySummary(_Record):
    """The outcome of the parity proof; every number behind it is in the file `report`.

    `label_agreement`: of fp32 and fp16 the worst of all inputs, where the reference decides by more than the tolerance;
    of int8 that of all calibration pictures together, and `held_out_agreement` that of pictures not used for it.
    """

    passed: bool
    max_abs_error: float
    max_abs_error_tolerance: float | None = Field(description="null for int8: its errors are reported, not limited")
    label_agreement: float
    label_agreement_tolerance: float
    held_out_agreement: Fraction | None = None
    cases: int
    report: str


class QuantisationInfo(_Record):
    """What of an int8 artefact is int8; the rest is float16. `kept_blocks`: those that lost too much in int8."""

    int8_convolutions: int
    convolutions: int
    int8_macs_share: Fraction
    kept_blocks: tuple[str, ...]
    calibration_pictures: int


class Manifest(_Record):
    """Everything that a program needs to run the artefact and to say what it is."""

    schema_version: int = SCHEMA_VERSION
    name: str
    task: Literal["classification", "multi_label", "segmentation", "detection", "language_modelling"]
    network: str
    width_mult: float
    dataset: str
    num_classes: Annotated[int, Field(ge=1, le=65_536)]
    classes: tuple[ClassInfo, ...] = Field(description="empty where the names are not known, or are in `vocabulary`")
    io: Literal["raw", "deploy", "deepstream", "lowres"]
    precision: Precision
    inputs: Annotated[tuple[TensorInfo, ...], Field(min_length=1)]
    outputs: tuple[TensorInfo, ...]
    preprocessing: Preprocessing | None = Field(None, description="null where the network takes no pictures")
    postprocessing: Postprocessing
    states: tuple[StateInfo, ...] = ()
    vocabulary: FileInfo | None = Field(None, description="one word per line, in the order of the classes")
    macs: Macs
    params: int
    weights: WeightsInfo
    onnx: OnnxInfo
    file: FileInfo
    engine: EngineInfo | None = None
    parity: ParitySummary | None = None
    quantisation: QuantisationInfo | None = Field(None, description="null where nothing is int8")

    @model_validator(mode="after")
    def _sizes_agree(self) -> "Manifest":
        """Inputs have a batch, and pre-processing gives what the first takes, which is laid out as NHWC or NCHW."""
        if scalars := [tensor.name for tensor in self.inputs if not tensor.shape]:
            raise ValueError(f"input {scalars[0]} has no dimensions")
        if (self.preprocessing is None) != (self.task == "language_modelling"):
            found = "missing" if self.preprocessing is None else "there"
            raise ValueError(f"preprocessing is {found}, which does not go with {self.task}")
        if self.preprocessing is None:
            return self
        image, prepared = self.inputs[0], (self.preprocessing.height, self.preprocessing.width)
        height_at = image.layout.find("H")
        if height_at >= 0 and image.shape[height_at : height_at + 2] != prepared:
            raise ValueError(f"preprocessing makes {prepared}, input {image.name} is {image.shape}")
        return self

    @model_validator(mode="after")
    def _postprocessing_fits(self) -> "Manifest":
        """The host does something that gives an answer to the task, and knows the threshold where it needs one."""
        kind, kinds = self.postprocessing.kind, _KINDS_OF_TASK[self.task]
        if kind not in kinds:
            raise ValueError(f"postprocessing {kind!r} is not for {self.task}, which has {', '.join(kinds)}")
        if self.task == "multi_label" and self.postprocessing.score_threshold is None:
            raise ValueError(f"postprocessing {kind!r} needs a score_threshold, and there is none")
        return self

    @model_validator(mode="after")
    def _states_fit(self) -> "Manifest":
        """What is fed back fits where it goes."""
        inputs, outputs = ({tensor.name: tensor for tensor in tensors} for tensors in (self.inputs, self.outputs))
        for state in self.states:
            taken, given = inputs.get(state.input), outputs.get(state.output)
            if taken is None or given is None or (taken.dtype, taken.shape) != (given.dtype, given.shape):
                raise ValueError(f"state {state.input} cannot be fed with {state.output}")
        needed = {TOKEN, *(state.input for state in self.states)}
        if self.task == "language_modelling" and (needed != inputs.keys() or LOGITS not in outputs):
            raise ValueError(f"a language model takes {TOKEN} and states and gives {LOGITS}; this takes {[*inputs]}")
        return self

    @property
    def image(self) -> Preprocessing:
        """The pre-processing of a network that takes pictures."""
        assert self.preprocessing is not None, f"{self.task} takes no pictures"
        return self.preprocessing

    @property
    def smallest_batch(self) -> int:
        """The smallest batch that the artefact takes."""
        size = self.inputs[0].shape[self.inputs[0].batch_axis]
        if isinstance(size, int):
            return size
        profile = self.engine.profile if self.engine else None
        return profile.minimum if profile else 1

    def write(self, artefact: Path) -> None:
        """Write this manifest beside `artefact`, in one step."""
        write_text(manifest_path(artefact), self.model_dump_json(indent=2) + "\n")


def manifest_path(artefact: Path) -> Path:
    """`seg.onnx` -> `seg.onnx.json`."""
    return artefact.with_name(artefact.name + ".json")


def file_info(artefact: Path) -> FileInfo:
    """Name, SHA-256 and size of a finished artefact."""
    return FileInfo(name=artefact.name, sha256=sha256_of(artefact), bytes=artefact.stat().st_size)


def read_manifest(artefact: Path) -> Manifest:
    """The manifest beside `artefact`, parsed and validated, but not compared with the file.

    Raises:
        CheckError: it is missing, too large, not JSON, of a newer schema, or a field is missing or of another type.
    """
    path = manifest_path(artefact)
    if not path.is_file():
        raise CheckError(
            f"{artefact}: no manifest {path.name} beside it; export it again with espnet-export, "
            "or pass --trust if you know where the file is from; espnet-doctor says what it is"
        )
    if (size := path.stat().st_size) > _MAX_MANIFEST_BYTES:
        raise CheckError(f"{path}: {size} bytes, a manifest has at most {_MAX_MANIFEST_BYTES}; export again")
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CheckError(f"{path}: not a manifest, {_first_problem(error)}; export again") from None
    if manifest.schema_version != SCHEMA_VERSION:
        raise CheckError(
            f"{path}: schema version {manifest.schema_version}, this program reads {SCHEMA_VERSION}; "
            "export again, or update espnet-edge"
        )
    return manifest


def load_manifest(artefact: Path, *, trust: bool = False) -> Manifest | None:
    """The manifest of `artefact` after its SHA-256 has been compared with the file's.

    With `trust` a missing manifest gives None and a different SHA-256 is let through: the caller vouches for the file.

    Raises:
        InputError: `artefact` is not a file.
        CheckError: no valid manifest, or the file is not the one that the manifest describes.
    """
    if not artefact.is_file():
        raise InputError(f"{artefact}: no such file; make one with espnet-export, or check the path")
    if trust and not manifest_path(artefact).exists():
        return None
    manifest = read_manifest(artefact)
    if not trust and (actual := sha256_of(artefact)) != manifest.file.sha256:
        raise CheckError(
            f"{artefact}: sha256 {actual[:16]}..., its manifest says {manifest.file.sha256[:16]}...; the file was "
            "changed or replaced: export it again, or pass --trust if you know where it is from"
        )
    return manifest


def _first_problem(error: ValidationError) -> str:
    problem: Any = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in problem["loc"]) or "the whole file"
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
