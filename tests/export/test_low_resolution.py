"""A whole export that leaves the last upsampling to the host: what it says of itself, and its labels everywhere."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from conftest import Outcome
from espnet_edge.errors import InputError
from espnet_edge.export import ExportOptions, export
from espnet_edge.export.batch import parse_batch
from espnet_edge.export.progress import Progress
from espnet_edge.model.deploy import Normalise
from espnet_edge.model.registry import create_model, get_spec
from espnet_edge.model.seeded import load_seeded_weights
from espnet_edge.runtime.answers import segmentation
from espnet_edge.runtime.cli_run import main as run_main
from espnet_edge.runtime.deepstream import write_deepstream_package
from espnet_edge.runtime.images import to_input
from espnet_edge.runtime.manifest import Manifest
from espnet_edge.runtime.runner import open_runner
from pictures import write_scenes
from served import read

SIZE = (63, 96)  # an odd side: half of it is rounded up


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("lowres"))


def exported(out: Path, **options: Any) -> Path:
    batch = parse_batch("1,2,2")
    small: dict[str, Any] = {"size": SIZE, "width_mult": 0.5, "weights": "random", "engine": "none"}
    export(ExportOptions("seg", out, io="lowres", batch=batch, **small, **options), Progress())
    return out / "seg.onnx"


def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3), dtype=np.uint8)


def published_logits() -> NDArray[np.float32]:
    network, spec = create_model("seg", width_mult=0.5), get_spec("seg")
    load_seeded_weights(network)
    with torch.inference_mode():
        logits: NDArray[np.float32] = network.eval()(Normalise(spec.mean, spec.std)(torch.from_numpy(pixels()))).numpy()
    return logits


def test_the_manifest_says_what_is_left(artefact: Path) -> None:
    manifest = read(artefact)
    assert (manifest.io, manifest.postprocessing.kind) == ("lowres", "upsample_argmax")
    assert [(t.name, t.dtype, t.shape) for t in manifest.inputs] == [("image", "uint8", ("batch", *SIZE, 3))]
    assert [(t.name, t.dtype, t.shape) for t in manifest.outputs] == [("logits", "float32", ("batch", 20, 32, 48))]
    assert manifest.image.normalise_in_graph
    assert manifest.parity is not None
    assert manifest.parity.max_abs_error < 1e-5
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "torch"])
def test_labels_are_those_of_the_published_network(runtime: str, artefact: Path) -> None:
    manifest, logits = read(artefact), published_logits()
    with open_runner(artefact, runtime, threads=1) as runner:
        labels = segmentation(runner.infer({"image": to_input(pixels(), manifest)}), manifest)
    top_two = np.sort(logits, axis=1)[:, -2:]
    decided = top_two[:, 1] - top_two[:, 0] > 1e-3
    assert decided.mean() > 0.99
    assert np.array_equal(labels[decided], logits.argmax(axis=1)[decided])


def test_half_precision_is_proven_at_full_size(tmp_path: Path) -> None:
    manifest = read(exported(tmp_path, precision="fp16"))
    assert [(t.dtype, t.shape[1:]) for t in manifest.outputs] == [("float32", (20, 32, 48))]
    assert manifest.parity is not None
    assert manifest.parity.passed
    assert manifest.parity.max_abs_error > 1e-5


def test_espnet_run_paints_it(artefact: Path, command: Any, tmp_path: Path) -> None:
    photo = write_scenes(tmp_path, 1) / "00.png"
    outcome: Outcome = command(
        run_main, "--engine", artefact, photo, "--out", tmp_path, "--allow-random-weights", "--runtime", "onnxruntime"
    )
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "00.labels.png").is_file()


def test_deepstream_is_refused_with_the_way_out(artefact: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"input image is uint8 NHWC; export it with --io deepstream"):
        write_deepstream_package(artefact, read(artefact), tmp_path, name="net")
