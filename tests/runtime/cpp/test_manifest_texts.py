"""The C++ library says of manifests, artefacts and engines what the Python package says, to the letter."""

import copy
import json
import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from espnet_edge.errors import CheckError, InputError, one_line
from espnet_edge.files import sha256_of
from espnet_edge.runtime.compatibility import EngineMachine
from espnet_edge.runtime.cuda_probe import CudaProbe
from espnet_edge.runtime.doctor import engine_problem
from espnet_edge.runtime.manifest import Manifest, load_manifest, manifest_path
from espnet_edge.runtime.plan import parse_version, read_file_facts
from espnet_edge.runtime.probes import library
from plans import one_node, rtx_plan, tensorrt_plan, write_manifest

# A command is told to pass an option, a program to open the file with trust.
TRUST = (
    (
        "or pass --trust if you know where the file is from",
        "or open it with trust if you know where the file is from",
    ),
    ("or pass --trust if you know where it is from", "or open it with trust if you know where it is from"),
)
# A package to install would not help a program.
LIBRARIES = (
    (
        library("tensorrt").way_out,
        "on a Jetson it comes with JetPack; elsewhere install TensorRT with its headers; then build this library again",
    ),
    (
        library("tensorrt-rtx").way_out,
        "run it with espnet-run, pip install 'espnet-edge[rtx]', or build an engine of TensorRT",
    ),
)

Run = Callable[..., tuple[int, str]]
Answer = tuple[int, str | None]  # exit code, and text where it is not 0


@pytest.fixture
def text_of(cpp_build: Path) -> Run:
    """text_of("artefact", file) -> exit code and what the program printed."""
    program = cpp_build / "tests" / "espnet_text_of"
    if not program.exists():
        pytest.skip(f"{program} is not built (ESPNET_BUILD_TESTS)")

    def run(*arguments: object) -> tuple[int, str]:
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, check=False, timeout=60)
        assert not done.stderr, done.stderr.decode(errors="replace")
        return done.returncode, done.stdout.decode()

    return run


def in_python(artefact: Path, *, trust: bool) -> Answer:
    try:
        load_manifest(artefact, trust=trust)
    except (CheckError, InputError) as error:
        text = one_line(error)  # as a command prints it
        for ours, theirs in TRUST:
            text = text.replace(ours, theirs)
        return (4 if isinstance(error, CheckError) else 2), text
    return 0, None


def in_cpp(text_of: Run, artefact: Path, *, trust: bool) -> Answer:
    code, text = text_of("artefact", artefact, *(["--trust"] if trust else []))
    return code, text if code else None


def assert_same(text_of: Run, artefact: Path, *, trust: bool = False) -> Answer:
    expected = in_python(artefact, trust=trust)
    assert in_cpp(text_of, artefact, trust=trust) == expected
    return expected


GONE = object()
ENGINE = {
    "builder": "tensorrt",
    "builder_version": "10.3.0.26",
    "precision": "fp16",
    "compute_capabilities": ["8.7"],
    "device": "Orin",
    "profile": {"minimum": 1, "optimum": 4, "maximum": 8},
}
PARITY = {
    "passed": True,
    "max_abs_error": 1e-5,
    "max_abs_error_tolerance": None,
    "label_agreement": 1.0,
    "label_agreement_tolerance": 0.999,
    "cases": 5,
    "report": "conv.parity.json",
}
SHARES = {
    "int8_convolutions": 1,
    "convolutions": 2,
    "int8_macs_share": 0.5,
    "kept_blocks": ["a"],
    "calibration_pictures": 3,
}
WORDS = {"name": "words.txt", "sha256": "", "bytes": 0}
TOKEN = {"name": "token", "dtype": "int64", "shape": [1], "layout": "N", "meaning": ""}
LOGITS = {"name": "logits", "dtype": "float32", "shape": [1, 9], "layout": "NC", "meaning": ""}
HIDDEN = {"name": "h", "dtype": "float32", "shape": [2, "batch", 8], "layout": "LNU", "meaning": ""}
LM = {"task": "language_modelling", "preprocessing": None, "postprocessing": {"kind": "next_word"}}

