"""Our networks against the recorded outputs of the official ones."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from conftest import SHARED, formula_input
from espnet_edge.model.checkpoint import published_names
from espnet_edge.model.deploy import as_tuple
from espnet_edge.model.registry import create_model
from espnet_edge.model.seeded import load_seeded_weights

# Twice the largest difference between float32 and float64 runs of the official network is 3.2e-4 (segmentation).
SEG_MAX_ABS, CLS_MAX_ABS, DET_MAX_ABS = 1e-3, 5e-5, 5e-5

pytestmark = pytest.mark.shared


def read_json(name: str) -> Any:
    path = SHARED / "golden" / name
    return json.loads(path.read_text()) if path.exists() else {}


SEG, CLS, DET = (read_json(f"{folder}/manifest.json") for folder in ("seg", "cls", "det"))


def input_of(case: dict[str, Any], folder: Path) -> NDArray[np.float32]:
    """The case's input, checked against the recorded digest."""
    source = case["input"]
    if source["kind"] == "formula":
        x = formula_input(source["h"], source["w"], source["phase"])
    else:
        pixels = np.asarray(Image.open(folder / source["png"]), dtype=np.float32) / np.float32(255)
        mean = np.array([0.485, 0.456, 0.406], dtype=np.float32)
        std = np.array([0.229, 0.224, 0.225], dtype=np.float32)
        x = ((pixels - mean) / std).transpose(2, 0, 1)[None]
    x = np.ascontiguousarray(x)
    assert hashlib.sha256(x.tobytes()).hexdigest() == case["input_check"]["sha256_of_float32_bytes_NCHW"]
    return x


def run_with_taps(
    model: nn.Module, x: NDArray[np.float32], taps: dict[str, Any]
) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
    """Logits, and the flattened, strided outputs of the modules that have an official name among `taps`."""
    (logits,), found = run_all_with_taps(model, x, taps)
    return logits, found


