"""The first bytes of a file: headers of engines, ONNX files, and what is neither."""

import importlib.util
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from espnet_edge.errors import InputError
from espnet_edge.runtime.plan import FileFacts, PlanHeader, parse_version, read_file_facts
from plans import one_node, rtx_plan, tensorrt_plan

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="no TensorRT-RTX wheel for this platform"
)
ALL_PORTABLE = ("8.0", "8.6", "8.9", "12.0", "12.1")


@pytest.fixture(scope="module")
def build_rtx() -> Callable[..., bytes]:
    """build_rtx("SM86", "SM89") -> a real plan for these GPUs; for none, the portable one."""
    trt: Any = pytest.importorskip("tensorrt_rtx")
    log = trt.Logger(trt.Logger.ERROR)

    def build(*names: str) -> bytes:
        builder = trt.Builder(log)
        network = builder.create_network(0)
        parser = trt.OnnxParser(network, log)
        assert parser.parse(one_node().SerializeToString())
        config = builder.create_builder_config()
        config.num_compute_capabilities = len(names)
        for i, name in enumerate(names):
            assert config.set_compute_capability(getattr(trt.ComputeCapability, name), i)
        return bytes(builder.build_serialized_network(network, config))

    return build


@pytest.fixture
def facts(tmp_path: Path) -> Callable[[bytes], FileFacts]:
    def read(data: bytes) -> FileFacts:
        path = tmp_path / "file"
        path.write_bytes(data)
        return read_file_facts(path)

    return read


@needs_rtx
@pytest.mark.parametrize(
    ("names", "capabilities", "and_later"),
    [
        ((), ALL_PORTABLE, True),
        (("SM75",), ("7.5",), False),
        (("SM80",), ("8.0",), False),
        (("SM86",), ("8.6",), False),
        (("SM121",), ("12.1",), False),
        (("SM86", "SM89"), ("8.6", "8.9"), False),
        (("SM80", "SM86", "SM89", "SM120"), ("8.0", "8.6", "8.9", "12.0"), False),
    ],
)
def test_a_real_plan_says_version_size_and_gpus(names, capabilities, and_later, build_rtx, facts) -> None:
    import tensorrt_rtx

    plan = build_rtx(*names)
    found = facts(plan)
    version = parse_version(tensorrt_rtx.__version__)
    assert found.plan == PlanHeader("tensorrt-rtx", version, len(plan), capabilities, and_later)
    assert found.problem is None


