"""Somebody else's project: it finds the installed library, or takes the sources in, and embeds a network."""

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from espnet_edge.runtime.runner import open_runner

ROOT = Path(__file__).resolve().parents[3]
CONSUMER = ROOT / "runtime/cpp/tests/consumer"


def run(*command: object, **options: Any) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([str(word) for word in command], capture_output=True, check=False, **options)


def must(*command: object) -> str:
    done = run(*command)
    text = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, text
    return text


def cached(build: Path, name: str) -> str:
    """A variable of a configured build."""
    lines = (build / "CMakeCache.txt").read_text().splitlines()
    found = [line.split("=", 1)[1] for line in lines if line.startswith(f"{name}:")]
    assert found, f"{build}/CMakeCache.txt has no {name}"
    return found[0]


@pytest.fixture(scope="session")
def prefix(cpp_build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, installed into a folder of its own."""
    folder = tmp_path_factory.mktemp("installed")
    must("cmake", "--install", cpp_build, "--prefix", folder)
    return folder


@pytest.fixture
def network(conv_artefact: Callable[..., Path]) -> Path:
    return conv_artefact(name="network.onnx")


def configure(kind: str, network: Path, build: Path, cpp_build: Path, *more: object) -> None:
    must(
        "cmake",
        *("-S", CONSUMER),
        *("-B", build),
        *("-G", "Ninja"),
        f"-DESPNET_KIND={kind}",
        f"-DESPNET_FILE={network}",
        "-DCMAKE_BUILD_TYPE=Release",
        f"-DCMAKE_CXX_FLAGS={cached(cpp_build, 'CMAKE_CXX_FLAGS')}",
        *more,
    )


def configure_own(folder: Path, prefix: Path, text: str) -> "subprocess.CompletedProcess[bytes]":
    """A project with `text` in its CMakeLists.txt."""
    start = "cmake_minimum_required(VERSION 3.16)\nproject(own LANGUAGES C CXX)\n"
    (folder / "CMakeLists.txt").write_text(start + text)
    return run("cmake", "-S", folder, "-B", folder / "build", "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefix}")


def said_by(done: "subprocess.CompletedProcess[bytes]") -> str:
    """What a command that failed says, in one line."""
    assert done.returncode != 0
    return " ".join((done.stdout + done.stderr).decode().split())


def labels_of(network: Path, pixels: NDArray[np.uint8]) -> bytes:
    with open_runner(network, runtime="openvino") as runner:
        return runner.infer({"image": pixels})["labels"].tobytes()


@pytest.mark.parametrize("kind", ["static", "shared"])
def test_a_project_finds_the_installed_library(kind, network, prefix, cpp_build, tmp_path, pixels) -> None:
    configure(kind, network, tmp_path / "build", cpp_build, f"-DCMAKE_PREFIX_PATH={prefix}")
    must("cmake", "--build", tmp_path / "build", "-j2")
    answer = run(tmp_path / "build/consumer", input=pixels().tobytes())
    assert answer.stderr.decode() == ""
    assert answer.stdout == labels_of(network, pixels())


@pytest.mark.slow
def test_a_project_takes_in_the_sources(network, cpp_build, tmp_path, pixels) -> None:
    openvino = f"-DOpenVINO_DIR={cached(cpp_build, 'OpenVINO_DIR')}"
    configure("source", network, tmp_path / "build", cpp_build, openvino)
    must("cmake", "--build", tmp_path / "build", "-j2")
    answer = run(tmp_path / "build/consumer", input=pixels().tobytes())
    assert answer.stderr.decode() == ""
    assert answer.stdout == labels_of(network, pixels())
    built = {path.name for path in (tmp_path / "build/espnet").iterdir()}
    assert not built & {"libespnet_runtime.so", "tests", "tools", "examples"}
    # The kind of the project's other libraries is its own choice.
    assert "BUILD_SHARED_LIBS" not in (tmp_path / "build/CMakeCache.txt").read_text()


def test_a_shared_library_asks_its_user_for_nothing(network, prefix, cpp_build, tmp_path) -> None:
    nothing = [f"-DCMAKE_DISABLE_FIND_PACKAGE_{name}=ON" for name in ("OpenVINO", "OpenSSL", "Threads", "TensorRT")]
    configure("shared", network, tmp_path / "build", cpp_build, f"-DCMAKE_PREFIX_PATH={prefix}", *nothing)


def test_a_changed_network_is_built_in_again(network, prefix, cpp_build, tmp_path, pixels, conv_artefact, conv_weights):
    configure("shared", network, tmp_path / "build", cpp_build, f"-DCMAKE_PREFIX_PATH={prefix}")
    must("cmake", "--build", tmp_path / "build", "-j2")
    before = run(tmp_path / "build/consumer", input=pixels().tobytes()).stdout
    conv_weights["w2"] *= -1
    conv_artefact(name="network.onnx")
    conv_weights["w2"] *= -1
    must("cmake", "--build", tmp_path / "build", "-j2")
    after = run(tmp_path / "build/consumer", input=pixels().tobytes()).stdout
    assert after == labels_of(network, pixels())
    assert after != before


def test_a_network_that_is_not_its_manifests_is_not_built_in(network, prefix, cpp_build, tmp_path) -> None:
    configure("shared", network, tmp_path / "build", cpp_build, f"-DCMAKE_PREFIX_PATH={prefix}")
    network.write_bytes(network.read_bytes() + b"\0")
    done = run("cmake", "--build", tmp_path / "build", "-j2")
    assert done.returncode != 0
    said = " ".join(done.stdout.decode().split())
    assert "its manifest says" in said
    assert "export it again" in said


def test_a_missing_manifest_is_said_at_once(network, prefix, cpp_build, tmp_path) -> None:
    network.with_name("network.onnx.json").unlink()
    done = run(
        *("cmake", "-S", CONSUMER, "-B", tmp_path / "build", "-G", "Ninja", "-DESPNET_KIND=shared"),
        f"-DESPNET_FILE={network}",
        f"-DCMAKE_PREFIX_PATH={prefix}",
    )
    said = " ".join(done.stderr.decode().split())
    assert done.returncode != 0
    assert "network.onnx.json is missing; make both files with espnet-export" in said


def test_a_kind_that_is_not_there_names_those_that_are(network, prefix, cpp_build, tmp_path) -> None:
    done = run(
        *("cmake", "-S", CONSUMER, "-B", tmp_path / "build", "-G", "Ninja", "-DESPNET_KIND=dynamic"),
        f"-DESPNET_FILE={network}",
        f"-DCMAKE_PREFIX_PATH={prefix}",
    )
    said = " ".join(done.stderr.decode().split())
    assert done.returncode != 0
    assert '"dynamic" is not installed here; one of: static;shared' in said


def test_one_kind_of_library_is_found_in_a_project(prefix, cpp_build, tmp_path) -> None:
    find = "find_package(espnet_runtime REQUIRED{})\n"
    done = configure_own(tmp_path, prefix, find.format(" COMPONENTS shared") + find.format(" COMPONENTS static"))
    assert 'espnet::runtime is the shared library here already; ask for "shared" in both places' in said_by(done)
    done = configure_own(tmp_path, prefix, find.format(" COMPONENTS shared") + find.format(""))
    assert done.returncode == 0, done.stderr.decode()


OWN_PROGRAM = """
find_package(espnet_runtime REQUIRED COMPONENTS shared)
add_executable(own own.cpp)
target_link_libraries(own PRIVATE espnet::runtime)
"""


def test_two_files_of_one_name_in_a_program_are_refused(network, prefix, tmp_path) -> None:
    other = tmp_path / "other" / network.name
    other.parent.mkdir()
    for end in ("", ".json"):
        other.with_name(network.name + end).write_bytes(network.with_name(network.name + end).read_bytes())
    (tmp_path / "own.cpp").write_text("int main() {}\n")
    text = OWN_PROGRAM + f"espnet_embed(own {network})\nespnet_embed(own {other})\n"
    said = said_by(configure_own(tmp_path, prefix, text))
    assert f"own has a file of the name network.onnx already; rename {other}" in said


def test_the_words_of_a_language_model_are_built_in(network, prefix, tmp_path) -> None:
    words = tmp_path / "some words.txt"
    words.write_text("the\ncat\n")
    manifest = network.with_name("network.onnx.json")
    content = json.loads(manifest.read_text())
    sha256 = hashlib.sha256(words.read_bytes()).hexdigest()
    content["vocabulary"] = {"name": words.name, "sha256": sha256, "bytes": 8}
    manifest.write_text(json.dumps(content))
    (tmp_path / "own.cpp").write_text(
        "#include <cstdio>\n#include <string>\n#include <espnet_embedded/network_onnx.hpp>\n"
        "int main() { std::fputs(std::string(espnet::embedded::network_onnx_vocabulary).c_str(), stdout); }\n"
    )
    text = OWN_PROGRAM + f"espnet_embed(own {network})\n"
    assert configure_own(tmp_path, prefix, text).returncode == 0
    must("cmake", "--build", tmp_path / "build", "-j2")
    assert must(tmp_path / "build/own") == words.read_text()

    words.write_text("the\ndog\n")
    said = said_by(run("cmake", "--build", tmp_path / "build", "-j2"))
    assert "some words.txt: sha256" in said
    words.unlink()
    said = said_by(configure_own(tmp_path, prefix, text))
    assert "some words.txt is missing, the words of network.onnx" in said
