"""Networks of a few nodes whose answers can be told by hand, as ONNX files with their manifests; photos for them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from espnet_edge.files import sha256_of
from espnet_edge.runtime.manifest import Manifest, file_info, manifest_path

HEIGHT, WIDTH = 8, 16
RED, GREEN, BLUE = (250, 10, 20), (10, 240, 20), (10, 20, 230)
VOCABULARY = "the\nlighthouse\n<unk>\n<eos>\nstands\n,\n"


def segmentation(folder: Path, batch: int = 1, **changes: Any) -> Path:
    """A network whose class is the strongest colour of each pixel, as uint8 in and labels out."""
    path = folder / "seg.onnx"
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ArgMax", ["real"], ["class"], axis=3, keepdims=0),
        helper.make_node("Cast", ["class"], ["labels"], to=TensorProto.UINT8),
    ]
    given = ("image", TensorProto.UINT8, (batch, HEIGHT, WIDTH, 3))
    gives = ("labels", TensorProto.UINT8, (batch, HEIGHT, WIDTH))
    save_onnx(path, nodes, [given], [gives])
    names = (("red thing", RED), ("green thing", GREEN), ("blue thing", BLUE))
    fields = {
        "task": "segmentation",
        "io": "deploy",
        "postprocessing": "labels",
        "inputs": [{"name": "image", "dtype": "uint8", "shape": given[2], "layout": "NHWC", "meaning": "photo"}],
        "outputs": [{"name": "labels", "dtype": "uint8", "shape": gives[2], "layout": "NHW", "meaning": "classes"}],
        "classes": [{"name": name, "colour": colour} for name, colour in names],
    }
    write_manifest(path, **{**fields, **changes})
    return path


def classifier(folder: Path) -> Path:
    """A network whose three logits are the mean of each colour, float32 in and logits out."""
    path = folder / "cls.onnx"
    given, gives = ("image", TensorProto.FLOAT, (1, 3, HEIGHT, WIDTH)), ("logits", TensorProto.FLOAT, (1, 3))
    save_onnx(path, _means(), [given], [gives])
    write_manifest(
        path,
        task="classification",
        io="raw",
        postprocessing="softmax_top5",
        inputs=[{"name": "image", "dtype": "float32", "shape": given[2], "layout": "NCHW", "meaning": "photo"}],
        outputs=[{"name": "logits", "dtype": "float32", "shape": gives[2], "layout": "NC", "meaning": "logits"}],
    )
    return path


def multi_label(folder: Path, name: str = "logits", threshold: float = 0.5) -> Path:
    """The network of `classifier` for pictures of several classes: logits out, or their sigmoids as `scores`."""
    path = folder / "cls.onnx"
    answer = [] if name == "logits" else [helper.make_node("Sigmoid", ["logits"], ["scores"])]
    given, gives = ("image", TensorProto.FLOAT, (1, 3, HEIGHT, WIDTH)), (name, TensorProto.FLOAT, (1, 3))
    save_onnx(path, [*_means(), *answer], [given], [gives])
    kind = "sigmoid_threshold" if name == "logits" else "threshold"
    write_manifest(
        path,
        task="multi_label",
        io="raw",
        postprocessing=kind,
        score_threshold=threshold,
        inputs=[{"name": "image", "dtype": "float32", "shape": given[2], "layout": "NCHW", "meaning": "photo"}],
        outputs=[{"name": name, "dtype": "float32", "shape": gives[2], "layout": "NC", "meaning": name}],
        classes=[{"name": name} for name in ("red thing", "green thing", "blue thing")],
    )
    return path


def detector(folder: Path) -> Path:
    """A network that finds a green thing in the left upper quarter, surely, and a blue one in the middle, less so."""
    path = folder / "det.onnx"
    boxes = np.array([[0, 0, 8, 4], [0, 0, 8, 3.9], [4, 2, 12, 6], [0, 0, 1, 1]], np.float32)
    scores = np.array([[0.05, 0.95, 0], [0.2, 0.8, 0], [0.5, 0, 0.5], [0.9, 0.1, 0]], np.float32)
    tensors = [numpy_helper.from_array(array[np.newaxis], name) for name, array in (("b", boxes), ("s", scores))]
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["real"], ["largest"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Sub", ["largest", "largest"], ["nothing"]),
        helper.make_node("Add", ["b", "nothing"], ["boxes"]),
        helper.make_node("Add", ["s", "nothing"], ["scores"]),
    ]
    shapes = {"boxes": (1, 4, 4), "scores": (1, 4, 3)}
    given = ("image", TensorProto.UINT8, (1, HEIGHT, WIDTH, 3))
    save_onnx(path, nodes, [given], [(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()], tensors)
    write_manifest(
        path,
        task="detection",
        io="deploy",
        postprocessing="nms",
        inputs=[{"name": "image", "dtype": "uint8", "shape": given[2], "layout": "NHWC", "meaning": ""}],
        outputs=[
            {"name": name, "dtype": "float32", "shape": shape, "layout": "NP", "meaning": ""}
            for name, shape in shapes.items()
        ],
        classes=[{"name": name} for name in ("background", "green thing", "blue thing")],
    )
    manifest = json.loads(manifest_path(path).read_text())
    manifest["postprocessing"].update(score_threshold=0.3, iou_threshold=0.45, max_per_class=200)
    manifest_path(path).write_text(json.dumps(manifest))
    return path


def language_model(folder: Path) -> Path:
    """A network that prefers some word after each word, less and less the words that it has just said."""
    path, vocabulary = folder / "lm.onnx", folder / "lm.vocabulary.txt"
    vocabulary.write_text(VOCABULARY)
    words = len(VOCABULARY.splitlines())
    table = np.random.default_rng(0).normal(0, 3, (words, words)).astype(np.float32)
    tensors = [numpy_helper.from_array(array, name) for name, array in (("t", table), ("w", np.float32(-0.5)))]
    nodes = [
        helper.make_node("Gather", ["t", "token"], ["row"], axis=0),
        helper.make_node("Mul", ["memory", "w"], ["tired"]),
        helper.make_node("Add", ["row", "tired"], ["logits"]),
        helper.make_node("Identity", ["row"], ["memory_out"]),
    ]
    state = (TensorProto.FLOAT, (1, words))
    outputs = [("logits", *state), ("memory_out", *state)]
    save_onnx(path, nodes, [("token", TensorProto.INT64, (1,)), ("memory", *state)], outputs, tensors)
    token = {"name": "token", "dtype": "int64", "shape": (1,), "layout": "N", "meaning": "word"}
    tensor = {"dtype": "float32", "shape": (1, words), "layout": "NC", "meaning": ""}
    write_manifest(
        path,
        task="language_modelling",
        io="raw",
        postprocessing="next_word",
        num_classes=words,
        inputs=[token, {"name": "memory", **tensor}],
        outputs=[{"name": "logits", **tensor}, {"name": "memory_out", **tensor}],
        preprocessing=None,
        states=[{"input": "memory", "output": "memory_out"}],
        vocabulary=file_info(vocabulary).model_dump(),
    )
    return path


def photo(
    path: Path, *, height: int = 20, width: int = 64, left: tuple[int, ...] = RED, right: tuple[int, ...] = BLUE
) -> Path:
    """A photo whose left quarter has one colour and the rest another."""
    colours = np.empty((height, width, 3), np.uint8)
    colours[:, : width // 4], colours[:, width // 4 :] = left, right
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(colours).save(path)
    return path


def save_onnx(path: Path, nodes: Any, inputs: Any, outputs: Any, tensors: Any = ()) -> None:
    """Write a checked model; inputs and outputs are (name, type, shape)."""
    described = [[helper.make_tensor_value_info(*value) for value in values] for values in (inputs, outputs)]
    model = helper.make_model(
        helper.make_graph(nodes, "g", *described, tensors),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def write_manifest(
    path: Path, *, task: str, io: str, postprocessing: str, score_threshold: float | None = None, **changes: Any
) -> None:
    """Write the manifest of the file `path`."""
    sha256 = sha256_of(path)
    Manifest.model_validate(
        {
            "name": path.stem,
            "task": task,
            "network": "tiny",
            "width_mult": 1.0,
            "dataset": "custom",
            "num_classes": 3,
            "classes": [],
            "io": io,
            "precision": "fp32",
            "preprocessing": {
                "resize": "stretch",
                "height": HEIGHT,
                "width": WIDTH,
                "scale": 1 / 255,
                "mean": (0.5, 0.5, 0.5),
                "std": (0.25, 0.25, 0.25),
                "normalise_in_graph": io == "deploy",
            },
            "postprocessing": {"kind": postprocessing, "score_threshold": score_threshold},
            "macs": {"conv": 0, "linear": 0},
            "params": 0,
            "weights": {"source": "none", "sha256": None, "random": False},
            "onnx": {"sha256": sha256, "opset": 17, "ir_version": 8},
            "file": file_info(path).model_dump(),
            **changes,
        }
    ).write(path)


def _means() -> list[onnx.NodeProto]:
    return [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["logits"], axis=1),
    ]