def run_all_with_taps(
    model: nn.Module, x: NDArray[np.float32], taps: dict[str, Any]
) -> tuple[list[NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
    """The same with all outputs, for networks that have several."""
    official_name = published_names(model)
    found: dict[str, NDArray[np.float32]] = {}
    handles = []
    for own_name, module in model.named_modules():
        name = official_name(own_name)
        if name in taps:

            def keep(_m: nn.Module, _i: Any, out: torch.Tensor, name: str = name) -> None:
                found[name] = out.flatten()[:: taps[name]["flat_step"]].numpy()

            handles.append(module.register_forward_hook(keep))
    with torch.inference_mode():
        outputs = [output.numpy() for output in as_tuple(model(torch.from_numpy(x)))]
    for handle in handles:
        handle.remove()
    return outputs, found


def seg_cases() -> list[Any]:
    return [
        pytest.param(checkpoint, name, id=f"{checkpoint.removesuffix('.pth')}-{name}")
        for checkpoint, entry in SEG.get("checkpoints", {}).items()
        for name in entry["cases"]
    ]


def check_segmentation(model: nn.Module, case: dict[str, Any], golden: Any, name: str) -> None:
    taps = case.get("taps", {})
    logits, found = run_with_taps(model, input_of(case, SHARED / "golden/seg"), taps)
    stride = case["stride_of_logits_subsample"]
    assert np.abs(logits[:, :, ::stride, ::stride] - golden[f"{name}__logits_s{stride}"]).max() <= SEG_MAX_ABS
    odd = f"{name}__logits_5_37__3_41"
    if odd in golden:
        assert np.abs(logits[:, :, 5::37, 3::41] - golden[odd]).max() <= SEG_MAX_ABS
    top_two = np.sort(logits[0], axis=0)[-2:]
    decided = top_two[1] - top_two[0] >= SEG_MAX_ABS
    agree = logits[0].argmax(0) == golden[f"{name}__argmax"]
    assert agree[decided].mean() >= 0.9999
    assert agree.mean() >= 0.999
    assert set(found) == set(taps)
    for tap, values in found.items():
        assert np.abs(values - golden[f"{name}__tap__{tap}"]).max() <= SEG_MAX_ABS, tap


@pytest.mark.parametrize(("checkpoint", "name"), seg_cases())
def test_official_segmentation(checkpoint: str, name: str) -> None:
    entry = SEG["checkpoints"][checkpoint]
    built = entry["constructor"]
    weights = SHARED / "weights" / checkpoint
    model = create_model(
        "espnetv2_seg", width_mult=float(built["args.s"]), num_classes=built["classes"], weights=weights
    )
    assert sum(parameter.numel() for parameter in model.parameters()) == entry["parameters"]
    with np.load(SHARED / "golden/seg" / entry["golden_npz"]) as golden:
        check_segmentation(model, entry["cases"][name], golden, name)


def test_demo_size_rule() -> None:
    case = SEG["segmentation_demo_path"]
    model = create_model("espnetv2_seg", num_classes=21, weights=SHARED / "weights" / case["checkpoint"])
    with np.load(SHARED / "golden/seg/demo_native_sample6.npz") as golden:
        name = next(key.split("__")[0] for key in golden if key.endswith("__argmax"))
        check_segmentation(model, case, golden, name)


@pytest.mark.parametrize("entry", SEG.get("formula_weight_cases", {}).items(), ids=lambda entry: entry[0])
def test_segmentation_with_formula_weights(entry: tuple[str, dict[str, Any]]) -> None:
    file_name, facts = entry
    model = create_model("espnetv2_seg", width_mult=facts["s"], num_classes=21 if facts["dataset"] == "pascal" else 20)
    load_seeded_weights(model)
    assert sum(parameter.numel() for parameter in model.parameters()) == facts["parameters"]
    with np.load(SHARED / f"golden/seg/{file_name}.npz") as golden:
        for name, case in facts["cases"].items():
            check_segmentation(model, case, golden, name)


def cls_cases() -> list[Any]:
    return [
        pytest.param(float(width), name, id=f"{width}-{name}")
        for width, entry in CLS.get("models", {}).items()
        for name, case in entry["cases"].items()
        if "input" in case
    ]


@pytest.mark.parametrize(("width", "name"), cls_cases())
def test_official_classification(width: float, name: str) -> None:
    case = CLS["models"][str(width)]["cases"][name]
    model = create_model("espnetv2_cls", width_mult=width)
    load_seeded_weights(model)
    taps = case.get("taps", {})
    logits, found = run_with_taps(model, input_of(case, SHARED / "golden/cls"), taps)
    with np.load(SHARED / f"golden/cls/espnetv2_cls_s{width}.npz") as golden:
        assert np.abs(logits - golden[f"{name}__logits"]).max() <= CLS_MAX_ABS
        assert set(found) == set(taps)
        for tap, values in found.items():
            assert np.abs(values - golden[f"{name}__tap__{tap}"]).max() <= CLS_MAX_ABS, tap


@pytest.mark.parametrize("width", [0.5, 1.0, 1.25, 1.5, 2.0])
def test_batch_of_two(width: float) -> None:
    model = create_model("espnetv2_cls", width_mult=width)
    load_seeded_weights(model)
    x = np.concatenate([formula_input(224, 224, 0.0), formula_input(224, 224, 0.5)])
    with torch.inference_mode(), np.load(SHARED / f"golden/cls/espnetv2_cls_s{width}.npz") as golden:
        logits = model(torch.from_numpy(x)).numpy()
        assert np.abs(logits - golden["batch2_phase0_phase0.5__logits"]).max() <= CLS_MAX_ABS


DET_MODELS = DET.get("models", {})


@pytest.mark.parametrize("name", DET_MODELS)
def test_official_detection(name: str) -> None:
    case = DET_MODELS[name]["cases"]["formula"]
    model = create_model("det", num_classes=case["confidences"]["shape"][2])
    load_seeded_weights(model)
    (confidences, locations), found = run_all_with_taps(model, input_of(case, SHARED / "golden/det"), case["taps"])
    assert confidences.shape == tuple(case["confidences"]["shape"])
    assert locations.shape == tuple(case["locations"]["shape"])
    with np.load(SHARED / f"golden/det/{name}.npz") as golden:
        assert np.abs(confidences[:, :: case["prior_step"]] - golden["formula__conf_s97"]).max() <= DET_MAX_ABS
        assert np.abs(locations[:, :: case["prior_step"]] - golden["formula__loc_s97"]).max() <= DET_MAX_ABS
        assert set(found) == set(case["taps"])
        for tap, values in found.items():
            assert np.abs(values - golden[f"formula__tap__{tap}"]).max() <= DET_MAX_ABS, tap


@pytest.mark.parametrize("name", DET_MODELS)
def test_official_detection_keys(name: str) -> None:
    model = create_model("det", num_classes=DET_MODELS[name]["cases"]["formula"]["confidences"]["shape"][2])
    official_name = published_names(model)
    ours = {(official_name(key), tuple(tensor.shape)) for key, tensor in model.state_dict().items()}
    theirs = {(entry["key"], tuple(entry["shape"])) for entry in read_json(f"det/{DET_MODELS[name]['keys_file']}")}
    assert ours == theirs
    assert len(ours) == DET_MODELS[name]["entries"]
