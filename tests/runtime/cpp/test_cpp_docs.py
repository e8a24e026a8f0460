"""docs/cpp.md shows code that is built and run."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np

from espnet_edge.runtime.runner import open_runner

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/cpp.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_first_program_is_the_example() -> None:
    example = (ROOT / "runtime/cpp/examples/segment.cpp").read_text()
    assert example.split("\n", 1)[1] == blocks("cpp")[0]


def test_the_first_program_gives_python_s_labels(cpp_build: Path, conv_artefact, tmp_path, pixels) -> None:
    network = conv_artefact()
    photo, labels = tmp_path / "photo.ppm", tmp_path / "labels.pgm"
    photo.write_bytes(b"P6\n16 8\n255\n" + pixels().tobytes())
    subprocess.run([cpp_build / "examples/example_segment", network, photo, labels], check=True)
    with open_runner(network, runtime="openvino") as runner:
        expected = runner.infer({"image": pixels()})["labels"]
    assert labels.read_bytes() == b"P5\n16 8\n255\n" + expected.tobytes()
    assert len(np.unique(expected)) > 1


def test_two_threads_take_all_frames(cpp_build: Path, conv_artefact, tmp_path, pixels) -> None:
    photo = tmp_path / "photo.ppm"
    photo.write_bytes(b"P6\n16 8\n255\n" + pixels().tobytes())
    command = [cpp_build / "examples/example_camera", conv_artefact(), photo, "50"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "50 frames\n"


def test_an_example_ends_with_the_code_and_the_text_of_the_error(
    cpp_build: Path, conv_artefact: Callable[..., Path], tmp_path: Path
) -> None:
    photo = tmp_path / "photo.ppm"
    photo.write_bytes(b"P6\n16 8\n255\n")
    command = [cpp_build / "examples/example_segment", conv_artefact(), photo, tmp_path / "labels.pgm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == f"{photo}: fewer pixels than its header says; make it again\n"


def test_the_python_snippet_runs(cpp_build: Path) -> None:
    source = blocks("python")[0].replace("build/cpp", str(cpp_build))
    printed = subprocess.run(["python3", "-c", source], capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", printed)


def test_every_file_and_variable_of_the_page_is_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", PAGE) if "://" not in link]
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
    cmake = (ROOT / "runtime/cpp/CMakeLists.txt").read_text()
    assert [name for name in re.findall(r"ESPNET_[A-Z_]+", PAGE) if name not in cmake] == []