@needs_rtx
def test_a_real_plan_that_is_cut_off_or_longer(build_rtx, facts) -> None:
    plan = build_rtx("SM86")
    for kept in (len(plan) - 1, len(plan) // 2, 36):
        cut = facts(plan[:kept])
        assert (cut.damaged, cut.problem) == (True, f"it is cut off: {kept} bytes, by its header it had {len(plan)}")
    longer = facts(plan + b"x")
    assert (longer.damaged, longer.problem) == (
        True,
        f"something was added to it: {len(plan) + 1} bytes, by its header {len(plan)}",
    )


@pytest.mark.parametrize("version", [(8, 6, 1, 6), (10, 3, 0, 26), (11, 4, 0, 106)])
def test_tensorrt_says_its_version_and_nothing_of_the_gpu(version, facts) -> None:
    found = facts(tensorrt_plan(*version))
    assert found.plan == PlanHeader("tensorrt", version)
    assert found.problem is None


def test_a_serialisation_version_that_is_not_known_leaves_the_version_open(facts) -> None:
    assert facts(tensorrt_plan(12, 0, 0, 1, serialisation=1)).plan == PlanHeader("tensorrt")


@pytest.mark.parametrize(("number", "version"), [(205, (8, 2)), (213, (8, 4)), (232, (8, 5)), (96, ())])
def test_plans_from_before_86_have_a_number_instead(number, version, facts) -> None:
    assert facts(b"ptrt" + bytes(4) + struct.pack("<I", number) + bytes(1000)).plan == PlanHeader("tensorrt", version)


@pytest.mark.parametrize(
    ("version", "mask", "capabilities", "and_later"),
    [
        ((1, 4, 0, 76), 0x3E, ("8.0", "8.6", "8.9", "12.0"), True),
        ((1, 4, 0, 76), 0x10, ("12.0",), False),
        ((1, 5, 0, 114), 0x7E, ALL_PORTABLE, True),
        ((1, 6, 1, 120), 0x20, ("12.1",), False),
        ((1, 7, 1, 116), 0x0C, ("8.6", "8.9"), False),
        ((1, 7, 1, 116), 0x00, None, False),
        ((1, 7, 1, 116), 0x80, None, False),  # a bit that was never seen
        ((1, 8, 0, 1), 0x7E, None, False),  # a version that was never seen
    ],
)
def test_the_mask_is_trusted_where_the_layout_was_measured(version, mask, capabilities, and_later, facts) -> None:
    plan = facts(rtx_plan(version, mask)).plan
    assert (plan.version, plan.compute_capabilities, plan.and_later) == (version, capabilities, and_later)


def test_another_layout_of_rtx_says_nothing(facts) -> None:
    head = b"vtrt" + struct.pack("<IQQ4B4sI", 0, 3, 4096, 2, 0, 0, 1, b"vtrt", 4)
    other = facts(head + bytes(100))
    assert other.plan == PlanHeader("tensorrt-rtx")
    assert other.problem is None


@pytest.mark.parametrize("tag", [b"ftrt", b"ptrt", b"vtrt"])
def test_a_header_that_is_cut_off(tag, facts) -> None:
    for length in (4, 8, 12, 27, 35):
        cut = facts(tag + bytes(length - 4))
        assert cut.damaged
        assert f"{length} bytes, the header alone has 36" in cut.problem


def test_metadata_in_front_of_a_plan_is_named(facts) -> None:
    metadata = json.dumps({"task": "segment", "names": {"0": "person"}}).encode()
    glued = facts(struct.pack("<I", len(metadata)) + metadata + tensorrt_plan(10, 3, 0, 26))
    assert glued.plan == PlanHeader("tensorrt", (10, 3, 0, 26))
    assert not glued.damaged
    assert f"behind {len(metadata)} bytes of JSON, as Ultralytics writes it" in glued.kind
    assert "keeps TensorRT, trtexec and DeepStream from reading it" in glued.problem
    assert f"tail -c +{4 + len(metadata) + 1} FILE > PLAN" in glued.way_out


def test_the_advice_against_glued_metadata_works(tmp_path: Path, facts) -> None:
    import subprocess

    plan = tensorrt_plan(8, 6, 1, 6)
    glued = tmp_path / "glued"
    glued.write_bytes(struct.pack("<I", 2) + b"{}" + plan)
    command = read_file_facts(glued).way_out.split(", ")[1]
    line = command.replace("FILE", str(glued)).replace("PLAN", str(tmp_path / "plan"))
    subprocess.run(["bash", "-c", line], check=True)
    assert (tmp_path / "plan").read_bytes() == plan


@pytest.mark.parametrize("length", [1, 2 << 20, 2**32 - 1])
def test_a_length_in_front_that_is_no_metadata(length, facts) -> None:
    other = facts(struct.pack("<I", length) + b"{" + bytes(100))
    assert other.plan is None
    assert "neither an engine nor an ONNX file" in other.problem


def test_an_onnx_file_says_opset_and_producer(facts) -> None:
    found = facts(one_node().SerializeToString())
    assert found.kind == "an ONNX file"
    assert (found.onnx.ir_version, found.onnx.opset, found.onnx.producer) == (8, 17, "tests")
    assert found.problem is None


def test_an_onnx_file_that_is_cut_off_or_longer(facts) -> None:
    data = one_node().SerializeToString()
    graph_at = data.index(b"\x3a", 9)
    for kept in (graph_at, graph_at + 3, len(data) // 2, len(data) - 1):
        cut = facts(data[:kept])
        assert cut.damaged, kept
        assert "it is cut off" in cut.problem
    assert "something that is not ONNX" in facts(data + b"\xff" * 20).problem


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"PK\x03\x04\x14", "zip"),
        (b"\x80\x04\x95", "pickle"),
        (b"\x80\x02}q\x00", "pickle"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"<!DOCTYPE html>", "web page"),
        (b'{"schema_version": 1}', "JSON"),
        (b"\x00\x01\x02\x03", "not known here (it begins with 00 01 02 03)"),
    ],
)
def test_other_files_are_named(data, kind, facts) -> None:
    other = facts(data)
    assert kind in other.kind
    assert (other.plan, other.onnx, other.damaged) == (None, None, False)
    assert other.problem
    assert other.way_out


