"""The C++ library gives the answers of the Python package, through its C interface and the same OpenVINO."""

import ctypes
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import networks
from espnet_edge.errors import EspnetEdgeError
from espnet_edge.export import ExportOptions, export
from espnet_edge.export.progress import Progress
from espnet_edge.model.registry import create_model
from espnet_edge.model.seeded import load_seeded_weights
from espnet_edge.runtime import Manifest, open_runner
from espnet_edge.runtime.answers import photo_answer
from espnet_edge.runtime.images import load_photo, photo_input
from espnet_edge.runtime.manifest import read_manifest

INPUT, CHECK = 2, 4
STEPS = 50
# Probabilities: the C library's exponential differs from NumPy's in the last bit. Edges: the order of one division.
SCORE_TOLERANCE = 1e-6
PIXEL_TOLERANCE = 1e-3
FIXTURES = Path(__file__).resolve().parents[3] / "runtime" / "cpp" / "tests" / "fixtures"
EDGES = ("left", "top", "right", "bottom")


class Error(ctypes.Structure):
    _fields_ = (("code", ctypes.c_int), ("message", ctypes.c_char * 1020))


class Image(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("height", ctypes.c_int),
        ("width", ctypes.c_int),
        ("row_stride", ctypes.c_ssize_t),
        ("pixel_stride", ctypes.c_int),
        ("is_bgr", ctypes.c_int),
    )


class Labels(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("height", ctypes.c_int),
        ("width", ctypes.c_int),
        ("row_stride", ctypes.c_ssize_t),
    )


class Class(ctypes.Structure):
    _fields_ = (("class_index", ctypes.c_int), ("score", ctypes.c_float))


class Box(ctypes.Structure):
    _fields_ = (
        ("class_index", ctypes.c_int),
        ("score", ctypes.c_float),
        *((edge, ctypes.c_double) for edge in EDGES),
    )


