"""Small exported networks for tests."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import onnx
from torch import nn

from espnet_edge.export import ExportOptions, export
from espnet_edge.export.batch import Batch
from espnet_edge.export.onnx_from_torch import onnx_from_torch
from espnet_edge.export.progress import Progress
from espnet_edge.export.rewrite import rewritten
from espnet_edge.model.deploy import PIXEL_IO, with_io
from espnet_edge.model.registry import create_model, get_spec
from espnet_edge.model.seeded import load_seeded_weights
from espnet_edge.runtime.manifest import TensorInfo

ONE = Batch()
OUTPUTS = {
    "segmentation": {"raw": ["logits"], "deploy": ["labels"], "lowres": ["logits"]},
    "classification": {"raw": ["logits"], "deploy": ["classes", "scores"]},
}


DETECTION_SIZE = (300, 300)


@cache
def detection_folder() -> Path:
    """A whole export of the detection network for VOC with seeded weights; it is made once, for it takes a while."""
    return _exported_folder(ExportOptions(model="det", dataset="voc", out=_folder(), weights="random", engine="none"))


def detection() -> tuple[nn.Module, onnx.ModelProto]:
    """The reference of `detection_folder`, and a copy of its file."""
    network = create_model("det", num_classes=21)
    load_seeded_weights(network)
    return network, onnx.load(detection_folder() / "det.onnx")


MULTI_LABEL_SIZE = (64, 64)


@cache
def multi_label_folder(io: Any = "deploy") -> Path:
    """A whole export of the multi-label classifier with seeded weights; each is made once."""
    options = ExportOptions(
        model="cls",
        width_mult=0.5,
        dataset="coco",
        size=MULTI_LABEL_SIZE,
        io=io,
        out=_folder(),
        weights="random",
        engine="none",
    )
    return _exported_folder(options)


def multi_label() -> tuple[nn.Module, onnx.ModelProto]:
    """The reference of `multi_label_folder`, and a copy of its file."""
    network = create_model("cls", width_mult=0.5, num_classes=80)
    load_seeded_weights(network)
    return network, onnx.load(multi_label_folder() / "cls.onnx")


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="espnet-edge-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _exported_folder(options: ExportOptions) -> Path:
    export(options, Progress())
    return options.out


def exported(name: str, io: Any, size: tuple[int, int], batch: Batch = ONE) -> tuple[nn.Module, onnx.ModelProto]:
    """The reference with the same inputs and outputs, and a copy of the file; each is made once for all tests."""
    reference, data = _exported(name, io, size, batch)
    return reference, onnx.load_from_string(data)


@cache
def _exported(name: str, io: Any, size: tuple[int, int], batch: Batch) -> tuple[nn.Module, bytes]:
    network = create_model(name, width_mult=0.5)
    load_seeded_weights(network)
    dataset = get_spec(name).default_dataset
    return with_io(network, io, name=name, dataset=dataset), export_again(network, name, io, size, batch)


def export_again(network: nn.Module, name: str, io: Any, size: tuple[int, int], batch: Batch = ONE) -> bytes:
    """The bytes of a new export."""
    shape, dtype = ((*size, 3), "uint8") if io in PIXEL_IO else ((3, *size), "float32")
    image = TensorInfo(name="image", dtype=dtype, shape=(batch.dimension, *shape), layout="", meaning="")
    model = onnx_from_torch(
        with_io(rewritten(network, size), io, name=name, dataset=get_spec(name).default_dataset),
        [image],
        output_names=OUTPUTS[get_spec(name).task][io],
        batch=batch,
        metadata={"task": "a test"},
    )
    return model.SerializeToString(deterministic=True)
