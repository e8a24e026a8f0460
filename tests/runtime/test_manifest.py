import json
import os

import pytest

from espnet_edge.errors import CheckError, InputError
from espnet_edge.runtime.manifest import file_info, load_manifest, manifest_path, read_manifest

IMAGE = {"name": "image", "dtype": "uint8", "shape": (1, 8, 16, 3), "layout": "NHWC", "meaning": ""}


@pytest.fixture
def artefact(conv_artefact):
    return conv_artefact()


def change(artefact, **fields):
    path = manifest_path(artefact)
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_manifest_comes_back_as_written(artefact):
    manifest = load_manifest(artefact)
    assert manifest.inputs[0].shape == (1, 8, 16, 3)
    assert manifest.file == file_info(artefact)
    manifest.write(artefact)
    assert load_manifest(artefact) == manifest


def test_path_keeps_the_whole_name(tmp_path):
    assert manifest_path(tmp_path / "seg.onnx").name == "seg.onnx.json"


ENGINE = {"builder": "tensorrt", "builder_version": "10.3.0", "precision": "fp32", "device": None, "profile": None}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"inputs": [{**IMAGE, "layout": "XXXXXXXXXXN"}]}, "its batch beyond the 4 dimensions"),
        ({"inputs": [{**IMAGE, "shape": (), "layout": ""}]}, "input image has no dimensions"),
        *(
            ({"vocabulary": {"name": name, "sha256": "", "bytes": 0}}, "not the name of a file beside it")
            for name in ("", ".", "..", "../words.txt", "/etc/passwd", "a\\b", "a\0b")
        ),
        ({"engine": {**ENGINE, "compute_capabilities": ["$(touch x)"]}}, "compute_capabilities.0"),
        ({"engine": {**ENGINE, "compute_capabilities": ["8.6\n"]}}, "compute_capabilities.0"),
        ({"engine": {**ENGINE, "compute_capabilities": [], "compatible": ["version; touch x #"]}}, "compatible.0"),
    ],
)
def test_what_would_lead_astray_is_no_manifest(artefact, fields, problem):
    """Numbers that index other numbers, names that become paths, words that become parts of commands."""
    change(artefact, **fields)
    with pytest.raises(CheckError, match="not a manifest, ") as caught:
        load_manifest(artefact)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_manifest(tmp_path / "none.onnx")
    with pytest.raises(InputError, match="no such file"):
        load_manifest(tmp_path, trust=True)


def test_no_manifest(artefact):
    manifest_path(artefact).unlink()
    with pytest.raises(CheckError, match=r"no manifest conv\.onnx\.json.*--trust"):
        load_manifest(artefact)
    assert load_manifest(artefact, trust=True) is None


def test_another_file_than_described(artefact):
    described = load_manifest(artefact)
    data = bytearray(artefact.read_bytes())
    data[-1] ^= 1
    artefact.write_bytes(data)
    with pytest.raises(CheckError, match=f"manifest says {described.file.sha256[:16]}.*--trust"):
        load_manifest(artefact)
    assert load_manifest(artefact, trust=True) == described


@pytest.mark.parametrize("content", [b"", b"not JSON", b"[]", b'{"schema_version": 1}', b"\xff\xfe", b"{" * 100_000])
@pytest.mark.parametrize("trust", [False, True])
def test_not_a_manifest(artefact, content, trust):
    manifest_path(artefact).write_bytes(content)
    with pytest.raises(CheckError, match="not a manifest"):
        load_manifest(artefact, trust=trust)


def test_a_missing_field_is_named(artefact):
    fields = json.loads(manifest_path(artefact).read_text())
    del fields["preprocessing"]["mean"]
    manifest_path(artefact).write_text(json.dumps(fields))
    with pytest.raises(CheckError, match=r"preprocessing\.mean: Field required"):
        read_manifest(artefact)


def test_a_wrong_type_is_named(artefact):
    change(artefact, num_classes="many")
    with pytest.raises(CheckError, match="num_classes"):
        read_manifest(artefact)


def test_a_newer_schema(artefact):
    change(artefact, schema_version=2)
    with pytest.raises(CheckError, match="schema version 2, this program reads 1"):
        load_manifest(artefact)


def test_unknown_fields_are_let_through(artefact):
    change(artefact, colour_space="sRGB")
    assert load_manifest(artefact).name == "conv"


def test_an_oversized_manifest_is_not_read(artefact):
    os.truncate(manifest_path(artefact), (4 << 20) + 1)
    with pytest.raises(CheckError, match="4194305 bytes"):
        load_manifest(artefact)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("preprocessing", "height"), 0),
        (("preprocessing", "height"), -5),
        (("preprocessing", "width"), 10**9),
        (("preprocessing", "height"), 9),
        (("preprocessing", "scale"), 0),
        (("preprocessing", "std"), [0, 1, 1]),
        (("num_classes",), 0),
        (("postprocessing", "score_threshold"), 30),
        (("postprocessing", "iou_threshold"), -0.1),
        (("postprocessing", "max_per_class"), 0),
        (("classes",), [{"name": "road", "colour": [300, -1, 0]}]),
        (("inputs",), []),
    ],
)
def test_values_that_no_export_writes(artefact, where, value):
    content = json.loads(manifest_path(artefact).read_text())
    inner = content
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    manifest_path(artefact).write_text(json.dumps(content))
    with pytest.raises(CheckError, match="not a manifest, "):
        load_manifest(artefact)


@pytest.mark.parametrize(
    ("task", "postprocessing", "problem"),
    [
        ("multi_label", {"kind": "top5"}, "'top5' is not for multi_label, which has threshold, sigmoid_threshold"),
        ("classification", {"kind": "threshold", "score_threshold": 0.5}, "'threshold' is not for classification"),
        ("segmentation", {"kind": "nms"}, "'nms' is not for segmentation, which has labels, argmax"),
        ("detection", {"kind": "sigmoid_threshold", "score_threshold": 0.5}, "which has nms, decode_nms"),
        ("multi_label", {"kind": "threshold"}, "'threshold' needs a score_threshold, and there is none"),
        ("multi_label", {"kind": "sigmoid_threshold", "score_threshold": 1.5}, "less than or equal to 1"),
        ("multi_label", {"kind": "threshold", "score_threshold": -0.1}, "greater than or equal to 0"),
        ("multi_label", {"kind": "threshold", "score_threshold": "high"}, "score_threshold"),
        ("multi-label", {"kind": "threshold", "score_threshold": 0.5}, "task"),
    ],
)
def test_an_answer_that_does_not_fit_the_task(artefact, task, postprocessing, problem):
    change(artefact, task=task, postprocessing=postprocessing)
    with pytest.raises(CheckError, match=f"not a manifest, .*{problem}"):
        load_manifest(artefact)


@pytest.mark.parametrize("kind", ["threshold", "sigmoid_threshold"])
def test_multi_label_says_its_threshold(artefact, kind):
    change(artefact, task="multi_label", postprocessing={"kind": kind, "score_threshold": 0.25})
    rule = load_manifest(artefact).postprocessing
    assert (rule.kind, rule.score_threshold) == (kind, 0.25)
