"""Write the small files that the fuzzers begin with: make_seeds.py FOLDER makes its folders manifest, plan
and image.

    python runtime/cpp/tests/fuzz/make_seeds.py build/seeds
    mkdir -p build/found/plan && build/fuzz/tests/fuzz_plan -runs=1000000 -max_len=512 build/found/plan build/seeds/plan

with `build/fuzz` configured by Clang with ESPNET_BUILD_FUZZERS=ON and ESPNET_SANITIZE=address,undefined. Manifests
have up to 2 kB: -max_len=4096.
"""

import json
import runpy
import struct
import sys
from pathlib import Path
from typing import Any


def manifest(task: str, kind: str, inputs: list[Any], outputs: list[Any], **changes: Any) -> dict[str, Any]:
    """Every field that a manifest can have."""
    photo = {
        "colour_order": "RGB",
        "resize": "shorter_side_crop",
        "height": 8,
        "width": 16,
        "shorter_side": 9,
        "scale": 0.00392156862745098,
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.2, 0.2],
        "normalise_in_graph": True,
    }
    counts = {"layers": 3, "half": 1, "quantize": 1, "dequantize": 1}
    engine = {
        "builder": "tensorrt",
        "builder_version": "10.3.0.26",
        "precision": "fp16",
        "compute_capabilities": ["8.7", "8.9"],
        "device": "Orin",
        "profile": {"minimum": 1, "optimum": 4, "maximum": 8},
        "typing": "strong",
        "workspace_mib": 512,
        "dla_core": 0,
        "compatible": ["version", "ampere+"],
        "network_types": counts,
        "verified_precision": {"layers": 3, "fp32": 1, "fp16": 1, "int8": 1, "other": 0, "unknown": 0},
        "not_verified": None,
    }
    parity = {
        "passed": True,
        "max_abs_error": 1e-5,
        "max_abs_error_tolerance": None,
        "label_agreement": 1,
        "label_agreement_tolerance": 0.999,
        "held_out_agreement": 1.0,
        "cases": 5,
        "report": "seg.parity.json",
    }
    fields = {
        "schema_version": 1,
        "name": "net",
        "task": task,
        "network": "espnetv2",
        "width_mult": 2.0,
        "dataset": "cityscapes",
        "num_classes": 20,
        "classes": [{"name": "road", "colour": [128, 64, 128]}, {"name": "Stra\u00dfe \U0001f6e3", "colour": None}],
        "io": "deploy",
        "precision": "int8",
        "inputs": inputs,
        "outputs": outputs,
        "preprocessing": photo,
        "postprocessing": {"kind": kind, "score_threshold": 0.3, "iou_threshold": 0.45, "max_per_class": 200},
        "states": [],
        "vocabulary": None,
        "macs": {"conv": 1000, "linear": 10},
        "params": 100,
        "weights": {"source": "none", "sha256": None, "random": False},
        "onnx": {"sha256": "0" * 64, "opset": 17, "ir_version": 8},
        "file": {"name": "net.trt", "sha256": "0" * 64, "bytes": 4096},
        "engine": engine,
        "parity": parity,
        "quantisation": {
            "int8_convolutions": 2,
            "convolutions": 3,
            "int8_macs_share": 0.5,
            "kept_blocks": ["level1"],
            "calibration_pictures": 8,
        },
    }
    return {**fields, **changes}


def tensor(name: str, dtype: str, shape: list[int | str], layout: str) -> dict[str, Any]:
    """An input or output."""
    return {"name": name, "dtype": dtype, "shape": shape, "layout": layout, "meaning": "for tests"}


def manifests() -> dict[str, bytes]:
    """One of each task, and text that is nested and broken."""
    image = [tensor("image", "uint8", ["batch", 8, 16, 3], "NHWC")]
    states = [{"input": "hidden", "output": "hidden_out"}]
    hidden = tensor("hidden", "float32", [2, "batch", 8], "LNU")
    words = {"name": "words.txt", "sha256": "0" * 64, "bytes": 10}
    made = {
        "seg": manifest(
            "segmentation", "upsample_argmax", image, [tensor("logits", "float32", ["batch", 20, 1, 2], "NCHW")]
        ),
        "cls": manifest("classification", "softmax_top5", image, [tensor("logits", "float32", ["batch", 20], "NC")]),
        "multi": manifest("multi_label", "threshold", image, [tensor("scores", "float16", ["batch", 20], "NC")]),
        "det": manifest("detection", "decode_nms", image, [tensor("locations", "float32", ["batch", 9, 4], "NPC")]),
        "lm": manifest(
            "language_modelling",
            "next_word",
            [tensor("token", "int64", ["batch"], "N"), hidden],
            [tensor("logits", "float32", ["batch", 20], "NC"), {**hidden, "name": "hidden_out"}],
            preprocessing=None,
            states=states,
            vocabulary=words,
        ),
    }
    texts = {name: json.dumps(fields, separators=(",", ":")).encode() for name, fields in made.items()}
    return {**texts, "nested": b'{"x":' + b"[" * 210, "broken": b'{"name": "\xff\\ud800", "n": -1e+999}'}


def plans() -> dict[str, bytes]:
    """Headers of every known kind, ONNX outlines, metadata in front of a plan, and other files."""
    tensorrt = b"ftrt" + bytes(20) + bytes([10, 13, 3, 9]) + bytes(12)
    rtx = {
        f"rtx_{minor}_{mask}": b"vtrt" + struct.pack("<IQQ4B4sI", 0, 2, 40, 1, minor, 0, 1, b"vtrt", mask) + bytes(4)
        for minor, mask in ((4, 0x3E), (7, 0x7E), (7, 0x08), (9, 0x01))
    }
    # IR version 8, a producer, opset 17 of the default domain, a graph of 4 bytes.
    onnx = b"\x08\x08\x12\x03abc\x42\x04\x0a\x00\x10\x11\x3a\x04\x0a\x02gg"
    return {
        **rtx,
        "tensorrt": tensorrt,
        "old": b"ptrt" + bytes(4) + struct.pack("<I", 232) + bytes(28),
        "glued": struct.pack("<I", 2) + b"{}" + tensorrt,
        "onnx": onnx,
        "onnx_cut": onnx[:-2],
        "onnx_long": onnx + b"\xff" * 12,
        "zip": b"PK\x03\x04",
        "version": b"10.13.3.9+cuda12",
    }


def images() -> dict[str, bytes]:
    """A small picture file of every kind, those that are compared with Pillow."""
    tests = Path(__file__).resolve().parents[4] / "tests" / "runtime" / "cpp"
    return dict(runpy.run_path(str(tests / "picture_files.py"))["all_files"]())


def main(folder: Path) -> None:
    """Write the folders of seeds."""
    for name, files in (("manifest", manifests()), ("plan", plans()), ("image", images())):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for seed, content in files.items():
            (folder / name / seed).write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
