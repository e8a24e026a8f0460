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
from espnet_edge.model.checkpoint import published_names
from espnet_edge.model.counts import count
from espnet_edge.model.datasets import get_dataset
from espnet_edge.model.deploy import as_tuple
from espnet_edge.model.eesp import branch_dilations
from espnet_edge.model.espnetv2_det import ESPNetV2Det
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
    official_name = published_names(model)
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


DETECTION = GOLDEN["detection"]["networks"]


@pytest.mark.parametrize("name", DETECTION)
def test_detection_equals_the_official_one(name: str) -> None:
    golden = DETECTION[name]
    model = seeded("espnetv2_det", num_classes=golden["num_classes"])
    found = record_taps(model, golden["taps"])
    with torch.inference_mode():
        confidences, locations = model(torch.from_numpy(formula_input(golden["size"], golden["size"])))
    assert_taps_equal(found, golden["taps"])
    some = confidences[:, ::97].flatten()[::17]
    np.testing.assert_allclose(some, golden["confidences_s97_step_17"], rtol=0, atol=MAX_ABS)
    np.testing.assert_allclose(locations[:, ::97].flatten(), golden["locations_s97"], rtol=0, atol=MAX_ABS)


@pytest.mark.parametrize("name", DETECTION)
def test_detection_counts(name: str) -> None:
    golden = DETECTION[name]
    model = create_model("det", num_classes=golden["num_classes"])
    counts = count(model, (3, golden["size"], golden["size"]))
    assert counts.params == golden["params"]
    assert counts.conv_macs == golden["conv_macs"]
    assert counts.conv_bias_adds == golden["conv_bias_adds"]
    assert counts.linear_macs == 0


@pytest.mark.parametrize(
    ("width", "params", "macs"),
    [
        (0.5, 1_958_254, 181_782_314),
        (1.0, 2_475_944, 343_684_011),
        (1.25, 2_823_640, 447_705_424),
        (1.5, 3_227_764, 567_766_238),
    ],
)
def test_detection_counts_at_unpublished_widths(width: float, params: int, macs: int) -> None:
    counts = count(ESPNetV2Det(width, num_classes=21), (3, 300, 300))
    assert (counts.params, counts.conv_macs) == (params, macs)


