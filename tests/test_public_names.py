"""The public lists are what they say, and importing any package needs none of the heavy libraries."""

import importlib
import subprocess
import sys

import pytest

import espnet_edge
from espnet_edge.version import __version__

PACKAGES = ("model", "export", "runtime", "power")


def test_version() -> None:
    assert espnet_edge.__version__ == __version__


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_name_is_there(name: str) -> None:
    package = importlib.import_module(f"espnet_edge.{name}")
    for public in getattr(package, "__all__", []):
        value = getattr(package, public)
        assert callable(value), f"{name}.{public} is {value!r}"
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = package.no_such_name


def test_packages_import_without_heavy_libraries() -> None:
    heavy = ("torch", "onnx", "onnxscript", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "torchvision")
    heavy += ("cuda", "pycuda", "pynvml")
    program = "import sys\n"
    program += "".join(f"sys.modules[{name!r}] = None\n" for name in heavy)
    program += "".join(f"import espnet_edge.{name}\n" for name in PACKAGES)
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_changelog_knows_the_version() -> None:
    from pathlib import Path

    changelog = Path(__file__).parents[1] / "CHANGELOG.md"
    assert f"## {__version__} " in changelog.read_text()