# What is changed in a good manifest: paths of fields, and their values.
CHANGES: list[dict[str, Any]] = [
    {},
    *({name: GONE} for name in Manifest.model_fields),
    *({name: None} for name in Manifest.model_fields),
    *({name: 5} for name in Manifest.model_fields),
    *({name: "x"} for name in Manifest.model_fields if name not in {"name", "network", "dataset"}),
    *({name: []} for name in Manifest.model_fields),
    *({name: {}} for name in Manifest.model_fields),
    {"colour_space": "sRGB", "preprocessing.extra": [[[]]]},
    # Names in messages, whatever they hold.
    *(
        {"file.name": f"{name}/x"}
        for name in ("a\x1b[2J", "a\n\u202e\u00a0", "'\"\\\0", "\u00e9\u2028\u0085\U000e0001")
    ),
    *(
        {"inputs.0.name": name, "inputs.0.shape": []}
        for name in ("\x1b[2J\u200b", "a \n\t\u2003b\ufeff", "\U0001f6e3\0")
    ),
    {"schema_version": 2},
    {"schema_version": 0},
    {"num_classes": 0},
    {"num_classes": -1},
    {"num_classes": 65_537},
    {"num_classes": 10**30},
    {"num_classes": -(10**30)},
    {"num_classes": 5.5},
    {"num_classes": 5.0},
    {"num_classes": 2**63},
    {"width_mult": 1},
    {"width_mult": "wide"},
    {"params": 2**63 - 1},
    {"params": 1e20},
    {"macs.conv": 1.5},
    {"macs.linear": GONE},
    {"classes": [5]},
    {"classes": [{"name": "road", "colour": None}, {}]},
    *(
        {"classes": [{"name": "road", "colour": colour}]}
        for colour in ([1, 2], [1, 2, 3, 4], [300, -1, 0], [0, -1, 0], 5, ["a", 1, 2], [1, 2, 2.5], [255, 0, 1])
    ),
    {"inputs.0.shape": []},
    {"inputs.0.shape": [], "inputs.0.layout": ""},
    {"inputs.0.shape": [1, 8.5, 16, 3]},
    {"inputs.0.shape": [1, None, 16, 3]},
    {"inputs.0.shape": [[], 8, 16, 3]},
    {"inputs.0.shape": ["batch", 8, 16, 3]},
    {"inputs.0.shape": ["it's", 8, "\n\"'\x7f\\", 3]},
    {"inputs.0.shape": [1, "height", "width", 3]},
    {"inputs.0.shape": [1, 8, 17, 3]},
    {"inputs.0.shape": [1]},
    {"inputs.0.shape": [1.0, 8.0, 16.0, 3.0]},
    {"inputs.0.shape": 5},
    {"inputs.0.dtype": "float64"},
    {"inputs.0.name": GONE},
    {"inputs.0.layout": "XXXXXXXXXXN"},
    {"inputs.0.layout": "\x1b[2J'é\u0085\n" + "X" * 30 + "N"},
    {"inputs.0.layout": "unknown"},
    {"outputs.0.meaning": 3},
    {"preprocessing.height": 0},
    {"preprocessing.height": 10**9},
    {"preprocessing.height": 9},
    {"preprocessing.width": GONE},
    {"preprocessing.shorter_side": 0},
    {"preprocessing.shorter_side": None},
    {"preprocessing.resize": "crop"},
    {"preprocessing.colour_order": "BGR"},
    {"preprocessing.colour_order": GONE},
    {"preprocessing.scale": 0},
    {"preprocessing.scale": -1e-9},
    {"preprocessing.mean": [0, 1]},
    {"preprocessing.mean": [0, 1, 2, 3]},
    {"preprocessing.mean": {}},
    {"preprocessing.std": [0.5, 0, 1]},
    {"preprocessing.std": ["a", 0, 1]},
    {"preprocessing.normalise_in_graph": "perhaps"},
    {"preprocessing.normalise_in_graph": 2},
    {"preprocessing.normalise_in_graph": 1.5},
    {"preprocessing.normalise_in_graph": None},
    {"postprocessing.kind": "nms"},
    {"postprocessing.kind": "guess"},
    {"postprocessing.kind": "argmax"},
    {"postprocessing.kind": "upsample_argmax", "io": "lowres"},
    {"postprocessing.score_threshold": 30},
    {"postprocessing.score_threshold": "high"},
    {"postprocessing.iou_threshold": -0.1},
    {"postprocessing.max_per_class": 0},
    {"task": "classification"},
    {"task": "classification", "postprocessing": {"kind": "top5"}},
    {"task": "detection"},
    {"task": "multi_label"},
    {"task": "multi_label", "postprocessing": {"kind": "threshold"}},
    {"task": "multi_label", "postprocessing": {"kind": "sigmoid_threshold", "score_threshold": 0.5}},
    {"task": "language_modelling"},
    LM,
    {**LM, "inputs": [TOKEN], "outputs": [LOGITS]},
    {**LM, "inputs": [TOKEN], "outputs": []},
    {**LM, "inputs": [TOKEN, TOKEN], "outputs": [LOGITS]},
    {**LM, "inputs": [TOKEN, HIDDEN], "outputs": [LOGITS]},
    {
        **LM,
        "inputs": [TOKEN, HIDDEN],
        "outputs": [LOGITS, {**HIDDEN, "name": "o"}],
        "states": [{"input": "h", "output": "o"}],
    },
    {
        **LM,
        "inputs": [TOKEN, HIDDEN],
        "outputs": [LOGITS, {**HIDDEN, "name": "o", "shape": [2, "N", 8]}],
        "states": [{"input": "h", "output": "o"}],
    },
    {"states": [{"input": "image", "output": "labels"}]},
    {"states": [{"input": "none", "output": "labels"}]},
    {"states": [{"input": 5}]},
    {"vocabulary": WORDS},
    *(
        {"vocabulary": {**WORDS, "name": name}}
        for name in ("", ".", "..", "../a", "/etc", "a\\b", "a\0é'b", "x" * 50 + "/")
    ),
    {"vocabulary": {**WORDS, "bytes": "many"}},
    {"weights.sha256": GONE},
    {"weights.sha256": 5},
    {"weights.random": "perhaps"},
    {"weights.source": None},
    {"onnx.sha256": GONE},
    {"onnx.opset": "new"},
    {"file.name": "a/b"},
    {"file.sha256": None},
    {"file.sha256": ""},
    {"file.sha256": "é" * 20},
    {"engine": ENGINE},
    *(
        {"engine": {**ENGINE, **change}}
        for change in (
            {"compute_capabilities": ["$(touch x)"]},
            {"compute_capabilities": ["8.7", "8.6\n"]},
            {"compute_capabilities": [87]},
            {"compute_capabilities": ["100.1"]},
            {"compatible": ["version; touch x #"]},
            {"compatible": ["version", "a" * 41]},
            {"compatible": ["ampere+"]},
            {"compatible": None},
            {"precision": "fp64"},
            {"typing": "loose"},
            {"typing": "weak", "workspace_mib": 512, "dla_core": 1, "not_verified": "no inspector"},
            {"workspace_mib": "much"},
            {"dla_core": 0.5},
            {"device": 5},
            {"profile": {"minimum": 1}},
            {"profile": None, "device": None},
            {"network_types": {"layers": 1, "half": 0, "quantize": 0}},
            {"verified_precision": {"layers": 1}},
            {"verified_precision": dict.fromkeys(("layers", "fp32", "fp16", "int8", "other", "unknown"), 1)},
        )
    ),
    {"parity": PARITY},
    {"parity": {**PARITY, "held_out_agreement": 1.5}},
    {"parity": {key: value for key, value in PARITY.items() if key != "max_abs_error_tolerance"}},
    {"parity": {**PARITY, "passed": "perhaps"}},
    {"parity": {**PARITY, "report": 5}},
    {"quantisation": SHARES},
    {"quantisation": {**SHARES, "int8_macs_share": 2}},
    {"quantisation": {**SHARES, "kept_blocks": [5]}},
    {"quantisation": {"int8_convolutions": 1}},
]


