"""Checkpoints: read without running their code, translated from the official names, loaded strictly.

Official files are those of github.com/sacmehta/EdgeNets and github.com/sacmehta/ESPNetv2: a plain dictionary of
tensors, some with the prefix "module." of a data-parallel wrapper, some inside {"state_dict": ...}.
"""

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import InputError

# Our name -> official name, applied in this order to the full name of a parameter.
_ESPNETV2_RULES = (
    (r"\bstem\.", "level1."),
    (r"\bdown(\d)\.", r"level\1_0."),
    (r"\bstage(\d)\.", r"level\1."),
    (r"\bhead\.0\.", "level5.3."),
    (r"\bhead\.1\.", "level5.4."),
    (r"(level\d\.\d+|eesp)\.act\.", r"\1.module_act."),
    (r"\bproject\.", "proj_1x1."),
    (r"\bbranches\.(\d)\.", r"spp_dw.\1.conv."),
    (r"\bfuse\.", "br_after_cat."),
    (r"\bexpand\.", "conv_1x1_exp."),
    (r"\breinforce\.", "inp_reinf."),
    (r"\bnorm\.", "bn."),
    # The head's own activations are not those of an EESP unit.
    (r"\b(level5\.[34])\.module_act\.", r"\1.act."),
)
_DECODER_RULES = (
    # The official numbers run against ours: their decoder stage 1 works at 1/16 of the image, which we call level 4.
    (r"\bpyramid4\.", "bu_dec_l1."),
    (r"\bpyramid3\.", "bu_dec_l2."),
    (r"\bpyramid2\.", "bu_dec_l3."),
    (r"\bpyramid1\.", "bu_dec_l4."),
    (r"\bskip3\.", "merge_enc_dec_l2."),
    (r"\bskip2\.", "merge_enc_dec_l3."),
    (r"\bskip1\.", "merge_enc_dec_l4."),
    (r"\bmerge3\.", "bu_br_l2."),
    (r"\bmerge2\.", "bu_br_l3."),
    (r"\bmerge1\.", "bu_br_l4."),
    (r"\b(bu_br_l\d)\.norm\.", r"\1.0."),
    (r"\b(bu_br_l\d)\.act\.", r"\1.1."),
    (r"\bproject\.", "projection_layer."),
    (r"\bbranches\.(\d)\.", r"stages.\1."),
    (r"\bfuse\.norm\.", "merge_layer.0.br.0."),
    (r"\bfuse\.act\.", "merge_layer.0.br.1."),
    (r"\bmix\.", "merge_layer.2."),
    (r"\b(bu_dec_l\d)\.expand\.", r"\1.merge_layer.3."),
    (r"\bout\.norm\.", "br.br.0."),
    (r"\bout\.act\.", "br.br.1."),
    (r"\bgate\.", "wt_layer.1."),
    (r"\bexpand\.", "expansion_layer."),
    (r"\bconv\.", "cbr.0."),
    (r"\bnorm\.", "cbr.1."),
    (r"\bact\.", "cbr.2."),
)
_MAX_CHECKPOINT_BYTES = 1 << 30


def official_name(name: str) -> str:
    """The name that the official code gives to our parameter, buffer or module `name`."""
    if name.startswith("encoder."):
        return "base_net." + _rename(name.removeprefix("encoder."), _ESPNETV2_RULES)
    in_decoder = re.match(r"(pyramid|skip|merge)\d\b", name)
    return _rename(name, _DECODER_RULES if in_decoder else _ESPNETV2_RULES)


def load_checkpoint(model: nn.Module, path: Path) -> None:
    """Load the checkpoint `path`, official or ours, into `model`; every tensor on both sides must find its partner.

    Raises:
        InputError: not a checkpoint, or that of another network, width or number of classes; both sides are named.
    """
    state = read_checkpoint(path)
    own_names = model.state_dict().keys()
    names = {name: name if name in state else official_name(name) for name in own_names}
    if problem := _mismatch(model, state, names):
        asked, found = describe(_in_official_names(model.state_dict())), describe(_in_official_names(state))
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
    except (EOFError, KeyError, RuntimeError, ValueError, UnicodeDecodeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: truncated or not a checkpoint ({_first_line(error)}); download it again or check the path"
        ) from None
    while isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    tensors = isinstance(content, Mapping) and content and all(isinstance(value, Tensor) for value in content.values())
    if not tensors:
        raise InputError(f"{path}: holds {type(content).__name__}, not a dictionary of tensors; give a state_dict")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def describe(state: Mapping[str, Tensor]) -> str:
    """What a state dictionary in official names holds, in words: "ESPNetv2 segmentation, width 2.0, 20 classes"."""
    if not any("spp_dw" in name for name in state):
        return f"something that is not ESPNetv2 ({len(state)} tensors, first {next(iter(state))})"
    if any(name.startswith("net.") for name in state):
        return "the obsolete segmentation network of the ESPNetv2 repository"
    if any(name.startswith("base_net.basenet.") for name in state):
        return f"ESPNetv2 detection, width {_width(state, 'base_net.basenet.')}"
    if "bu_dec_l4.merge_layer.3.bias" in state:
        classes = state["bu_dec_l4.merge_layer.3.bias"].shape[0]
        return f"ESPNetv2 segmentation, width {_width(state, 'base_net.')}, {classes} classes"
    if "classifier.bias" in state:
        return f"ESPNetv2 classification, width {_width(state, '')}, {state['classifier.bias'].shape[0]} classes"
    return f"a part of ESPNetv2 ({len(state)} tensors)"


def _rename(name: str, rules: Iterable[tuple[str, str]]) -> str:
    # The closing dot lets the rules treat a module's own name like a prefix of its parameters' names.
    name += "."
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name.removesuffix(".")


def _in_official_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {official_name(name): tensor for name, tensor in state.items()}


def _mismatch(model: nn.Module, state: Mapping[str, Tensor], names: Mapping[str, str]) -> str | None:
    for name, tensor in model.state_dict().items():
        found = state.get(names[name])
        if found is None:
            return f"{names[name]} is missing"
        if found.shape != tensor.shape:
            return f"{names[name]} is {tuple(found.shape)}, not {tuple(tensor.shape)}"
    left_over = sorted(set(state) - set(names.values()))
    return f"{left_over[0]} has no place" if left_over else None


def _width(state: Mapping[str, Tensor], prefix: str) -> str:
    from .espnetv2 import CHANNELS

    level3 = state.get(prefix + "level3_0.act.weight")
    widths = {channels[2]: width for width, channels in CHANNELS.items()}
    return str(widths.get(level3.shape[0], "unknown")) if level3 is not None else "unknown"


def _way_out(found: str, asked: str) -> str:
    if found == asked:
        return "the file was changed: take the published one"
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
