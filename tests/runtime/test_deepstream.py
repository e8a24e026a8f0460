"""The nvinfer configuration, read back as a key file and held against the documented keys."""

import configparser
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from espnet_edge.errors import CheckError, InputError
from espnet_edge.files import sha256_of
from espnet_edge.runtime.cli_package import main
from espnet_edge.runtime.deepstream import write_deepstream_package
from espnet_edge.runtime.images import to_input
from nvinfer_keys import PROPERTY
from served import CLASSES, HEIGHT, NAMES, PROFILE, WIDTH, engine, read, write


def settings(config: Path) -> dict[str, str]:
    parser = configparser.ConfigParser(delimiters=("=",), comment_prefixes=("#",), interpolation=None)
    parser.read_string(config.read_text())
    assert parser.sections() == ["property"]
    found = dict(parser["property"])
    for key, text in found.items():
        assert PROPERTY[key](text), f"{key}={text}"
    for key in ("onnx-file", "labelfile-path"):
        assert key not in found or (config.parent / found[key]).is_file()
    return found


@pytest.fixture
def package(tmp_path):
    """package(artefact, **options) -> (configuration, its text)"""

    def write_package(artefact: Path, **options: Any) -> tuple[dict[str, str], str]:
        fields = {"name": "street", "labels": NAMES, **options}
        written = write_deepstream_package(artefact, read(artefact), tmp_path / "out", **fields)
        assert written.config == tmp_path / "out" / "street" / "street.nvinfer.txt"
        return settings(written.config), written.config.read_text()

    return write_package


def test_segmentation(package, tmp_path):
    artefact = write(tmp_path / "seg.onnx", "segmentation deepstream")
    found, text = package(artefact)
    model = f"street.{sha256_of(artefact)[:12]}.onnx"
    assert found == {
        "gie-unique-id": "1",
        "process-mode": "1",
        "onnx-file": model,
        "model-engine-file": f"{model}_b1_gpu0_fp32.engine",
        "network-mode": "0",
        "batch-size": "1",
        "infer-dims": f"3;{HEIGHT};{WIDTH}",
        "network-input-order": "0",
        "model-color-format": "0",
        "net-scale-factor": "1.0",
        "offsets": "0.0;0.0;0.0",
        "maintain-aspect-ratio": "0",
        "scaling-filter": "1",
        "network-type": "2",
        "output-blob-names": "probabilities",
        "num-detected-classes": str(CLASSES),
        "segmentation-threshold": "0.0",
        "segmentation-output-order": "0",
        "labelfile-path": "street.labels.txt",
    }
    assert "NvDsInferSegmentationMeta" in text
    assert "whole frame" not in text
    folder = tmp_path / "out" / "street"
    assert (folder / model).read_bytes() == artefact.read_bytes()
    assert read(folder / model).file.sha256 == sha256_of(artefact)
    assert (folder / "street.labels.txt").read_text().splitlines()[3:] == ["Straße, 2 lines", "last"]


def test_classification(package, tmp_path):
    found, text = package(write(tmp_path / "cls.onnx", "classification deepstream", "batch"), max_batch=8)
    assert (found["network-type"], found["classifier-threshold"]) == ("1", "0.0")
    assert (found["batch-size"], found["output-blob-names"]) == ("8", "probabilities")
    # One line is one attribute, and ";" stands between its classes.
    lines = (tmp_path / "out" / "street" / found["labelfile-path"]).read_text().splitlines()
    assert [line.split(";") for line in lines] == [
        ["road", 'a "quoted" name', "back\\slash", "Straße, 2 lines", "last"]
    ]
    assert f"stretches the whole frame to {HEIGHT}x{WIDTH}" in text


