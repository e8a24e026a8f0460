"""benchmarks/cpp.py: what is measured and judged, without the C++ library; with it, see tests/runtime/cpp."""

import importlib
import random
from pathlib import Path

import numpy as np
import pytest

from espnet_edge.commands import run
from espnet_edge.errors import CheckError
from espnet_edge.runtime.answers import ScoredClass
from espnet_edge.runtime.upsampling import upsampled_labels

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
OTHER_NS = (1000.0, 1010.0, 990.0, 1005.0, 1001.0)


@pytest.fixture
def cpp(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("cpp")


def measured(module, factor, end_to_end, noise=0.0):
    spread = (1 - noise, 1 + noise, 1 - noise / 2, 1 + noise / 2, 1)
    cpp_ns = tuple(factor * ns * by for ns, by in zip(OTHER_NS, spread, strict=True))
    return module.Measured("net", "Python", cpp_ns, OTHER_NS, end_to_end, "equal")


@pytest.mark.parametrize(("factor", "noise", "holds"), [(0.9, 0.0, True), (0.97, 0.05, True), (1.05, 0.05, False)])
def test_end_to_end_it_must_not_be_slower_by_the_median(cpp, factor, noise, holds):
    one = measured(cpp, factor, True, noise)
    assert one.holds == holds
    assert ("TOO SLOW" in one.line) != holds


@pytest.mark.parametrize(("factor", "noise", "holds"), [(0.4, 0.0, True), (0.49, 0.1, False), (0.6, 0.0, False)])
def test_upsampling_must_be_below_half_for_certain(cpp, factor, noise, holds):
    assert measured(cpp, factor, False, noise).holds == holds


def test_too_few_rounds_for_an_interval_hold_nothing(cpp):
    assert not cpp.Measured("net", "Python", (1.0,), (9.0,), True, "equal").holds


def test_plain_numpy_has_the_labels_of_the_definition(cpp):
    logits = np.random.default_rng(0).normal(0, 10, (5, 16, 24)).astype(np.float32)
    expected = upsampled_labels(logits[np.newaxis], (32, 48))[0]
    assert (cpp.by_numpy(logits, (32, 48)) == expected).mean() > 0.999


def test_sides_take_turns(cpp):
    order = []
    sides = {name: lambda name=name: order.append(name) for name in ("C++", "Python")}
    medians = cpp._medians(sides, 1e-9, random.Random(0))  # noqa: S311
    assert min(medians.values()) > 0
    per_block = cpp.WARM_UPS + 1
    turns = order[2 * cpp.WARM_UPS :]
    assert len(turns) == 2 * cpp.BLOCKS * per_block
    for first in range(0, len(turns), 2 * per_block):
        of_round = turns[first : first + 2 * per_block]
        assert sorted(of_round) == ["C++"] * per_block + ["Python"] * per_block


class Network:
    name = "net"

    def __init__(self, task):
        self.manifest = type("Manifest", (), {"task": task})


def test_one_label_or_class_that_differs_is_found(cpp):
    labels = np.zeros((4, 4), np.uint8)
    other = labels.copy()
    assert cpp._checked_agreement(Network("segmentation"), labels, other) == "16 labels equal"
    other[1, 2] = 1
    with pytest.raises(CheckError, match="net: 1 of 16 labels"):
        cpp._checked_agreement(Network("segmentation"), labels, other)
    classes = [ScoredClass(3, 0.5)]
    assert cpp._checked_agreement(Network("classification"), classes, list(classes)) == "1 classes equal"
    with pytest.raises(CheckError, match="C\\+\\+ answers"):
        cpp._checked_agreement(Network("classification"), classes, [ScoredClass(4, 0.5)])
    with pytest.raises(CheckError, match=r"0\.9375\d* of the labels of C\+\+ are those of upsampled_labels"):
        cpp._label_agreement(labels, other, "upsampled_labels")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--rounds", 3), 2, "rounds 3, threads 1, block 0.5: give 5, 1 and some seconds at least"),
        (("--threads", 0), 2, "threads 0"),
        (("--block", 0), 2, "block 0"),
        (("--library", "nowhere.so"), 3, "nowhere.so: no such library; build it with make cpp"),
    ],
)
def test_what_is_missing_or_wrong_is_said(cpp, command, arguments, code, words):
    outcome = command(lambda: run(cpp.app, cpp.PROGRAM), *arguments)
    assert outcome.code == code
    assert words in outcome.last_line


def test_a_file_that_is_no_library_is_told(cpp, command, tmp_path):
    path = tmp_path / "libespnet_runtime.so"
    path.write_text("no library")
    outcome = command(lambda: run(cpp.app, cpp.PROGRAM), "--library", path)
    assert outcome.code == 3
    assert "build it again with make cpp" in outcome.last_line
