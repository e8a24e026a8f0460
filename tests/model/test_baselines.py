"""MobileNet and ShuffleNet against the recorded outputs and counts of their reference implementations."""

import hashlib
import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from conftest import SHARED, formula_input
from espnet_edge.model.counts import count
from espnet_edge.model.mobilenetv2 import rounded_channels
from espnet_edge.model.registry import PAPER_SET, create_model
from espnet_edge.model.seeded import load_seeded_weights
from espnet_edge.model.shufflenetv1 import ShuffleNetV1

# The references' own float32 noise is at most 8e-6; the smallest listed mistake moves a logit by 0.011.
MAX_ABS = 5e-5
# Parameters, convolution and linear MACs at 224x224.
COUNTS = {
    ("mobilenetv1", 0.25): (470_072, 40_774_272, 256_000),
    ("mobilenetv1", 0.5): (1_331_592, 148_985_088, 512_000),
    ("mobilenetv1", 0.75): (2_585_560, 324_632_448, 768_000),
    ("mobilenetv1", 1.0): (4_231_976, 567_716_352, 1_024_000),
    ("mobilenetv2", 0.35): (1_677_128, 58_005_808, 1_280_000),
    ("mobilenetv2", 0.5): (1_968_680, 95_851_840, 1_280_000),
    ("mobilenetv2", 0.75): (2_636_424, 207_789_792, 1_280_000),
    ("mobilenetv2", 1.0): (3_504_872, 299_494_272, 1_280_000),
    ("mobilenetv2", 1.4): (6_108_776, 580_403_824, 1_792_000),
    ("shufflenetv1", 0.5): (718_324, 37_109_856, 480_000),
    ("shufflenetv1", 1.0): (1_865_728, 136_500_672, 960_000),
    ("shufflenetv1", 1.5): (3_443_212, 298_172_448, 1_440_000),
    ("shufflenetv1", 2.0): (5_450_776, 522_125_184, 1_920_000),
    ("shufflenetv2", 0.5): (1_366_792, 39_452_448, 1_024_000),
    ("shufflenetv2", 1.0): (2_278_604, 143_883_992, 1_024_000),
    ("shufflenetv2", 1.5): (3_503_624, 294_735_392, 1_024_000),
    ("shufflenetv2", 2.0): (7_393_996, 581_205_464, 2_048_000),
}


@pytest.mark.parametrize(("name", "width"), COUNTS)
def test_counts(name: str, width: float) -> None:
    counts = count(create_model(name, width_mult=width), (3, 224, 224))
    assert (counts.params, counts.conv_macs, counts.linear_macs) == COUNTS[name, width]
    assert counts.conv_bias_adds == 0


def test_the_papers_set_has_about_300_million_macs() -> None:
    for name, width in PAPER_SET.items():
        assert 280e6 < count(create_model(name, width_mult=width), (3, 224, 224)).macs < 330e6


@pytest.mark.parametrize(("channels", "expected"), [(16 * 0.35, 8), (24 * 0.35, 8), (96 * 0.35, 32), (32 * 1.4, 48)])
def test_channels_are_never_a_tenth_too_few(channels: float, expected: int) -> None:
    assert rounded_channels(channels) == expected


@pytest.mark.parametrize(("groups", "params"), [(1, 1_531_936), (2, 1_733_848), (4, 1_968_344), (8, 2_434_768)])
def test_other_groups(groups: int, params: int) -> None:
    model = ShuffleNetV1(1.0, groups=groups)
    assert sum(parameter.numel() for parameter in model.parameters()) == params


def read_manifest() -> dict[str, Any]:
    path = SHARED / "golden/baselines/manifest.json"
    networks: dict[str, Any] = json.loads(path.read_text())["networks"] if path.exists() else {}
    return networks


NETWORKS = read_manifest()


def make(reference: str) -> nn.Module:
    """The network that the reference calls, for example, "shufflenet_v1_g3_w1.5" or "shufflenet_v2_x1_5"."""
    family, version, *rest = reference.split("_")
    name = family + version
    if name == "shufflenetv1":
        groups, width = int(rest[0][1:]), float(rest[1][1:])
        model: nn.Module = ShuffleNetV1(width, groups=groups).eval()
    else:
        model = create_model(name, width_mult=float("_".join(rest)[1:].replace("_", ".")))
    load_seeded_weights(model)
    return model


@pytest.mark.shared
@pytest.mark.parametrize("reference", NETWORKS)
def test_the_reference_state_dictionary_is_ours(reference: str) -> None:
    """Keys, shapes, order, and with them the seeded weights, to the last bit."""
    state = make(reference).state_dict()
    keys = json.loads((SHARED / "golden/baselines" / NETWORKS[reference]["keys_file"]).read_text())
    assert [(entry["key"], entry["shape"]) for entry in keys] == [(k, list(t.shape)) for k, t in state.items()]
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(state[name].numpy().tobytes())
    assert digest.hexdigest() == NETWORKS[reference]["formula_state_sha256"]


@pytest.mark.shared
@pytest.mark.parametrize("reference", [name for name, facts in NETWORKS.items() if facts.get("npz")])
def test_logits_and_taps(reference: str) -> None:
    model = make(reference)
    taps = NETWORKS[reference]["cases"]["formula_p0"]["taps"]
    found: dict[str, Any] = {}
    for name, module in model.named_modules():
        if name in taps:

            def keep(_m: nn.Module, _i: Any, out: torch.Tensor, name: str = name) -> None:
                found[name] = out.flatten()[:: taps[name]["flat_step"]].numpy()

            module.register_forward_hook(keep)
    image = np.concatenate([formula_input(224, 224, 0.0), formula_input(224, 224, 0.5)])
    with torch.inference_mode(), np.load(SHARED / "golden/baselines" / NETWORKS[reference]["npz"]) as golden:
        pair = model(torch.from_numpy(image)).numpy()
        assert np.abs(pair - golden["batch2_p0_p0.5__logits"]).max() <= MAX_ABS
        single = model(torch.from_numpy(image[:1])).numpy()
        assert np.abs(single - golden["formula_p0__logits"]).max() <= MAX_ABS
        assert found.keys() == taps.keys()
        for name, values in found.items():
            assert np.abs(values - golden[f"formula_p0__tap__{name}"]).max() <= MAX_ABS, name