def test_detection_is_left_to_the_application(package, tmp_path):
    found, text = package(write(tmp_path / "det.onnx", "detection deepstream"))
    assert (found["network-type"], found["output-tensor-meta"]) == ("100", "1")
    assert found["output-blob-names"] == "boxes;scores"
    assert "labelfile-path" not in found
    assert f"boxes float32 (10, 4), for tests; scores float32 (10, {CLASSES}), for tests" in text
    assert "above 0.3" in text
    assert "more than 0.45" in text
    assert "200 at most" in text


def test_several_labels_are_left_to_the_application(package, tmp_path):
    found, text = package(write(tmp_path / "x.onnx", "multi_label deepstream"))
    assert (found["network-type"], found["output-blob-names"]) == ("100", "scores")
    assert "every class whose score is above 0.5" in text


def test_an_engine(package, tmp_path):
    artefact = write(
        tmp_path / "seg.trt", "segmentation deepstream", "batch", engine=engine(profile=PROFILE), precision="int8"
    )
    found, text = package(artefact)
    assert "onnx-file" not in found
    assert (tmp_path / "out" / "street" / found["model-engine-file"]).read_bytes() == artefact.read_bytes()
    assert (found["batch-size"], found["network-mode"]) == ("16", "1")
    assert "tensorrt 10.3.0, 8.7" in text
    found, _ = package(write(tmp_path / "two.trt", "segmentation deepstream", 2, engine=engine()))
    assert found["batch-size"] == "2"


@pytest.mark.parametrize(("precision", "mode", "built"), [("fp16", "2", "fp16"), ("int8", "0", "fp32")])
def test_typed_files(package, tmp_path, precision, mode, built):
    found, text = package(write(tmp_path / "seg.onnx", "segmentation deepstream", precision=precision))
    assert (found["network-mode"], found["strongly-typed"]) == (mode, "1")
    assert found["model-engine-file"].endswith(f"_gpu0_{built}.engine")
    assert "DeepStream 9" in text


def test_another_export_gets_another_file_so_that_no_old_engine_is_loaded(package, tmp_path):
    first, _ = package(write(tmp_path / "seg.onnx", "segmentation deepstream"))
    second, _ = package(write(tmp_path / "seg.onnx", "classification deepstream"))
    assert first["model-engine-file"] != second["model-engine-file"]
    assert (tmp_path / "out" / "street" / first["onnx-file"]).is_file()


def test_one_factor_is_what_the_manifest_says(package, tmp_path):
    rule = {"resize": "stretch", "height": HEIGHT, "width": WIDTH, "normalise_in_graph": False}
    numbers = {"scale": 1 / 255, "mean": (0.5, 0.4, 0.3), "std": (0.25, 0.25, 0.25)}
    artefact = write(tmp_path / "seg.onnx", "segmentation deepstream", preprocessing={**rule, **numbers})
    found, _ = package(artefact)
    pixels = np.random.default_rng(0).integers(0, 256, (1, HEIGHT, WIDTH, 3), dtype=np.uint8)
    offsets = np.array([float(part) for part in found["offsets"].split(";")]).reshape(1, 3, 1, 1)
    fed = float(found["net-scale-factor"]) * (pixels.transpose(0, 3, 1, 2) - offsets)
    np.testing.assert_allclose(fed, to_input(pixels, read(artefact)), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "batch", "changes", "words"),
    [
        ("segmentation deploy", 1, {}, r"image is uint8 NHWC; export it with --io deepstream"),
        ("segmentation raw", 1, {}, r"\(0\.229, 0\.224, 0\.225\); export it with --io deepstream"),
        ("classification raw", 1, {}, "--io deepstream"),
        ("language_modelling deploy", 1, {}, "use --format triton"),
        ("segmentation deepstream", 4, {}, "in this one it is 4; export it with --batch 1, or"),
        ("segmentation deepstream", "batch", {}, "give --max-batch N"),
    ],
)
def test_what_nvinfer_cannot_do(tmp_path, kind, batch, changes, words):
    artefact = write(tmp_path / "x.onnx", kind, batch, **changes)
    with pytest.raises(InputError, match=words):
        write_deepstream_package(artefact, read(artefact), tmp_path / "out", name="x")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["segmentation raw", "classification raw", "multi_label raw"])
