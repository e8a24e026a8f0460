"""The networks by themselves, on any machine: recorded numbers, counts, shapes, gradients."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from conftest import formula_input
from espnet_edge.errors import InputError
from espnet_edge.model.counts import count
from espnet_edge.model.datasets import get_dataset
from espnet_edge.model.eesp import branch_dilations
from espnet_edge.model.espnetv2_names import official_name
from espnet_edge.model.registry import create_model, get_spec, list_models, register_model
from espnet_edge.model.seeded import load_seeded_weights

GOLDEN = json.loads(Path(__file__).with_name("golden_subset.json").read_text())
WIDTHS = (0.5, 1.0, 1.25, 1.5, 2.0)
# Float32 noise of the reference is at most 5e-6 with these weights.
MAX_ABS = 5e-5


def seeded(name: str, **options: Any) -> nn.Module:
    model = create_model(name, **options)
    load_seeded_weights(model)
    return model


def record_taps(model: nn.Module, taps: dict[str, Any]) -> dict[str, list[float]]:
    """Hooks that fill the returned dictionary with the numbers that were recorded of the official modules."""
    found: dict[str, list[float]] = {}
    for own_name, module in model.named_modules():
        if (name := official_name(own_name)) in taps:

            def keep(_m: nn.Module, _i: Any, out: torch.Tensor, name: str = name) -> None:
                found[name] = out.flatten()[:: taps[name]["flat_step"]][:16].tolist()

            module.register_forward_hook(keep)
    return found


def assert_taps_equal(found: dict[str, list[float]], taps: dict[str, Any]) -> None:
    assert found.keys() == taps.keys()
    for name, values in found.items():
        np.testing.assert_allclose(values, taps[name]["values"], rtol=0, atol=MAX_ABS, err_msg=name)


@pytest.mark.parametrize("width", WIDTHS)
def test_classifier_equals_the_official_one(width: float) -> None:
    golden = GOLDEN["classification"][str(width)]
    model = seeded("espnetv2_cls", width_mult=width)
    found = record_taps(model, golden["taps"])
    with torch.inference_mode():
        logits = model(torch.from_numpy(formula_input(224, 224)))[0]
        assert_taps_equal(found, golden["taps"])
        odd = model(torch.from_numpy(formula_input(225, 171)))[0]
    np.testing.assert_allclose(logits[::8], golden["logits_step_8"], rtol=0, atol=MAX_ABS)
    np.testing.assert_allclose(odd[::8], golden["logits_step_8_h225_w171"], rtol=0, atol=MAX_ABS)
    assert logits.topk(5).indices.tolist() == golden["top5"]


@pytest.mark.parametrize("name", GOLDEN["segmentation"])
def test_segmentation_equals_the_official_one(name: str) -> None:
    golden = GOLDEN["segmentation"][name]
    classes = golden["num_classes"]
    model = seeded("espnetv2_seg", width_mult=golden["width_mult"], num_classes=classes)
    found = record_taps(model, golden["taps"])
    with torch.inference_mode():
        logits = model(torch.from_numpy(formula_input(*golden["size"])))
    np.testing.assert_allclose(
        logits[:, :, ::16, ::16].flatten()[::7], golden["logits_s16_step_7"], rtol=0, atol=MAX_ABS
    )
    assert_taps_equal(found, golden["taps"])
    counts = np.bincount(logits.argmax(1).flatten(), minlength=len(golden["argmax_counts"]))
    # Every class may gain or lose the few pixels whose two best logits are equal to within rounding.
    assert np.abs(counts - golden["argmax_counts"]).max() <= 1e-4 * counts.sum()


@pytest.mark.parametrize("width", WIDTHS)
def test_classifier_counts(width: float) -> None:
    golden = GOLDEN["classification"][str(width)]
    counts = count(create_model("espnetv2_cls", width_mult=width), (3, 224, 224))
    assert counts.params == golden["params"]
    assert counts.conv_macs == golden["conv_macs"]
    assert counts.linear_macs == golden["linear_macs"]
    assert counts.macs == counts.conv_macs + counts.linear_macs
    assert counts.conv_bias_adds == 0


@pytest.mark.parametrize(
    "row", GOLDEN["segmentation_macs"], ids=lambda row: f"{row['dataset']}-{row['width_mult']}-{row['width']}"
)
def test_segmentation_counts(row: dict[str, Any]) -> None:
    classes = get_dataset(row["dataset"]).num_classes
    model = create_model("espnetv2_seg", width_mult=row["width_mult"], num_classes=classes)
    counts = count(model, (3, row["height"], row["width"]))
    assert counts.params == row["params"]
    assert counts.conv_macs == row["conv_macs"]
    assert counts.conv_bias_adds == row["conv_bias_adds"]
    assert counts.linear_macs == 0


def test_counting_leaves_the_network_alone() -> None:
    model = seeded("espnetv2_seg", width_mult=0.5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    count(model, (3, 64, 64))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(("height", "width"), [(64, 64), (48, 160), (47, 63), (303, 319)])
def test_segmentation_keeps_the_size(height: int, width: int) -> None:
    model = seeded("espnetv2_seg", width_mult=0.5, num_classes=21)
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, height, width)).shape == (1, 21, height, width)


@pytest.mark.parametrize(("height", "width"), [(8, 64), (33, 47), (224, 96)])
def test_classifier_takes_any_size(height: int, width: int) -> None:
    model = seeded("espnetv2_cls", width_mult=0.5, num_classes=7)
    with torch.inference_mode():
        assert model(torch.zeros(2, 3, height, width)).shape == (2, 7)


@pytest.mark.parametrize("name", list_models())
def test_batch_of_two_is_two_batches_of_one(name: str) -> None:
    model = seeded(name, width_mult=0.5)
    pair = torch.from_numpy(np.concatenate([formula_input(64, 96), formula_input(64, 96, 0.5)]))
    with torch.inference_mode():
        together, apart = model(pair), torch.cat([model(pair[:1]), model(pair[1:])])
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-5)


# Built because the published checkpoints and parameter counts contain them; see EESP and ESPNetV2.
WITHOUT_GRADIENT = {
    "espnetv2_cls": (".eesp.act.", "down5.reinforce."),
    "espnetv2_seg": (".eesp.act.",),
}


@pytest.mark.parametrize("name", list_models())
def test_every_other_parameter_learns(name: str) -> None:
    model = create_model(name, width_mult=1.0).train()
    model(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))).square().mean().backward()
    still = {n: p.numel() for n, p in model.named_parameters() if p.grad is None}
    assert all(any(part in n for part in WITHOUT_GRADIENT.get(name, ())) for n in still)
    # The figure known of the official classifier at width 1.0; segmentation has no fifth level.
    assert sum(still.values()) == {"espnetv2_cls": 3130, "espnetv2_seg": 224}.get(name, 0)


def test_dilations() -> None:
    expected = {13: (1, 2, 3, 4), 11: (1, 2, 3, 4), 9: (1, 2, 3, 4), 7: (1, 1, 2, 3), 5: (1, 1, 1, 2)}
    assert {limit: branch_dilations(limit) for limit in expected} == expected


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(InputError, match="'alexnet' is unknown; there are cls, seg, espnetv2_cls, espnetv2_seg, mob"):
        create_model("alexnet")
    with pytest.raises(InputError, match=r"espnetv2_seg has no width 3.0; there are 0.5, 1.0, 1.25, 1.5, 2.0"):
        create_model("seg", width_mult=3.0)
    with pytest.raises(InputError, match="'kitti' is unknown; there are cityscapes, imagenet, voc"):
        get_dataset("kitti")


def test_a_taken_name_is_an_error() -> None:
    with pytest.raises(ValueError, match="espnetv2_seg is registered already"):
        register_model(get_spec("seg"), nn.Identity)


@pytest.mark.parametrize(
    ("size", "accepted"),
    [((512, 1024), True), ((303, 319), True), ((360, 640), False), ((1080, 1920), False), ((8, 512), False)],
)
def test_sizes(size: tuple[int, int], accepted: bool) -> None:
    spec = get_spec("seg")
    assert spec.accepts(size) is accepted
    assert all(spec.accepts(near) for near in spec.nearest_sizes(size))
