"""Checkpoints: read without running their code, translated from the official names, loaded strictly.

Official files are those of github.com/sacmehta/EdgeNets and github.com/sacmehta/ESPNetv2: a plain dictionary of
tensors, some with the prefix "module." of a data-parallel wrapper, some inside {"state_dict": ...}.
"""

import pickle
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import InputError

_MAX_CHECKPOINT_BYTES = 1 << 30
# What networks are made with to see how their shapes depend on the number of classes.
_SOME_CLASSES = 20


def published_names(model: nn.Module) -> Callable[[str], str]:
    """What turns the names of `model` into those of the published checkpoints; many networks need no change."""
    rename: Callable[[str], str] = getattr(model, "published_name", str)
    return rename


def load_checkpoint(model: nn.Module, path: Path) -> None:
    """Load the checkpoint `path`, official or ours, into `model`; every tensor on both sides must find its partner.

    Raises:
        InputError: not a checkpoint, or that of another network, width or number of classes; both sides are named.
    """
    load_state(model, read_checkpoint(path), path)


def load_state(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load `state`, read from the checkpoint `path`, as `load_checkpoint` does."""
    own_names = model.state_dict().keys()
    published_name = published_names(model)
    names = {name: name if name in state else published_name(name) for name in own_names}
    if problem := _mismatch(model, state, names):
        asked = describe({published_name(name): tensor for name, tensor in model.state_dict().items()})
        found = describe({published_name(name): tensor for name, tensor in state.items()}, as_it_was=state)
        raise InputError(f"{path}: holds {found}; asked for is {asked} ({problem}); {_way_out(found, asked)}")
    model.load_state_dict({name: state[other] for name, other in names.items()}, strict=True)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint on the CPU, wrappers and the prefix "module." taken off.

    Only tensors are unpickled; a file that would run code is refused.

    Raises:
        InputError: missing, too large, truncated, not a checkpoint, or one that holds more than tensors.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a checkpoint (.pth)")
    if (size := path.stat().st_size) > _MAX_CHECKPOINT_BYTES:
        raise InputError(f"{path}: {size} bytes, a checkpoint has at most {_MAX_CHECKPOINT_BYTES}; check the path")
    try:
        with warnings.catch_warnings():
            # PyTorch remarks on unusual pickles before it refuses them; the refusal is what the user needs.
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: {_unpickling_problem(error)}") from None
    except Exception as error:  # noqa: BLE001  A damaged file can make the unpickler fail in any way.
        raise InputError(
            f"{path}: truncated or not a checkpoint ({_first_line(error)}); download it again or check the path"
        ) from None
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content or not all(_is_plain_tensor(v) for v in content.values()):
        raise InputError(
            f"{path}: holds {type(content).__name__}, not a dictionary of dense, real tensors; give a state_dict"
        )
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def describe(state: Mapping[str, Tensor], *, as_it_was: Mapping[str, Tensor] | None = None) -> str:
    """What a state dictionary in official names holds, in words: "ESPNetv2 segmentation, width 2.0, 20 classes".

    `as_it_was`: the same before names were translated, which is looked at where the official ones say nothing.
    """
    if not any("spp_dw" in name for name in state):
        return _describe_other(state if as_it_was is None else as_it_was)
    if any(name.startswith("net.") for name in state):
        return "the obsolete segmentation network of the ESPNetv2 repository"
    if any(name.startswith("base_net.basenet.") for name in state):
        return f"ESPNetv2 detection, width {_width(state, 'base_net.basenet.')}, {_detection_classes(state)} classes"
    if "bu_dec_l4.merge_layer.3.bias" in state:
        classes = state["bu_dec_l4.merge_layer.3.bias"].shape[0]
        return f"ESPNetv2 segmentation, width {_width(state, 'base_net.')}, {classes} classes"
    if "classifier.bias" in state:
        return f"ESPNetv2 classification, width {_width(state, '')}, {state['classifier.bias'].shape[0]} classes"
    return f"a part of ESPNetv2 ({len(state)} tensors)"


def _mismatch(model: nn.Module, state: Mapping[str, Tensor], names: Mapping[str, str]) -> str | None:
    for name, tensor in model.state_dict().items():
        found = state.get(names[name])
        if found is None:
            return f"{names[name]} is missing"
        if found.shape != tensor.shape:
            return f"{names[name]} is {tuple(found.shape)}, not {tuple(tensor.shape)}"
    left_over = sorted(set(state) - set(names.values()))
    return f"{left_over[0]} has no place" if left_over else None


def _is_plain_tensor(value: object) -> bool:
    """Dense numbers in memory: nothing sparse, complex, quantised or without data."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not value.is_complex()
        and not value.is_quantized
        and value.device.type == "cpu"
    )