def test_logits_are_refused_also_where_one_factor_would_do(tmp_path, kind):
    rule = {"resize": "stretch", "height": HEIGHT, "width": WIDTH, "normalise_in_graph": False}
    numbers = {"scale": 1 / 255, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    artefact = write(tmp_path / "x.onnx", kind, preprocessing={**rule, **numbers})
    with pytest.raises(InputError, match=r"logits.*--io deepstream"):
        write_deepstream_package(artefact, read(artefact), tmp_path / "out", name="x")


def test_a_manifest_from_elsewhere_adds_no_setting(package, tmp_path):
    evil = "x\n[property]\ncustom-lib-path=/tmp/evil.so\n"
    _, text = package(write(tmp_path / "x.onnx", "multi_label deepstream", network=evil, dataset=f"\r{evil}"))
    assert all(line.startswith("#") for line in text.splitlines() if "evil" in line)
    artefact = write(tmp_path / "x.onnx", "multi_label deepstream")
    outputs = [{**read(artefact).outputs[0].model_dump(), "name": evil}]
    with pytest.raises(CheckError, match="not a name that nvinfer can read"):
        package(write(tmp_path / "x.onnx", "multi_label deepstream", outputs=outputs))


def test_too_many_at_once(tmp_path):
    artefact = write(tmp_path / "x.onnx", "segmentation deepstream", "batch")
    with pytest.raises(InputError, match="1024 at most"):
        write_deepstream_package(artefact, read(artefact), tmp_path / "out", name="x", max_batch=1025)


def test_a_configuration_that_somebody_changed_stays(package, tmp_path):
    artefact = write(tmp_path / "seg.onnx", "segmentation deepstream")
    package(artefact)
    config = tmp_path / "out" / "street" / "street.nvinfer.txt"
    config.write_text(config.read_text().replace("gie-unique-id=1", "gie-unique-id=3"))
    with pytest.raises(InputError, match="--overwrite"):
        package(artefact)
    assert settings(config)["gie-unique-id"] == "3"
    assert package(artefact, overwrite=True)[0]["gie-unique-id"] == "1"


def test_a_file_that_changes_on_the_way_leaves_nothing(tmp_path):
    artefact = write(tmp_path / "seg.onnx", "segmentation deepstream")
    manifest = read(artefact)
    artefact.write_bytes(b"another")
    with pytest.raises(CheckError, match="was changed or replaced"):
        write_deepstream_package(artefact, manifest, tmp_path / "out", name="seg")
    assert not (tmp_path / "out" / "seg").exists()


def test_the_command(command, tmp_path):
    artefact = write(tmp_path / "seg.onnx", "segmentation deepstream")
    summary = tmp_path / "summary.json"
    arguments = ("--engine", artefact, "--format", "deepstream", "--out", tmp_path / "out")
    outcome = command(main, *arguments, "--json", summary)
    assert outcome.code == 0
    assert f"config-file-path={tmp_path / 'out' / 'seg' / 'seg.nvinfer.txt'}" in outcome.out
    assert "nvsegvisual" in outcome.err
    written = json.loads(summary.read_text())
    assert written["config"] == str(tmp_path / "out" / "seg" / "seg.nvinfer.txt")
    assert all(Path(file).is_file() for file in written["files"])
    for option, value in (("--version", "2"), ("--device", "gpu"), ("--instances", "2")):
        refused = command(main, *arguments, option, value)
        assert (refused.code, "is for --format triton" in refused.last_line) == (2, True)
    refused = command(main, "--engine", write(tmp_path / "d.onnx", "segmentation deploy"), *arguments[2:])
    assert refused.code == 2
    assert refused.last_line.endswith("export it with --io deepstream")
