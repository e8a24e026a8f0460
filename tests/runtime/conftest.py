"""Small real ONNX artefacts with their manifests."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from espnet_edge.files import sha256_of
from espnet_edge.runtime.manifest import Manifest, file_info
from fake_cuda import FakeCuda

OPSET, IR_VERSION = 17, 8
HEIGHT, WIDTH = 8, 16
ONNX_TYPES = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8, "int64": TensorProto.INT64}

Tensor = dict[str, Any]


def tensor(name: str, dtype: str, shape: Sequence[int | str], layout: str = "NCHW") -> Tensor:
    return {"name": name, "dtype": dtype, "shape": tuple(shape), "layout": layout, "meaning": "for tests"}


def manifest_of(path: Path, inputs: Sequence[Tensor], outputs: Sequence[Tensor], /, **changes: Any) -> Manifest:
    """A valid manifest of `path`; `changes` replace fields."""
    fields = {
        "name": path.stem,
        "task": "segmentation",
        "network": "tiny",
        "width_mult": 1.0,
        "dataset": "custom",
        "num_classes": 4,
        "classes": [],
        "io": "deploy",
        "precision": "fp32",
        "inputs": inputs,
        "outputs": outputs,
        "preprocessing": {
            "resize": "stretch",
            "height": HEIGHT,
            "width": WIDTH,
            "scale": 1 / 255,
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "normalise_in_graph": True,
        },
        "postprocessing": {"kind": "labels"},
        "macs": {"conv": 0, "linear": 0},
        "params": 0,
        "weights": {"source": "none", "sha256": None, "random": True},
        "onnx": {"sha256": sha256_of(path), "opset": OPSET, "ir_version": IR_VERSION},
        "file": file_info(path).model_dump(),
    }
    return Manifest.model_validate({**fields, **changes})


def save_onnx(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    weights: dict[str, np.ndarray] | None = None,
) -> None:
    def value_info(described: Tensor) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(described["name"], ONNX_TYPES[described["dtype"]], described["shape"])

    initializers = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(
        nodes, "g", [value_info(t) for t in inputs], [value_info(t) for t in outputs], initializer=initializers
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


@pytest.fixture
def write_artefact() -> Callable[..., Path]:
    """write_artefact(path, nodes, inputs, outputs, weights=None, **manifest fields) -> path, with its manifest."""

    def write(path, nodes, inputs, outputs, weights=None, /, **changes):
        save_onnx(path, nodes, inputs, outputs, weights)
        manifest_of(path, inputs, outputs, **changes).write(path)
        return path

    return write


@pytest.fixture(scope="session")
def conv_weights() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "w1": generator.standard_normal((6, 3, 3, 3)).astype(np.float32) / 128,
        "b1": generator.standard_normal(6).astype(np.float32),
        "w2": generator.standard_normal((4, 6, 1, 1)).astype(np.float32),
    }


@pytest.fixture
def conv_artefact(write_artefact, conv_weights, tmp_path) -> Callable[..., Path]:
    """A network of two convolutions: uint8 pixels (N, 8, 16, 3) in, labels and logits out."""

    def build(batch: int | str = 1, name: str = "conv.onnx", **changes: Any) -> Path:
        nodes = [
            helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Transpose", ["real"], ["planes"], perm=[0, 3, 1, 2]),
            helper.make_node("Conv", ["planes", "w1", "b1"], ["hidden"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["hidden"], ["positive"]),
            helper.make_node("Conv", ["positive", "w2"], ["logits"]),
            helper.make_node("ArgMax", ["logits"], ["class"], axis=1, keepdims=0),
            helper.make_node("Cast", ["class"], ["labels"], to=TensorProto.UINT8),
        ]
        inputs = [tensor("image", "uint8", (batch, HEIGHT, WIDTH, 3), "NHWC")]
        outputs = [
            tensor("labels", "uint8", (batch, HEIGHT, WIDTH), "NHW"),
            tensor("logits", "float32", (batch, 4, HEIGHT, WIDTH)),
        ]
        return write_artefact(tmp_path / name, nodes, inputs, outputs, conv_weights, **changes)

    return build


@pytest.fixture
def cuda() -> Iterator[FakeCuda]:
    """A GPU that must be as it was at the end of every test."""
    gpu = FakeCuda()
    yield gpu
    gpu.assert_clean()


@pytest.fixture
def pixels() -> Callable[..., np.ndarray]:
    def make(batch: int = 1, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (batch, HEIGHT, WIDTH, 3), dtype=np.uint8)

    return make