@pytest.mark.parametrize("size", [(256, 256), (320, 320), (384, 384), (416, 416), (512, 512), (270, 331)])
def test_detection_runs_at_other_sizes(size: tuple[int, int]) -> None:
    model = ESPNetV2Det(0.5, num_classes=21).to("meta").eval()
    confidences, locations = model(torch.empty(2, 3, *size, device="meta"))
    priors, (height, width) = 6, size
    sides = [(-(-height // 2**level), -(-width // 2**level)) for level in range(3, 8)]
    priors += sum(6 * h * w for h, w in sides)
    assert confidences.shape == (2, priors, 21)
    assert locations.shape == (2, priors, 4)


def test_only_detection_feeds_the_image_to_level_5() -> None:
    classifier, detector = create_model("cls", width_mult=0.5), ESPNetV2Det(0.5).eval()
    fed = []
    for name, backbone in (("cls", classifier), ("det", detector.backbone)):
        reinforce = backbone.get_submodule("down5.reinforce")
        reinforce.register_forward_hook(lambda *_, name=name: fed.append(name))
    with torch.inference_mode():
        for model in (classifier, detector):
            model(torch.from_numpy(formula_input(64, 64)))
    assert fed == ["det"]


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


WITH_PICTURES = [name for name in list_models() if get_spec(name).task != "language_modelling"]


def narrow(name: str) -> float:
    """A width that the network comes in, a half where there is that."""
    widths = get_spec(name).widths
    return 0.5 if 0.5 in widths else widths[0]


@pytest.mark.parametrize("name", WITH_PICTURES)
def test_batch_of_two_is_two_batches_of_one(name: str) -> None:
    model = seeded(name, width_mult=narrow(name))
    pair = torch.from_numpy(np.concatenate([formula_input(64, 96), formula_input(64, 96, 0.5)]))
    with torch.inference_mode():
        together = as_tuple(model(pair))
        apart = [torch.cat(halves) for halves in zip(as_tuple(model(pair[:1])), as_tuple(model(pair[1:])), strict=True)]
    for one, other in zip(together, apart, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


# Built because the published checkpoints and parameter counts contain them; see EESP and ESPNetV2.
WITHOUT_GRADIENT = {
    "espnetv2_cls": (".eesp.act.", "down5.reinforce."),
    "espnetv2_seg": (".eesp.act.",),
    "espnetv2_det": (".eesp.act.",),
}


@pytest.mark.parametrize("name", WITH_PICTURES)
def test_every_other_parameter_learns(name: str) -> None:
    model = create_model(name, width_mult=1.0 if 1.0 in get_spec(name).widths else None).train()
    outputs = as_tuple(model(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))))
    torch.stack([output.square().mean() for output in outputs]).sum().backward()
    still = {n: p.numel() for n, p in model.named_parameters() if p.grad is None}
    assert all(any(part in n for part in WITHOUT_GRADIENT.get(name, ())) for n in still)
    # The figure known of the official classifier at width 1.0; segmentation has no fifth level; detection has all of
    # them at width 2.0, and feeds the reinforcement of the fifth.
    assert sum(still.values()) == {"espnetv2_cls": 3130, "espnetv2_seg": 224, "espnetv2_det": 992}.get(name, 0)


def test_dilations() -> None:
    expected = {13: (1, 2, 3, 4), 11: (1, 2, 3, 4), 9: (1, 2, 3, 4), 7: (1, 1, 2, 3), 5: (1, 1, 1, 2)}
    assert {limit: branch_dilations(limit) for limit in expected} == expected


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(
        InputError, match="'alexnet' is unknown; there are cls, seg, det, lm, eru_lm, espnetv2_cls, espn"
    ):
        create_model("alexnet")
    with pytest.raises(InputError, match=r"espnetv2_seg has no width 3.0; there are 0.5, 1.0, 1.25, 1.5, 2.0"):
        create_model("seg", width_mult=3.0)
    with pytest.raises(InputError, match="'kitti' is unknown; there are cityscapes, coco, imagenet, ptb, voc"):
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


def test_detection_comes_in_two_sizes() -> None:
    spec = get_spec("det")
    assert spec.default_sizes == {"coco": (300, 300), "voc": (300, 300)}
    assert [side for side in range(200, 600) if spec.accepts((side, side))] == [300, 512]
    assert not spec.accepts((300, 512))
    assert spec.nearest_sizes((320, 320)) == ((300, 300), (512, 512))


def test_detection_has_its_own_names() -> None:
    voc, coco = get_dataset("voc"), get_dataset("coco")
    named = {task: [name for name, _ in voc.classes_for(task)] for task in ("segmentation", "detection")}
    differ = [(a, b) for a, b in zip(named["segmentation"], named["detection"], strict=True) if a != b]
    assert differ == [
        ("background", "__background__"),
        ("potted-plant", "pottedplant"),
        ("tv/monitor", "tvmonitor"),
    ]
    assert [colour for _, colour in voc.classes_for("detection")] == [colour for _, colour in voc.classes]
    names = [name for name, _ in coco.classes_for("detection")]
    assert (len(set(names)), coco.num_classes) == (81, 81)
    assert {0: "__background__", 1: "person", 12: "stop sign", 13: "parking meter", 80: "toothbrush"}.items() <= dict(
        enumerate(names)
    ).items()


def test_multi_label_has_the_objects_without_a_background() -> None:
    coco, imagenet = get_dataset("coco"), get_dataset("imagenet")
    names = [name for name, _ in coco.classes_for("multi_label")]
    assert [names[i] for i in (0, 1, 56, 79)] == ["person", "bicycle", "chair", "toothbrush"]
    assert names == [name for name, _ in coco.classes_for("detection")][1:]
    assert (coco.num_classes_for("multi_label"), coco.num_classes_for("detection")) == (80, 81)
    assert imagenet.num_classes_for("classification") == 1000


def test_the_data_set_makes_the_classifier_multi_label() -> None:
    spec = get_spec("cls")
    assert (spec.task, spec.default_dataset) == ("classification", "imagenet")
    assert spec.for_dataset("coco").task == "multi_label"
    assert spec.for_dataset("imagenet") == spec
    assert get_spec("det").for_dataset("coco").task == "detection"
    assert "coco" not in get_spec("mobilenetv2").default_sizes


def test_multi_label_differs_in_the_last_layer_only() -> None:
    many, few = create_model("cls", width_mult=0.5), create_model("espnetv2_cls", width_mult=0.5, num_classes=80)
    shapes = {name: tensor.shape for name, tensor in few.state_dict().items()}
    others = {name: tensor.shape for name, tensor in many.state_dict().items() if tensor.shape != shapes.pop(name)}
    assert others == {"classifier.weight": (1000, 1024), "classifier.bias": (1000,)}
    assert not shapes
