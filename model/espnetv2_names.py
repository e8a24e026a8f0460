"""How the official code calls the parts of ESPNetv2, for its checkpoints and for recorded outputs of its modules."""

import re
from collections.abc import Iterable

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
# The parts of a pyramid pool, after its own name has become one that begins with "bu_".
_PYRAMID_RULES = (
    (r"\bproject\.", "projection_layer."),
    (r"\bbranches\.(\d)\.", r"stages.\1."),
    (r"\bfuse\.norm\.", "merge_layer.0.br.0."),
    (r"\bfuse\.act\.", "merge_layer.0.br.1."),
    (r"\bmix\.", "merge_layer.2."),
    (r"\b(bu_\w+)\.expand\.", r"\1.merge_layer.3."),
    (r"\bout\.norm\.", "br.br.0."),
    (r"\bout\.act\.", "br.br.1."),
)
_CONV_RULES = (
    (r"\bconv\.", "cbr.0."),
    (r"\bnorm\.", "cbr.1."),
    (r"\bact\.", "cbr.2."),
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
    *_PYRAMID_RULES,
    (r"\bgate\.", "wt_layer.1."),
    (r"\bexpand\.", "expansion_layer."),
    *_CONV_RULES,
)
_DETECTION_RULES = (
    # The official names say the sizes of the two maps for a picture of 300 pixels; ours the level of the larger map.
    (r"\bpyramid6\.", "base_net.bu_3x3_5x5."),
    (r"\bpyramid5\.", "base_net.bu_5x5_10x10."),
    (r"\bpyramid4\.", "base_net.bu_10x10_19x19."),
    (r"\bpyramid3\.", "base_net.bu_19x19_38x38."),
    (r"\bextra8\.", "base_net.extra_level8."),
    (r"\bextra(\d)\.(\d)\.", r"base_net.extra_level\1.layer.\2."),
    (r"\bextra(\d)\.", r"base_net.extra_level\1."),
    (r"\bbox_heads\.", "loc_layers."),
    (r"\bclass_heads\.", "cls_layers."),
    *_PYRAMID_RULES,
    *_CONV_RULES,
)


def official_name(name: str) -> str:
    """The name that the official code gives to our parameter, buffer or module `name`."""
    if name.startswith("encoder."):
        return "base_net." + _rename(name.removeprefix("encoder."), _ESPNETV2_RULES)
    in_decoder = re.match(r"(pyramid|skip|merge)\d\b", name)
    return _rename(name, _DECODER_RULES if in_decoder else _ESPNETV2_RULES)


def official_detection_name(name: str) -> str:
    """The same for detection, whose parts have names of their own; a name that is not ours stays as it is."""
    if name.startswith("backbone."):
        return "base_net.basenet." + _rename(name.removeprefix("backbone."), _ESPNETV2_RULES)
    ours = re.match(r"(pyramid|extra)\d\b|(box|class)_heads\b", name)
    return _rename(name, _DETECTION_RULES) if ours else name


def _rename(name: str, rules: Iterable[tuple[str, str]]) -> str:
    # The closing dot lets the rules treat a module's own name like a prefix of its parameters' names.
    name += "."
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name.removesuffix(".")