def changed(fields: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    fields = copy.deepcopy(fields)
    for path, value in changes.items():
        *way, last = path.split(".")
        inner: Any = fields
        for key in way:
            inner = inner[int(key) if key.isdigit() else key]
        if value is GONE:
            del inner[last]
        else:
            inner[last] = value
    return fields


@pytest.fixture
def artefact(conv_artefact: Callable[..., Path]) -> Path:
    return conv_artefact()


def test_changed_manifests_get_the_same_answer(artefact: Path, text_of: Run) -> None:
    beside = manifest_path(artefact)
    good = json.loads(beside.read_text())
    codes = []
    for changes in CHANGES:
        beside.write_text(json.dumps(changed(good, changes)))
        expected = in_python(artefact, trust=True)
        assert in_cpp(text_of, artefact, trust=True) == expected, changes
        codes.append(expected[0])
    assert len(codes) > 200
    assert (codes.count(0) > 20, codes.count(4) > 150) == (True, True)


def test_what_is_read_is_the_same(artefact: Path, text_of: Run) -> None:
    beside = manifest_path(artefact)
    good = json.loads(beside.read_text())
    for changes in CHANGES:
        beside.write_text(json.dumps(changed(good, changes)))
        if in_python(artefact, trust=True)[0] != 0:
            continue
        manifest = load_manifest(artefact, trust=True)
        assert manifest is not None
        _, text = text_of("artefact", artefact, "--trust")
        read = json.loads(text)
        assert read["bytes"] == artefact.stat().st_size
        assert read["manifest"] == outline(manifest), changes


def outline(manifest: Manifest) -> dict[str, Any]:
    """The fields that the C++ library keeps, as it prints them."""
    everything = json.loads(manifest.model_dump_json())
    for tensor in (*everything["inputs"], *everything["outputs"]):
        tensor["shape"] = [-1 if isinstance(size, str) else size for size in tensor["shape"]]
    if everything["preprocessing"] is not None:
        del everything["preprocessing"]["colour_order"]
    if everything["engine"] is not None:
        for unused in ("typing", "workspace_mib", "network_types", "verified_precision", "not_verified"):
            del everything["engine"][unused]
    everything["random"], everything["onnx_sha256"] = manifest.weights.random, manifest.onnx.sha256
    for unused in ("schema_version", "width_mult", "macs", "params", "weights", "onnx", "parity", "quantisation"):
        del everything[unused]
    return everything


def test_texts_that_are_not_json(artefact: Path, text_of: Run) -> None:
    """The parsers' own words differ; where they stand, and what is refused, does not."""
    good = manifest_path(artefact).read_bytes()
    texts = (
        *(b"", b" ", b"not JSON", b"{", b"[", b'{"a":1,}', b'{"a":1 "b"}', b'{"name":1}{}', b'{"a":01}', b"\xff\xfe"),
        *(b'{"a":"\n"}', b'{"name":"\xff"}', b'{"a":"\\ud800"}', b"\xef\xbb\xbf{}", b"{" * 100_000, b"[" * 100_000),
        *(good[:-20], good + b"}", good.replace(b":", b"=", 1), b"\0" + good, good.replace(b"{", b"{,", 1)),
    )
    for text in texts:
        manifest_path(artefact).write_bytes(text)
        code, expected = in_python(artefact, trust=False)
        beginning = f"{manifest_path(artefact)}: not a manifest, the whole file: Invalid JSON: "
        assert (code, str(expected).startswith(beginning)) == (4, True), text[:40]
        code, said = in_cpp(text_of, artefact, trust=False)
        assert (code, str(said).startswith(beginning), str(said).endswith("; export again")) == (4, True, True)
        assert "\n" not in str(said)


def test_json_that_is_no_manifest(artefact: Path, text_of: Run) -> None:
    nested = (b'{"x":' + b"[" * depth + b"]" * depth + b"}" for depth in (5, 200, 201, 3000))
    for text in (
        b"[]",
        b"5",
        b"null",
        b'"x"',
        b"{}",
        *nested,
        b"[" * 300,
        b'{"a":"[[[[\\"[{"}',
        b'{"a":1,\n"b":' + b"[" * 999,
    ):
        manifest_path(artefact).write_bytes(text)
        assert assert_same(text_of, artefact)[0] == 4
    # Of two fields of one name, the last one counts.
    good = manifest_path(artefact)
    good.write_text('{"name": "a", "name": 5}')
    assert "valid string" in str(assert_same(text_of, artefact)[1])


def test_an_oversized_manifest(artefact: Path, text_of: Run) -> None:
    os.truncate(manifest_path(artefact), (4 << 20) + 1)
    assert "4194305 bytes" in str(assert_same(text_of, artefact)[1])


# What is refused here and read in Python: no export writes it, and the library would have to go on with it.
STRICTER: list[tuple[dict[str, Any], str]] = [
    ({"num_classes": "4"}, "num_classes: Input should be a valid integer, unable to parse string as an integer"),
    ({"num_classes": True}, "num_classes: Input should be a valid integer"),
    ({"width_mult": "2.0"}, "width_mult: Input should be a valid number, unable to parse string as a number"),
    ({"width_mult": True}, "width_mult: Input should be a valid number"),
    ({"weights.random": "yes"}, "weights.random: Input should be a valid boolean, unable to interpret input"),
    ({"weights.random": 1}, "weights.random: Input should be a valid boolean, unable to interpret input"),
    ({"params": 2**80}, "params: Unable to parse input string as an integer, exceeded maximum size"),
    ({"outputs.0.shape": [1] * 9}, "outputs.0.shape: more than 8 sizes, not 9"),
    ({"outputs.0.shape": [1, -1, 16]}, "outputs.0.shape.1.int: Input should be greater than or equal to 1"),
    ({"outputs.0.shape": [0, 8, 16]}, "outputs.0.shape.0.int: Input should be greater than or equal to 1"),
    ({"outputs.0.shape": [1, 2**31, 1]}, "outputs.0.shape.1.int: Input should be less than or equal to 2147483647"),
    ({"outputs.0.shape": [2**20, 2**20, 2]}, "outputs.0.shape: more than 1099511627776 values"),
    ({"outputs.0.layout": "ééN"}, "outputs.0: layout 'ééN' has its batch beyond the 3 dimensions"),
    (
        {"engine": {**ENGINE, "profile": {"minimum": 0, "optimum": 1, "maximum": 1}}},
        "engine.profile.minimum: Input should be greater than or equal to 1",
    ),
    (
        {"engine": {**ENGINE, "compute_capabilities": ["\u0663.\u0663"]}},
        r"engine.compute_capabilities.0: String should match pattern '^\d{1,2}\.\d{1,2}$'",
    ),
]


@pytest.mark.parametrize(("changes", "problem"), STRICTER)
def test_what_only_cpp_refuses(changes: dict[str, Any], problem: str, artefact: Path, text_of: Run) -> None:
    beside = manifest_path(artefact)
    beside.write_text(json.dumps(changed(json.loads(beside.read_text()), changes)))
    assert in_python(artefact, trust=False) == (0, None)
    assert in_cpp(text_of, artefact, trust=False) == (4, f"{beside}: not a manifest, {problem}; export again")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_json_does_not_have(number: str, artefact: Path, text_of: Run) -> None:
    """Python reads them, and refuses the field; here they are no JSON."""
    beside = manifest_path(artefact)
    beside.write_text(beside.read_text().replace('"width_mult":', f'"width_mult": {number}, "z":'))
    assert "width_mult: Input should be a finite number" in str(in_python(artefact, trust=False)[1])
    code, text = in_cpp(text_of, artefact, trust=False)
    assert (code, "not a manifest, the whole file: Invalid JSON: " in str(text)) == (4, True)


@pytest.mark.parametrize("trust", [False, True])
def test_files_and_their_checksum(artefact: Path, text_of: Run, trust: bool) -> None:
    assert assert_same(text_of, artefact, trust=trust) == (0, None)
    for path in (artefact.with_name("none.onnx"), artefact.parent):
        assert assert_same(text_of, path, trust=trust)[0] == 2
    pipe = artefact.with_name("pipe")
    os.mkfifo(pipe)  # opening one would wait for ever
    assert assert_same(text_of, pipe, trust=trust)[0] == 2
    data = bytearray(artefact.read_bytes())
    data[-1] ^= 1
    artefact.write_bytes(data)
    assert assert_same(text_of, artefact, trust=trust)[0] == (0 if trust else 4)
    artefact.write_bytes(b"")
    assert assert_same(text_of, artefact, trust=trust)[0] == (0 if trust else 4)
    manifest_path(artefact).unlink()
    assert assert_same(text_of, artefact, trust=trust)[0] == (0 if trust else 4)
    manifest_path(artefact).mkdir()
    assert assert_same(text_of, artefact, trust=trust)[0] == 4


# Engines and other files. -------------------------------------------------------------------------------------------

NO_GPU = CudaProbe(None, "no CUDA driver")
ORIN = CudaProbe("Orin", "found", "8.7", "12.6")
L4 = CudaProbe("NVIDIA L4", "found", "8.9", "13.0")
ALL_GPUS = (
    *(NO_GPU, ORIN, L4, CudaProbe("GPU", "found")),
    *(CudaProbe("GPU", "found", capability, "13.0") for capability in ("7.5", "9.0", "12.0", "13.0")),
)
RTX = {"builder": "tensorrt-rtx", "builder_version": "1.7.1.116"}
ONNX = one_node().SerializeToString()
METADATA = json.dumps({"task": "segment"}).encode()
FILES: list[bytes] = [
    b"",
    *(tensorrt_plan(*version) for version in ((8, 6, 1, 6), (10, 3, 0, 26), (11, 4, 0, 106))),
    tensorrt_plan(12, 0, 0, 1, serialisation=1),
    *(b"ptrt" + bytes(4) + struct.pack("<I", number) + bytes(1000) for number in (205, 213, 232, 96)),
    *(
        rtx_plan(version, mask)
        for version, mask in (
            *(((1, 4, 0, 76), mask) for mask in (0x3E, 0x10, 0x40)),
            *(((1, 7, 1, 116), mask) for mask in (0x0C, 0x08, 0x7E, 0, 0x80)),
            *(((1, minor, 0, 114), 0x7E) for minor in (5, 6, 8)),
        )
    ),
    b"vtrt" + struct.pack("<IQQ4B4sI", 0, 3, 4096, 2, 0, 0, 1, b"vtrt", 4) + bytes(100),
    rtx_plan((1, 7, 1, 116), 0x7E)[:100],
    rtx_plan((1, 7, 1, 116), 0x7E) + b"x",
    *(tag + bytes(length - 4) for tag in (b"ftrt", b"ptrt", b"vtrt") for length in (4, 8, 12, 27, 28, 35)),
    *(struct.pack("<I", len(METADATA)) + METADATA + plan for plan in (tensorrt_plan(10, 3, 0, 26), b"ftrt", b"x" * 50)),
    *(struct.pack("<I", length) + b"{" + bytes(100) for length in (1, 2, 50, 2 << 20, 2**32 - 1)),
    ONNX,
    *(ONNX[:kept] for kept in (1, 2, 3, 9, 12, len(ONNX) // 2, len(ONNX) - 1)),
    ONNX + b"\xff" * 20,
    ONNX + b"\x12\x00",
    b"\x08\x08\x3a\xff\xff\xff\xff\x7f",
    b"\x08\x65\x3a\x00",
    b"\x08\x08\x28" + b"\xff" * 9 + b"\x7f\x3a\x00",
    b"\x08\x08\x12" + b"\xff" * 9 + b"\x7f\x3a\x00",
    b"\x08\x08" + b"\xff" * 9 + b"\x7f",
    b"\x08\x08" + b"\xff" * 11,
    b"\x08\x08\x12\x00" * 6000,
    *(b"\x1f\x8b\x08\x00", b"PK\x03\x04\x14", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00", b"\xfd7zXZ", b"\x89PNG\r\n"),
    *(b"\xff\xd8\xff\xe0", b"version https://git-lfs.github.com/spec/v1\n", b"<!DOCTYPE html>", b"<html>", b"<?xml"),
    *(b"\x7fELF", b'{"schema_version": 1}', b"\x80\x02}q\x00", b"\x80\x04\x95", b"\x80\x05", b"\x80\x06"),
    *(b"\x00\x01\x02\x03", b"\xab", b"anything else", b"\x00new format" + bytes(100)),
]


def said_in_python(path: Path, manifest: Manifest | None, gpu: CudaProbe, version: str) -> dict[str, Any]:
    facts = read_file_facts(path)
    plan = facts.plan
    builder = plan.builder if plan else "tensorrt"
    if manifest is not None and manifest.engine is not None and plan is None:
        builder = "tensorrt-rtx" if manifest.engine.builder == "tensorrt-rtx" else "tensorrt"
    known = plan is not None or (manifest is not None and manifest.engine is not None)
    machine = EngineMachine(builder, gpu, parse_version(version), "" if version else "not installed")
    problem = engine_problem(path, manifest, machine)
    for ours, theirs in LIBRARIES:
        problem = problem.replace(ours, theirs) if problem else problem
    capabilities = plan.compute_capabilities if plan else None
    return {
        "kind": facts.kind,
        "plan": plan
        and {
            "builder": plan.builder,
            "version": [*plan.version],
            "stated_bytes": plan.stated_bytes,
            "compute_capabilities": None if capabilities is None else [*capabilities],
            "and_later": plan.and_later,
        },
        "is_onnx": facts.onnx is not None,
        "problem": facts.problem,
        "way_out": facts.way_out,
        "damaged": facts.damaged,
        "builder": builder if known else "",
        "engine_problem": problem,
    }


def said_in_cpp(text_of: Run, path: Path, gpu: CudaProbe, version: str) -> dict[str, Any]:
    answer = "" if version else "not installed"
    reason, capability = gpu.reason, gpu.compute_capability or ""
    code, text = text_of("plan", path, gpu.device or "", reason, capability, version, answer)
    assert code == 0, text
    said: dict[str, Any] = json.loads(text)
    return said


def compare_engine(text_of: Run, path: Path, gpu: CudaProbe, version: str) -> str | None:
    manifest = load_manifest(path, trust=True)
    expected = said_in_python(path, manifest, gpu, version)
    assert said_in_cpp(text_of, path, gpu, version) == expected
    problem: str | None = expected["engine_problem"]
    return problem


def test_every_kind_of_file_is_told_alike(tmp_path: Path, text_of: Run) -> None:
    path = tmp_path / "my nets" / "seg.trt"
    path.parent.mkdir()
    for content in FILES:
        path.write_bytes(content)
        for gpu, version in ((L4, "10.3.0.26"), (NO_GPU, "")):
            compare_engine(text_of, path, gpu, version)


INFOS: list[tuple[bytes, dict[str, Any] | None]] = [
    (tensorrt_plan(10, 3, 0, 26), None),
    (tensorrt_plan(10, 3, 0, 26), {"compute_capabilities": ["8.7"], "device": "Orin", "precision": "fp16"}),
    (tensorrt_plan(10, 3, 0, 26), {"device": "NVIDIA L4"}),
    (tensorrt_plan(10, 3, 0, 26), {"device": "x" * 200}),
    (tensorrt_plan(10, 3, 0, 26), {"compute_capabilities": ["8.6", "8.9"], "compatible": ["ampere+"]}),
    (tensorrt_plan(10, 3, 0, 26), {"compute_capabilities": ["8.9"], "compatible": ["version"], "dla_core": 1}),
    (tensorrt_plan(10, 3, 0, 26), {"builder": "trtexec", "builder_version": "10.3.0", "compute_capabilities": ["8.7"]}),
    (tensorrt_plan(10, 3, 0, 26), {"builder_version": "10.13.3.9"}),
    (tensorrt_plan(10, 3, 0, 26), RTX),
    (tensorrt_plan(8, 6, 1, 6), {"builder_version": "8.6.1.6", "compatible": ["version", "same-compute-capability"]}),
    (tensorrt_plan(10, 3, 0, 26), {"profile": {"minimum": 1, "optimum": 4, "maximum": 8}, "precision": "int8"}),
    (b"ptrt" + bytes(4) + (232).to_bytes(4, "little") + bytes(100), {"builder_version": "8.5.2.2"}),
    (b"ptrt" + bytes(4) + (232).to_bytes(4, "little") + bytes(100), {"builder_version": "8.4.1.5"}),
    (b"\x00new format" + bytes(100), {"builder_version": "13.0.0.1", "compute_capabilities": ["8.9"]}),
    *((rtx_plan((1, 7, 1, 116), mask), RTX) for mask in (0x0C, 0x08, 0x7E, 0x80)),
    (rtx_plan((1, 7, 1, 116), 0x0C), {**RTX, "compute_capabilities": ["8.9", "8.6", "8.6"]}),
    (rtx_plan((1, 7, 1, 116), 0x04), {**RTX, "compute_capabilities": ["8.9"]}),
    (rtx_plan((1, 9, 0, 1), 0x1FE), {**RTX, "builder_version": "1.9.0.1"}),
]
VERSIONS = ("", "8.5.2.2", "10.3", "10.3.0", "10.3.0.26", "10.13.3.9", "11.4.0.106", "1.7.1.116", "1.9.0.1")


@pytest.mark.parametrize(("content", "info"), INFOS)
def test_engines_on_machines_are_judged_alike(
    content: bytes, info: dict[str, Any] | None, tmp_path: Path, text_of: Run
) -> None:
    path = tmp_path / "seg.trt"
    path.write_bytes(content)
    write_manifest(path, info)
    for version in VERSIONS:
        compare_engine(text_of, path, L4, version)
    for gpu in ALL_GPUS:
        for version in ("", "10.3.0.26", "1.7.1.116"):
            compare_engine(text_of, path, gpu, version)


def test_without_a_manifest_the_header_counts(tmp_path: Path, text_of: Run) -> None:
    path = tmp_path / "it's seg.trt"
    path.write_bytes(tensorrt_plan(10, 3, 0, 26))
    problem = compare_engine(text_of, path, L4, "10.13.3.9")
    assert "get the ONNX file that it was built from" in str(problem)
    path.with_suffix(".onnx").write_bytes(ONNX)
    problem = compare_engine(text_of, path, L4, "10.13.3.9")
    assert "get the ONNX file" not in str(problem)


def test_the_onnx_file_beside_it_is_found_by_its_checksum(tmp_path: Path, text_of: Run) -> None:
    path = tmp_path / "seg.trt"
    path.write_bytes(tensorrt_plan(10, 3, 0, 26))
    path.with_suffix(".onnx").write_bytes(b"another")
    other = tmp_path / "renamed net.onnx"
    other.write_bytes(ONNX)
    write_manifest(path, {"compute_capabilities": ["8.7"]}, sha256_of(other))
    assert f"run: espnet-export '{other}' " in str(compare_engine(text_of, path, L4, "10.3.0.26"))
    for index in range(20):
        (tmp_path / f"a{index:02}.onnx").write_bytes(b"more than are looked at")
    assert "get the ONNX file" in str(compare_engine(text_of, path, L4, "10.3.0.26"))