def _describe_other(state: Mapping[str, Tensor]) -> str:
    if "cells.0.recurrent.bias" in state and "embedding.weight" in state:
        return _describe_language_model(state)
    if registered := _registered_network(state):
        return registered
    elements = sum(tensor.numel() for tensor in state.values())
    return f"an unknown network ({len(state)} tensors, {elements} numbers, first {next(iter(state))})"


def _registered_network(state: Mapping[str, Tensor]) -> str | None:
    """The network, width and number of classes of the registry whose names and shapes these are."""
    from .registry import get_spec, list_models

    for name in list_models():
        for width_mult in get_spec(name).widths:
            shapes = [_shapes(name, width_mult, classes) for classes in (_SOME_CLASSES, _SOME_CLASSES + 1)]
            if shapes[0].keys() != state.keys():
                break  # names are the same at all widths
            if (classes := _classes_that_fit(state, *shapes)) is not None:
                return f"{name}, width {width_mult}, {classes} classes"
    return None


def _shapes(name: str, width_mult: float, num_classes: int) -> dict[str, torch.Size]:
    from .registry import create_model

    with torch.device("meta"):  # shapes alone, no numbers
        model = create_model(name, width_mult=width_mult, num_classes=num_classes)
    return {key: tensor.shape for key, tensor in model.state_dict().items()}


def _classes_that_fit(
    state: Mapping[str, Tensor], some: Mapping[str, torch.Size], one_more: Mapping[str, torch.Size]
) -> int | None:
    """The number of classes with which all shapes agree: sizes that change with it do so in proportion."""
    found = set()
    for name, tensor in state.items():
        if tensor.dim() != len(some[name]):
            return None
        for size, of_some, of_one_more in zip(tensor.shape, some[name], one_more[name], strict=True):
            step = of_one_more - of_some
            if step == 0 and size != of_some:
                return None
            if step:
                found.add(_SOME_CLASSES + (size - of_some) / step)
    return int(found.pop()) if len(found) == 1 and min(found) == int(min(found)) else None


def _describe_language_model(state: Mapping[str, Tensor]) -> str:
    words, embedding_size = state["embedding.weight"].shape
    units = state["cells.0.recurrent.bias"].shape[0] // 4
    cell = "ERU" if "cells.0.transform.reduce.weight" in state else "LSTM"
    layers = sum(bool(re.fullmatch(r"cells\.\d+\.recurrent\.bias", name)) for name in state)
    return f"{cell} language model, {words} words of {embedding_size} numbers, {layers} layers of {units} units"


def _width(state: Mapping[str, Tensor], prefix: str) -> str:
    from .espnetv2 import CHANNELS

    level3 = state.get(prefix + "level3_0.act.weight")
    widths = {channels[2]: width for width, channels in CHANNELS.items()}
    return str(widths.get(level3.shape[0], "unknown")) if level3 is not None else "unknown"


def _detection_classes(state: Mapping[str, Tensor]) -> str:
    from .espnetv2_det import BOXES_PER_LOCATION

    bias = state.get("cls_layers.0.bias")
    return str(bias.shape[0] // BOXES_PER_LOCATION) if bias is not None else "unknown"


def _way_out(found: str, asked: str) -> str:
    if found == asked:
        return "the file was changed: take the published one"
    if "language model" in found and "language model" in asked:
        return "choose the --width and --vocabulary that fit the file; other sizes than the widths are not exported"
    return "choose the options that fit the file, or another --weights"


def _unpickling_problem(error: pickle.UnpicklingError) -> str:
    if found := re.search(r"GLOBAL (\S+)", str(error)):
        return f"would run code when opened ({found.group(1)}); it is not opened: give a plain dictionary of tensors"
    return (
        "truncated or not a checkpoint, or it holds objects that would run code when opened; it is not opened: "
        "download it again, or give a plain dictionary of tensors"
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__
