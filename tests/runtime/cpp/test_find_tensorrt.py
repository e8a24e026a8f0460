"""cmake/FindTensorRT.cmake on folders that are laid out as NVIDIA's packages are; nothing is compiled."""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

CPP = Path(__file__).resolve().parents[3] / "runtime/cpp"
PROJECT = """
cmake_minimum_required(VERSION 3.16)
project(probe LANGUAGES CXX)
find_package(TensorRT REQUIRED)
get_target_property(includes TensorRT::TensorRT INTERFACE_INCLUDE_DIRECTORIES)
get_target_property(runtime TensorRT::TensorRT INTERFACE_LINK_LIBRARIES)
message(STATUS "found <${TensorRT_VERSION}> rtx <${TensorRT_IS_RTX}> ${TensorRT_LIBRARY} ${includes} ${runtime}")
"""


def version_header(numbers: tuple[int, int, int], suffix: str | None) -> str:
    """The macros of NvInferVersion.h: numbers, or since 10.13 the names of macros that have the numbers."""
    lines = []
    for part, number in zip(("MAJOR", "MINOR", "PATCH"), numbers, strict=True):
        if suffix is None:
            lines.append(f"#define NV_TENSORRT_{part} {number} //!< TensorRT's")
        else:
            lines += [
                f"#define TRT_{part}_{suffix} {number}",
                f"#define NV_TENSORRT_{part} TRT_{part}_{suffix} //!< its",
            ]
    return "\n".join(lines) + "\n"


def lay_out(root: Path, library: str, header: str, cuda: str = "", multiarch: bool = False) -> None:
    """Empty files where a package has its headers and libraries; `cuda`: the folder of the CUDA runtime's."""
    folder = f"{platform.machine()}-linux-gnu" if multiarch else ""
    files = {
        root / "include" / folder / "NvInfer.h": "",
        root / "include" / folder / "NvInferVersion.h": header,
        root / "lib" / folder / f"lib{library}.so": "",
        root / cuda / "include/cuda_runtime_api.h": "",
        root / cuda / "lib/libcudart.so": "",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def find(tmp_path: Path, root: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    source = tmp_path / "probe"
    source.mkdir()
    (source / "CMakeLists.txt").write_text(PROJECT)
    return subprocess.run(
        [
            *("cmake", "-S", source, "-B", tmp_path / "build", f"-DCMAKE_MODULE_PATH={CPP / 'cmake'}"),
            *(f"-DTensorRT_ROOT={root}", f"-DCUDAToolkit_ROOT={root}", *more),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("library", "numbers", "suffix", "rtx"),
    [
        ("nvinfer", (8, 5, 2), None, "OFF"),
        ("nvinfer", (10, 3, 0), None, "OFF"),
        ("nvinfer", (10, 13, 3), "ENTERPRISE", "OFF"),
        ("nvinfer", (11, 4, 1), "ENTERPRISE", "OFF"),
        ("tensorrt_rtx", (1, 7, 1), "RTX", "ON"),
    ],
)
def test_it_reads_the_version_in_both_forms(library, numbers, suffix, rtx, tmp_path) -> None:
    root = tmp_path / "sdk"
    lay_out(root, library, version_header(numbers, suffix))
    done = find(tmp_path, root)
    assert done.returncode == 0, done.stderr
    assert f"found <{'.'.join(map(str, numbers))}> rtx <{rtx}> {root}/lib/lib{library}.so" in done.stdout


def test_it_knows_the_folders_of_debian_packages_and_of_a_toolkit(tmp_path) -> None:
    root = tmp_path / "usr"
    cuda = f"targets/{platform.machine()}-linux"
    lay_out(root, "nvinfer", version_header((10, 3, 0), None), cuda, multiarch=True)
    done = find(tmp_path, root)
    assert done.returncode == 0, done.stderr
    assert f"{root}/include/{platform.machine()}-linux-gnu;{root}/{cuda}/include" in done.stdout
    assert f"{root}/{cuda}/lib/libcudart.so" in done.stdout


def test_without_the_cuda_runtime_it_is_not_found(tmp_path) -> None:
    root = tmp_path / "sdk"
    lay_out(root, "nvinfer", version_header((10, 3, 0), None))
    (root / "include/cuda_runtime_api.h").unlink()
    # What this machine has in the usual places does not count.
    usual = ["/usr/include", "/usr/local/include", "/usr/local/cuda/include"]
    usual.append(f"/usr/local/cuda/targets/{platform.machine()}-linux/include")
    done = find(tmp_path, root, f"-DCMAKE_IGNORE_PATH={';'.join(usual)}")
    assert done.returncode != 0
    assert "TensorRT_CUDA_INCLUDE_DIR" in done.stderr


def test_asked_for_and_not_there_is_an_error_with_the_way_out(tmp_path) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    done = subprocess.run(
        [
            *("cmake", "-S", CPP, "-B", tmp_path, "-DESPNET_WITH_OPENVINO=OFF", "-DESPNET_WITH_TENSORRT=ON"),
            "-DCMAKE_DISABLE_FIND_PACKAGE_TensorRT=ON",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    said = " ".join(done.stderr.split())
    assert done.returncode != 0
    assert "TensorRT was not found, and ESPNET_WITH_TENSORRT is ON: apt-get install libnvinfer-dev" in said