class RefusedError(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Network:
    """A network of the C++ library."""

    def __init__(self, library: ctypes.CDLL, path: Path) -> None:
        self._library = library
        self._handle = ctypes.c_void_p()
        self._call("espnet_open", str(path).encode(), None, ctypes.byref(self._handle))

    def close(self) -> None:
        self._library.espnet_close.restype = None
        self._library.espnet_close(self._handle)

    def segment(self, image: Image) -> NDArray[np.uint8]:
        labels = np.full((image.height, image.width), 255, np.uint8)
        place = Labels(labels.ctypes.data, image.height, image.width, 0)
        self._call("espnet_segment", self._handle, ctypes.byref(image), ctypes.byref(place), ctypes.c_size_t(1))
        return labels

    def classify(self, image: Image) -> list[Class]:
        return self._found("espnet_classify", image, (Class * 100)())

    def detect(self, image: Image) -> list[Box]:
        return self._found("espnet_detect", image, (Box * 10_000)())

    def step(self, token: int) -> NDArray[np.float32]:
        logits, count = ctypes.POINTER(ctypes.c_float)(), ctypes.c_size_t()
        one = ctypes.c_size_t(1)
        place = ctypes.byref(ctypes.c_int64(token)), one, ctypes.byref(logits), ctypes.byref(count)
        self._call("espnet_step", self._handle, *place)
        return np.ctypeslib.as_array(logits, (count.value,)).copy()

    def _found(self, name: str, image: Image, place: Any) -> list[Any]:
        count = ctypes.c_size_t()
        one, capacity = ctypes.c_size_t(1), ctypes.c_size_t(len(place))
        self._call(name, self._handle, ctypes.byref(image), one, place, capacity, ctypes.byref(count))
        assert count.value <= len(place)
        return list(place[: count.value])

    def _call(self, name: str, *arguments: Any) -> None:
        error = Error()
        code = getattr(self._library, name)(*arguments, ctypes.byref(error))
        if code:
            raise RefusedError(code, error.message.decode())


@pytest.fixture
def opened(cpp_library: ctypes.CDLL) -> Callable[[Path], Any]:
    @contextmanager
    def open_network(path: Path) -> Iterator[Network]:
        network = Network(cpp_library, path)
        try:
            yield network
        finally:
            network.close()

    return open_network


def image_of(pixels: NDArray[np.uint8]) -> Image:
    """A view of (height, width, 3) pixels, which must live as long."""
    return Image(pixels.ctypes.data, pixels.shape[0], pixels.shape[1], pixels.strides[0], pixels.strides[1], 0)


@cache
def python_answer(path: Path, photo: Path) -> Any:
    manifest = read_manifest(path)
    pixels = load_photo(photo)
    with open_runner(path, runtime="openvino") as runner:
        image = photo_input(pixels, manifest)
        # A fixed batch is filled with copies.
        batch = np.concatenate([image] * max(1, manifest.smallest_batch))
        outputs = runner.infer({manifest.inputs[0].name: batch})
    return photo_answer(outputs, manifest, pixels.shape[:2])


def exported(folder: Path, model: str, **options: Any) -> Path:
    export(ExportOptions(model=model, out=folder, engine="none", **options), Progress())
    return folder / f"{model}.onnx"


@pytest.fixture(scope="module", params=["deploy", "raw", "lowres"])
def segmentation(request: pytest.FixtureRequest, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published network of half the width, for 256x512."""
    return exported(
        tmp_path_factory.mktemp("seg"),
        "seg",
        width_mult=0.5,
        size=(256, 512),
        io=request.param,
        weights=str(shared / "weights" / "espnetv2_s_0.5_city_512x256.pth"),
    )


@pytest.mark.shared
@pytest.mark.parametrize("photo", ["sample13_512x256.png", "sample2_1024x512.png", "sample6_800x320.png"])
def test_label_maps_are_equal_in_every_pixel(opened, segmentation: Path, shared: Path, photo: str) -> None:
    path = shared / "golden" / "seg" / "photos" / photo
    pixels = load_photo(path)
    expected = python_answer(segmentation, path)
    assert len(np.unique(expected)) > 3
    with opened(segmentation) as network:
        np.testing.assert_array_equal(network.segment(image_of(pixels)), expected)


@pytest.mark.shared
def test_strides_orders_and_wide_pixels_do_not_change_labels(opened, segmentation: Path, shared: Path) -> None:
    path = shared / "golden" / "seg" / "photos" / "sample6_800x320.png"
    pixels = load_photo(path)
    expected = python_answer(segmentation, path)
    height, width = pixels.shape[:2]
    wide = np.full((height, width + 7, 4), 99, np.uint8)
    wide[:, :width, :3] = pixels[..., ::-1]
    view = wide[:, :width, :3]
    upside_down = np.ascontiguousarray(pixels[::-1])
    last = upside_down.ctypes.data + (height - 1) * width * 3
    with opened(segmentation) as network:
        bgra = Image(view.ctypes.data, height, width, view.strides[0], 4, 1)
        np.testing.assert_array_equal(network.segment(bgra), expected)
        negative = Image(last, height, width, -width * 3, 3, 0)
        np.testing.assert_array_equal(network.segment(negative), expected)


@pytest.fixture(scope="module", params=["deploy", "raw"])
def classifier(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cls")
    return exported(folder, "cls", width_mult=0.5, io=request.param, weights="random")


@pytest.mark.shared
@pytest.mark.parametrize("photo", ["sample4_resize256_centercrop224.png", "sample5_224x224.png"])
def test_classes_are_equal(opened, classifier: Path, shared: Path, photo: str) -> None:
    check_classes(opened, classifier, shared / "golden" / "cls" / "photos" / photo)


@pytest.mark.shared
@pytest.mark.parametrize("io", ["deploy", "raw"])
def test_classes_that_are_present_are_equal(opened, shared: Path, io: str) -> None:
    check_classes(
        opened,
        networks.multi_label_folder(io) / "cls.onnx",
        shared / "golden" / "cls" / "photos" / "sample5_224x224.png",
    )


def check_classes(opened: Callable[[Path], Any], path: Path, photo: Path) -> None:
    pixels = load_photo(photo)
    expected = python_answer(path, photo)
    assert expected
    with opened(path) as network:
        found = network.classify(image_of(pixels))
    assert [one.class_index for one in found] == [one.class_index for one in expected]
    scores = [one.score for one in expected]
    np.testing.assert_allclose([one.score for one in found], scores, rtol=0, atol=SCORE_TOLERANCE)


@pytest.mark.shared
def test_boxes_are_equal(opened, shared: Path) -> None:
    path = networks.detection_folder() / "det.onnx"
    photo = shared / "golden" / "det" / "preprocess_sample8_native.png"
    pixels = load_photo(photo)
    expected = python_answer(path, photo)
    with opened(path) as network:
        found = network.detect(image_of(pixels))
    assert [one.class_index for one in found] == [one.class_index for one in expected]
    for edge, tolerance in [("score", SCORE_TOLERANCE), *((edge, PIXEL_TOLERANCE) for edge in EDGES)]:
        np.testing.assert_allclose(
            [getattr(one, edge) for one in found], [getattr(one, edge) for one in expected], rtol=0, atol=tolerance
        )


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven words, for the full vocabulary takes a minute to export."""
    folder = tmp_path_factory.mktemp("lm")
    network = create_model("lm", width_mult=1.0, num_classes=11)
    load_seeded_weights(network)
    torch.save(network.state_dict(), folder / "best.pth")
    (folder / "words.txt").write_text("".join(f"word{i}\n" for i in range(11)))
    return exported(folder / "out", "lm", weights=str(folder / "best.pth"), vocabulary=folder / "words.txt")


def python_logits(path: Path, manifest: Manifest, tokens: list[int]) -> list[NDArray[np.float32]]:
    batch = manifest.smallest_batch
    with open_runner(path, runtime="openvino") as runner:
        shapes = {tensor.name: tensor for tensor in runner.inputs}
        states = {
            state.input: np.zeros(
                [size if isinstance(size, int) else batch for size in shapes[state.input].shape], np.float32
            )
            for state in manifest.states
        }
        found = []
        for token in tokens:
            outputs = runner.infer({"token": np.full(batch, token, np.int64), **states})
            states = {state.input: outputs[state.output].copy() for state in manifest.states}
            found.append(outputs["logits"][0].copy())
    return found


def test_fifty_steps_of_a_language_model_are_equal(opened, language_model: Path) -> None:
    manifest = read_manifest(language_model)
    tokens = [(7 * i * i + 3) % manifest.num_classes for i in range(STEPS)]
    with opened(language_model) as network:
        for found, expected in zip(
            [network.step(token) for token in tokens],
            python_logits(language_model, manifest, tokens),
            strict=True,
        ):
            np.testing.assert_array_equal(found, expected)


# Bad input. ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A tiny segmentation network of 8x12 pixels."""
    for suffix in ("", ".json"):
        shutil.copy(f"{FIXTURES / 'seg.onnx'}{suffix}", tmp_path)
    return tmp_path / "seg.onnx"


def refusal(opened: Callable[[Path], Any], path: Path) -> RefusedError:
    with pytest.raises(RefusedError) as refused, opened(path):
        pass
    return refused.value


def same_text(path: Path, text: str) -> None:
    with pytest.raises(EspnetEdgeError) as python:
        open_runner(path, runtime="openvino")
    # The way out is an option there and a flag here.
    assert text == str(python.value).replace("pass --trust", "open it with trust")


def test_a_file_without_its_manifest(opened, copied: Path) -> None:
    Path(f"{copied}.json").unlink()
    error = refusal(opened, copied)
    assert error.code == CHECK
    same_text(copied, str(error))


def test_another_file_than_its_manifest_describes(opened, copied: Path) -> None:
    copied.write_bytes(copied.read_bytes()[:-1] + b"x")
    error = refusal(opened, copied)
    assert error.code == CHECK
    same_text(copied, str(error))


def test_no_file(opened, tmp_path: Path) -> None:
    error = refusal(opened, tmp_path / "none.onnx")
    assert error.code == INPUT
    same_text(tmp_path / "none.onnx", str(error))


def test_another_task_and_no_photo(opened, copied: Path) -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    with opened(copied) as network:
        with pytest.raises(
            RefusedError, match="is for segmentation, which classify does not do; call segment"
        ) as other:
            network.classify(image_of(pixels))
        with pytest.raises(RefusedError, match="null") as null:
            network.segment(Image(None, 64, 64, 0, 3, 0))
        with pytest.raises(RefusedError) as narrow:
            network.segment(Image(pixels.ctypes.data, 64, 64, 64, 3, 0))
        assert {other.value.code, null.value.code, narrow.value.code} == {INPUT}
        network.segment(image_of(pixels))
