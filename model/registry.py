"""The networks by name: `create_model("espnetv2_seg", width_mult=2.0)`."""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from ..errors import InputError
from .checkpoint import load_state, read_checkpoint
from .datasets import get_dataset
from .eru_lm import UNITS, EruLm
from .espnetv2 import CHANNELS, ESPNetV2
from .espnetv2_det import ESPNetV2Det
from .espnetv2_seg import ESPNetV2Seg
from .mobilenetv1 import MobileNetV1
from .mobilenetv2 import MobileNetV2
from .shufflenetv1 import ShuffleNetV1
from .shufflenetv2 import ShuffleNetV2
from .spec import ModelSpec

_WIDTHS = tuple(CHANNELS)
_IMAGENET = {"imagenet": (224, 224)}
_MODELS: dict[str, tuple[ModelSpec, Callable[..., nn.Module]]] = {}
# The short names of the commands.
_SHORT_NAMES = {"cls": "espnetv2_cls", "seg": "espnetv2_seg", "det": "espnetv2_det", "lm": "eru_lm"}
# The networks of about 300 M multiply-accumulates that the paper compares, with their widths.
PAPER_SET = {
    "espnetv2_cls": 2.0,
    "mobilenetv1": 0.75,
    "mobilenetv2": 1.0,
    "shufflenetv1": 1.5,
    "shufflenetv2": 1.5,
}


def register_model(spec: ModelSpec, factory: Callable[..., nn.Module]) -> None:
    """Add a network. `factory(width_mult=..., num_classes=...)` makes it.

    A factory that takes more options has `options_of(state)`, which tells them from a state dictionary.

    Raises:
        ValueError: the name is taken.
    """
    if spec.name in _MODELS:
        raise ValueError(f"a model called {spec.name} is registered already")
    _MODELS[spec.name] = (spec, factory)


def list_models() -> tuple[str, ...]:
    """Names of all networks, sorted."""
    return tuple(sorted(_MODELS))


def get_spec(name: str) -> ModelSpec:
    """Facts about the network `name`; the short names "cls", "seg", "det" and "lm" are understood.

    Raises:
        InputError: there is none of that name; the message lists those there are.
    """
    full_name = _SHORT_NAMES.get(name, name)
    if full_name not in _MODELS:
        known = ", ".join([*_SHORT_NAMES, *list_models()])
        raise InputError(f"model {name!r} is unknown; there are {known}")
    return _MODELS[full_name][0]


def short_name(spec: ModelSpec) -> str:
    """The name that the commands and files use: "seg" for "espnetv2_seg"."""
    return next((short for short, name in _SHORT_NAMES.items() if name == spec.name), spec.name)


def create_model(
    name: str, *, width_mult: float | None = None, num_classes: int | None = None, weights: Path | str | None = None
) -> nn.Module:
    """The reference network `name` in evaluation mode, as published, without deploy rewrites.

    Args:
        name: a name of `list_models()`, or its short form.
        width_mult: None takes the network's default.
        num_classes: None takes that of the network's default data set.
        weights: a checkpoint, official or ours, loaded strictly; None leaves PyTorch's initial values.

    Raises:
        InputError: unknown name or width, or a checkpoint that does not fit.
    """
    spec = get_spec(name)
    width_mult = check_width(spec, width_mult)
    if num_classes is None:
        num_classes = get_dataset(spec.default_dataset).num_classes
    factory = _MODELS[spec.name][1]
    if weights is None:
        return factory(width_mult=width_mult, num_classes=num_classes).eval()
    state = read_checkpoint(Path(weights))
    options = factory.options_of(state) if hasattr(factory, "options_of") else {}
    model = factory(width_mult=width_mult, num_classes=num_classes, **options).eval()
    load_state(model, state, Path(weights))
    return model


def check_width(spec: ModelSpec, width_mult: float | None) -> float:
    """`width_mult`, or the default for None.

    Raises:
        InputError: the network does not come in this width.
    """
    if width_mult is None:
        return spec.default_width
    if width_mult not in spec.widths:
        widths = ", ".join(map(str, spec.widths))
        raise InputError(f"{spec.name} has no width {width_mult}; there are {widths}")
    return width_mult


register_model(
    ModelSpec(
        name="espnetv2_cls",
        task="classification",
        widths=_WIDTHS,
        default_width=2.0,
        default_sizes={**_IMAGENET, "coco": (224, 224)},
        other_tasks={"coco": "multi_label"},
    ),
    ESPNetV2,
)
register_model(
    ModelSpec(
        name="espnetv2_seg",
        task="segmentation",
        widths=_WIDTHS,
        default_width=2.0,
        default_sizes={"cityscapes": (512, 1024), "voc": (384, 384)},
        size_multiple=16,
    ),
    ESPNetV2Seg,
)
register_model(
    ModelSpec(
        name="espnetv2_det",
        task="detection",
        # The authors published no other width.
        widths=(2.0,),
        default_width=2.0,
        default_sizes={"coco": (300, 300), "voc": (300, 300)},
        # The network runs at others, but prior boxes are defined for these.
        only_sizes=((300, 300), (512, 512)),
    ),
    ESPNetV2Det,
)
register_model(
    ModelSpec(
        name="eru_lm",
        task="language_modelling",
        widths=tuple(UNITS),
        default_width=1.0,
        default_sizes={"ptb": None},
    ),
    EruLm,
)
for _name, _network, _widths in (
    ("mobilenetv1", MobileNetV1, (0.25, 0.5, 0.75, 1.0)),
    ("mobilenetv2", MobileNetV2, (0.35, 0.5, 0.75, 1.0, 1.4)),
    ("shufflenetv1", ShuffleNetV1, (0.5, 1.0, 1.5, 2.0)),
    ("shufflenetv2", ShuffleNetV2, (0.5, 1.0, 1.5, 2.0)),
):
    register_model(
        ModelSpec(
            name=_name,
            task="classification",
            widths=_widths,
            default_width=PAPER_SET[_name],
            default_sizes=_IMAGENET,
        ),
        _network,
    )
