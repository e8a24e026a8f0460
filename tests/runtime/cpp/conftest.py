"""The built C++ library and its tools; `make cpp` builds them. Where they are missing, the tests here skip."""

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
BUILD = (ROOT / os.environ.get("ESPNET_CPP_BUILD", "build/cpp")).resolve()


def built(relative: str) -> Path:
    """A file of the build folder; skips the test, or with ESPNET_EDGE_REQUIRE_CPP=1 fails it, where there is none."""
    path = BUILD / relative
    if not path.exists():
        reason = f"{path} is missing: `make cpp` first, or name the build folder with ESPNET_CPP_BUILD"
        if os.environ.get("ESPNET_EDGE_REQUIRE_CPP"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture(scope="session")
def cpp_build() -> Path:
    """The build folder of runtime/cpp."""
    built("CMakeCache.txt")
    return BUILD


@pytest.fixture(scope="session")
def cpp_library() -> ctypes.CDLL:
    """The shared library, with the C interface of espnet.h."""
    return ctypes.CDLL(str(built("libespnet_runtime.so")))


@pytest.fixture(scope="session")
def cpp_tool() -> Callable[[str], Path]:
    """cpp_tool("espnet-infer") -> the built program."""

    def find(name: str) -> Path:
        return built(f"tools/{name}")

    return find


@pytest.fixture(scope="session")
def cpp_file() -> Callable[[str], Path]:
    """cpp_file("tests/libx.so") -> that file of the build folder."""
    return built
