"""Where class names come from, in order, and what is wrong with a file of names."""

import json
import sys

import pytest

from espnet_edge.errors import InputError
from espnet_edge.runtime.labels import class_names
from espnet_edge.runtime.manifest import ClassInfo, Manifest


def manifest(num_classes=3, names=(), dataset="custom"):
    classes = tuple(ClassInfo(name=name) for name in names)
    return Manifest.model_construct(dataset=dataset, num_classes=num_classes, classes=classes)


@pytest.fixture
def labels_file(tmp_path):
    def write(content):
        path = tmp_path / "names.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_the_manifest_comes_first(labels_file):
    known = manifest(names=("road", "car", "sky"))
    assert class_names(known, None) == ["road", "car", "sky"]
    assert class_names(known, labels_file("a\nb\nc")) == ["road", "car", "sky"]


@pytest.mark.parametrize(
    "content",
    [
        "tench\ngold fish\nÄsche\n",
        "tench\r\n  gold\tfish\r\nÄsche\r\n\r\n",
        b"\xef\xbb\xbf" + "tench\ngold fish\nÄsche".encode(),
        json.dumps(["tench", "gold fish", "Äsche"]),
        json.dumps({"2": "Äsche", "0": "tench", "1": "gold\x1b fish"}),
    ],
)
def test_files_of_names(labels_file, content):
    assert class_names(manifest(), labels_file(content)) == ["tench", "gold fish", "Äsche"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\nb\n", "2 names, the network has 3 classes"),
        ("a\n\nc\n", "the name of class 1 is empty"),
        ("", "0 names, the network has 3"),
        (b"a\nb\xff\nc", "not UTF-8 text at byte 3"),
        ('["a", "b"', "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('["a", "b", 3]', "not a text"),
        ('{"1": "a", "2": "b", "3": "c"}', "none for class 0"),
        ("x" * ((1 << 20) + 1), "at most 1048576"),
    ],
)
def test_wrong_files_are_refused_even_where_they_are_not_needed(labels_file, content, message):
    for known in (manifest(), manifest(names=("road", "car", "sky"))):
        with pytest.raises(InputError, match=message) as caught:
            class_names(known, labels_file(content))
        assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(InputError, match="no such file"):
            class_names(manifest(), path)


@pytest.fixture
def torchvision(tmp_path, monkeypatch):
    """A torchvision whose import fails, as beside a torch of another build; gives the folder of its `_meta.py`."""
    package = tmp_path / "torchvision"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    return package / "models"


def test_imagenet_names_come_from_torchvision_without_importing_it(torchvision):
    names = [f"animal {i}" for i in range(1000)]
    (torchvision / "_meta.py").write_text(f"'''Data.'''\n_OTHER = ['x']\n_IMAGENET_CATEGORIES = {names!r}\n")
    assert class_names(manifest(1000, dataset="imagenet"), None) == names
    assert "torchvision" not in sys.modules
    assert class_names(manifest(1000, dataset="custom"), None) is None
    assert class_names(manifest(999, dataset="imagenet"), None) is None


@pytest.mark.parametrize(
    "source", ["", "_IMAGENET_CATEGORIES = ['a', 'b']", "_IMAGENET_CATEGORIES = list(range(1000))"]
)
def test_a_torchvision_without_the_thousand_names_gives_none(torchvision, source):
    (torchvision / "_meta.py").write_text(source)
    assert class_names(manifest(1000, dataset="imagenet"), None) is None


def test_no_torchvision_gives_none(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert class_names(manifest(1000, dataset="imagenet"), None) is None
