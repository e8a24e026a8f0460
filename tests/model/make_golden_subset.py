"""Writes golden_subset.json: a few numbers of the recorded outputs of the official networks.

Run from the repository root with the reference data beside it:
    PYTHONPATH=tests python tests/model/make_golden_subset.py
Source: outputs of github.com/sacmehta/EdgeNets@2b232d3f in PyTorch 2.13.0 on a CPU, float32, with the deterministic
inputs and weights of espnet_edge.model.seeded; MAC counts of the same code by a hook on Conv2d and Linear.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from detection_cases import decode_case_names, read_facts

SHARED = Path(os.environ.get("ESPNET_EDGE_SHARED", "../shared")) / "golden"
TARGET = Path(__file__).with_name("golden_subset.json")


def numbers(array: Any, step: int) -> list[float]:
    """Every `step`-th number, with the digits that float32 has."""
    return [float(f"{value:.9g}") for value in np.asarray(array).ravel()[::step]]


def rows(array: Any, step: int) -> list[list[float]]:
    """Every `step`-th row, likewise."""
    return [numbers(row, 1) for row in array[::step]]


def taps(arrays: Any, case: str, facts: dict[str, Any]) -> dict[str, Any]:
    """The first sixteen recorded numbers of each module, and how far apart they lie in its output."""
    return {
        name: {"flat_step": fact["flat_step"], "values": numbers(arrays[f"{case}__tap__{name}"][:16], 1)}
        for name, fact in facts.items()
    }


def classification() -> dict[str, Any]:
    manifest = json.loads((SHARED / "cls/manifest.json").read_text())
    subset = {}
    for width, model in manifest["models"].items():
        case = model["cases"]["formula_224x224"]
        with np.load(SHARED / f"cls/espnetv2_cls_s{width}.npz") as arrays:
            subset[width] = {
                "logits_step_8": numbers(arrays["formula_224x224__logits"], 8),
                "logits_step_8_h225_w171": numbers(arrays["formula_h225_w171__logits"], 8),
                "top5": case["top5"],
                "taps": taps(arrays, "formula_224x224", case["taps"]),
                "params": model["parameters_EdgeNets"],
                "conv_macs": model["macs_224"]["own_hook"]["conv"],
                "linear_macs": model["macs_224"]["own_hook"]["linear"],
            }
    return subset


def segmentation() -> dict[str, Any]:
    manifest = json.loads((SHARED / "seg/manifest.json").read_text())
    subset = {}
    for name, facts in manifest["formula_weight_cases"].items():
        case = facts["cases"]["formula"]
        with np.load(SHARED / f"seg/{name}.npz") as arrays:
            subset[name] = {
                "width_mult": facts["s"],
                "num_classes": case["output_shape"][1],
                "size": case["input_shape"][2:],
                "logits_s16_step_7": numbers(arrays["formula__logits_s16"], 7),
                "argmax_counts": np.bincount(arrays["formula__argmax"].ravel(), minlength=21).tolist(),
                "taps": taps(arrays, "formula", case["taps"]),
                "params": facts["parameters"],
            }
    return subset


def segmentation_macs() -> list[dict[str, Any]]:
    table = json.loads((SHARED / "seg/macs.json").read_text())
    keys = {"s": "width_mult", "h": "height", "w": "width", "parameters": "params"}
    wanted = ("dataset", "s", "h", "w", "parameters", "conv_macs", "conv_bias_adds")
    return [{keys.get(key, key): row[key] for key in wanted} for row in table]


def detection() -> dict[str, Any]:
    facts = read_facts(SHARED)
    networks, decoded = {}, {}
    for name, model in facts["models"].items():
        with np.load(SHARED / f"det/{name}.npz") as arrays:
            networks[name] = {
                "size": model["cases"]["formula"]["input_shape"][2],
                "num_classes": model["cases"]["formula"]["confidences"]["shape"][2],
                "confidences_s97_step_17": numbers(arrays["formula__conf_s97"], 17),
                "locations_s97": numbers(arrays["formula__loc_s97"], 1),
                # The maps do not depend on the classes.
                "taps": taps(arrays, "formula", model["cases"]["formula"]["taps"]) if "coco" in name else {},
                "params": model["parameters"],
                "conv_macs": model["macs"],
                "conv_bias_adds": model["own_hook"]["conv_bias_adds"],
            }
    for name in decode_case_names(facts):
        with np.load(SHARED / f"det/decode_{name}.npz") as arrays:
            decoded[name] = {
                "boxes_s37": rows(arrays["boxes"], 37),
                "labels_s37": arrays["labels"][::37].tolist(),
                "scores_s37": numbers(arrays["scores"], 37),
                "decoded_s1369": rows(arrays["decoded_corner_boxes_every_37"], 37),
                "facts": facts["decode_nms"][name],
            }
    priors = {}
    for size in (300, 512):
        with np.load(SHARED / f"det/priors_{size}.npz") as arrays:
            priors[str(size)] = {"count": len(arrays["priors"]), "priors_s97": rows(arrays["priors"], 97)}
    return {"networks": networks, "decoded": decoded, "priors": priors}


if __name__ == "__main__":
    content = {
        "classification": classification(),
        "segmentation": segmentation(),
        "segmentation_macs": segmentation_macs(),
        "detection": detection(),
    }
    TARGET.write_text(json.dumps(content, separators=(",", ":")) + "\n")
    print(TARGET, TARGET.stat().st_size, "bytes")