def test_an_empty_file_is_damaged(facts) -> None:
    assert facts(b"").damaged


def test_what_is_not_a_file_is_the_users_error(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")  # opening one would wait for ever
    for path in (tmp_path / "none", tmp_path / "pipe"):
        with pytest.raises(InputError, match="no such file"):
            read_file_facts(path)
    with pytest.raises(InputError, match="a folder; name the engine or ONNX file in it"):
        read_file_facts(tmp_path)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    for beginning in (
        tensorrt_plan(10, 3, 0, 26),
        b"\x08\x08\x3a\xff\xff\xff\xff\x7f",
        struct.pack("<I", 1 << 20) + b"{",
    ):
        path = tmp_path / "huge"
        path.write_bytes(beginning)
        with path.open("r+b") as file:
            file.truncate(200 << 30)  # sparse: takes no room, and hours to read
        assert read_file_facts(path).size_bytes == 200 << 30


def test_no_bytes_bring_the_reader_down(tmp_path: Path) -> None:
    """Random bytes behind known beginnings, and good files with some bytes changed or cut off: always an answer."""
    generator = random.Random(0)  # noqa: S311  Cases, not secrets.
    good = [
        tensorrt_plan(10, 3, 0, 26, size=64),
        rtx_plan((1, 7, 1, 116), 0x7E, size=64),
        struct.pack("<I", 2) + b"{}" + tensorrt_plan(8, 6, 1, 6, size=64),
        one_node().SerializeToString(),
    ]
    beginnings = [b"", b"ftrt", b"ptrt", b"vtrt", b"\x08\x08", b"\x08\x08\x12\x04test\x3a", b"\x10\x00\x00\x00{"]
    path = tmp_path / "any"
    kinds = set()
    for _ in range(3000):
        if generator.random() < 0.5:
            data = generator.choice(beginnings) + generator.randbytes(generator.randrange(80))
        else:
            changed = bytearray(generator.choice(good))
            for _ in range(generator.randrange(4)):
                changed[generator.randrange(len(changed))] = generator.randrange(256)
            data = bytes(changed[: generator.randrange(len(changed) + 1)])
        path.write_bytes(data)
        facts = read_file_facts(path)
        kinds.add((facts.plan is not None, facts.onnx is not None, facts.damaged))
        assert facts.size_bytes == len(data)
        assert (facts.problem is None) == (facts.way_out is None)
        assert facts.problem is not None or facts.plan is not None or facts.onnx is not None
    assert len(kinds) == 6  # engines and ONNX files, both whole and damaged, what is neither, and nothing at all


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("10.3.0.26", (10, 3, 0, 26)),
        ("8.6.1", (8, 6, 1)),
        ("10.13.3.9+cuda12", (10, 13, 3, 9)),
        ("11.0rc1", (11, 0)),
        ("", ()),
        ("of unknown version", ()),
        ("9" * 5000, ()),
    ],
)
def test_versions_are_their_leading_numbers(text, version) -> None:
    assert parse_version(text) == version
