"""Engines to read, not to run: headers as TensorRT and TensorRT-RTX write them, and manifests beside them."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from espnet_edge.runtime.manifest import Manifest, file_info


def tensorrt_plan(*version: int, size: int = 4096, serialisation: int = 0) -> bytes:
    """A header as trtexec reads it: the tag, the serialisation version, the library's version in bytes 24 to 27."""
    head = b"ftrt" + struct.pack("<I", serialisation) + bytes(range(1, 17)) + bytes(version)
    return head + bytes(size - len(head))


def rtx_plan(version: tuple[int, ...], mask: int, size: int = 4096) -> bytes:
    """A header as TensorRT-RTX 1.4 to 1.7 write it."""
    head = b"vtrt" + struct.pack("<IQQ4B4sI", 0, 2, size, *version, b"vtrt", mask)
    return head + bytes(size - len(head))


def one_node() -> onnx.ModelProto:
    slope = numpy_helper.from_array(np.full((8, 1, 1), 0.25, np.float32), "slope")
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 8, 16, 16])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 8, 16, 16])
    graph = helper.make_graph([helper.make_node("PRelu", ["image", "slope"], ["out"])], "g", [image], [out], [slope])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="tests")


def write_manifest(artefact: Path, engine: dict[str, Any] | None, onnx_sha256: str = "0" * 64, **changes: Any) -> None:
    """A valid manifest beside `artefact`; `engine` and `changes` replace fields."""
    tensor = {"dtype": "uint8", "meaning": "for tests"}
    builder = {"builder": "tensorrt", "builder_version": "10.3.0.26", "precision": "fp32", "compute_capabilities": ()}
    fields = {
        "name": "seg",
        "task": "segmentation",
        "network": "espnetv2_seg",
        "width_mult": 2.0,
        "dataset": "cityscapes",
        "num_classes": 20,
        "classes": [],
        "io": "deploy",
        "precision": "fp32",
        "inputs": [{**tensor, "name": "image", "shape": (1, 8, 16, 3), "layout": "NHWC"}],
        "outputs": [{**tensor, "name": "labels", "shape": (1, 8, 16), "layout": "NHW"}],
        "preprocessing": {
            "resize": "stretch",
            "height": 8,
            "width": 16,
            "scale": 1 / 255,
            "mean": (0.5, 0.5, 0.5),
            "std": (0.2, 0.2, 0.2),
            "normalise_in_graph": True,
        },
        "postprocessing": {"kind": "labels"},
        "macs": {"conv": 0, "linear": 0},
        "params": 0,
        "weights": {"source": "none", "sha256": None, "random": True},
        "onnx": {"sha256": onnx_sha256, "opset": 17, "ir_version": 8},
        "file": file_info(artefact).model_dump(),
        "engine": None if engine is None else {**builder, "device": None, "profile": None, **engine},
    }
    Manifest.model_validate({**fields, **changes}).write(artefact)
