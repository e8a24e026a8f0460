"""The C++ library's photos in and answers out against the Python package's, on the same memory."""

import ctypes
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from espnet_edge.errors import CheckError, InputError
from espnet_edge.runtime.answers import ScoredBox, photo_answer, resize_labels, segmentation
from espnet_edge.runtime.boxes import prior_boxes_in_pixels
from espnet_edge.runtime.images import Pixels, preprocess, to_input
from espnet_edge.runtime.manifest import Manifest, Preprocessing
from espnet_edge.runtime.pictures import _painted, class_colour

_TASKS = ["classification", "multi_label", "segmentation", "detection"]
_KINDS = [
    "labels",
    "argmax",
    "upsample_argmax",
    "top5",
    "softmax_top5",
    "rank_top5",
    "threshold",
    "sigmoid_threshold",
    "nms",
    "decode_nms",
]
_DTYPES = ["float32", "float16", "uint8", "int32", "int64"]
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Outputs = dict[str, NDArray[Any]]


class _Photo(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("height", ctypes.c_int),
        ("width", ctypes.c_int),
        ("row_stride", ctypes.c_ssize_t),
        ("pixel_stride", ctypes.c_int),
        ("bgr", ctypes.c_int),
    ]


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("dtype", ctypes.c_int),
        ("rank", ctypes.c_int),
        ("shape", ctypes.c_int64 * 8),
        ("data", ctypes.c_void_p),
    ]


class _Rule(ctypes.Structure):
    _fields_ = [
        ("task", ctypes.c_int),
        ("kind", ctypes.c_int),
        ("num_classes", ctypes.c_int),
        ("height", ctypes.c_int),
        ("width", ctypes.c_int),
        ("score_threshold", ctypes.c_double),
        ("iou_threshold", ctypes.c_double),
        ("max_per_class", ctypes.c_int),
    ]


@pytest.fixture(scope="module")
def cpp(cpp_file: Callable[[str], Path]) -> ctypes.CDLL:
    return ctypes.CDLL(str(cpp_file("tests/libespnet_processing_for_tests.so")))


def _at(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _checked(call: Callable[..., int], *arguments: object) -> None:
    text = ctypes.create_string_buffer(512)
    code = call(*arguments, text)
    if code:
        raise {2: InputError, 4: CheckError}[code](text.value.decode())


def _view(photo: Pixels, order: str = "rgb") -> _Photo:
    return _Photo(photo.ctypes.data, *photo.shape[:2], photo.strides[0], photo.strides[1], order == "bgr")


def _prepared(cpp: ctypes.CDLL, view: _Photo, size: tuple[int, int], shorter: int = 0, mean_std: Any = None) -> Any:
    to = np.empty((*size, 3), np.uint8) if mean_std is None else np.empty((1, 3, *size), np.float32)
    numbers = None if mean_std is None else (ctypes.c_double * 6)(*mean_std)
    _checked(cpp.test_preprocess, ctypes.byref(view), *size, shorter, numbers, _at(to))
    return to


def _image_rule(size: tuple[int, int], shorter: int = 0, in_graph: bool = True) -> Preprocessing:
    resize = "shorter_side_crop" if shorter else "stretch"
    fields = {"resize": resize, "shorter_side": shorter or None, "height": size[0], "width": size[1]}
    return cast(
        Preprocessing, SimpleNamespace(**fields, scale=1 / 255, mean=_MEAN, std=_STD, normalise_in_graph=in_graph)
    )


def _manifest(task: str, kind: str, num_classes: int, size: tuple[int, int] = (8, 8)) -> Manifest:
    rule = SimpleNamespace(kind=kind, score_threshold=0.25, iou_threshold=0.45, max_per_class=200)
    return cast(
        Manifest,
        SimpleNamespace(task=task, num_classes=num_classes, postprocessing=rule, image=_image_rule(size)),
    )


def _cpp_answer(cpp: ctypes.CDLL, outputs: Outputs, manifest: Manifest, image: int = 0) -> Any:
    """What photo_answer gives, of the network's own size."""
    held = {name: np.ascontiguousarray(output) for name, output in outputs.items()}
    tensors = (_Tensor * len(held))(
        *(
            _Tensor(name.encode(), _DTYPES.index(o.dtype.name), o.ndim, (ctypes.c_int64 * 8)(*o.shape), o.ctypes.data)
            for name, o in held.items()
        )
    )
    rule, size = manifest.postprocessing, (manifest.image.height, manifest.image.width)
    given = _Rule(_TASKS.index(manifest.task), _KINDS.index(rule.kind), manifest.num_classes, *size, 0.25, 0.45, 200)
    arguments = (ctypes.byref(given), tensors, len(held), image)
    if manifest.task == "segmentation":
        labels = np.full(size, 255, np.uint8)
        _checked(cpp.test_segmentation, *arguments, _at(labels), *size)
        return labels
    rows, found = np.empty((8192, 6)), ctypes.c_int()
    _checked(cpp.test_scored, *arguments, _at(rows), len(rows), ctypes.byref(found))
    assert found.value <= len(rows)
    return rows[: found.value]


def _rows(answer: Any) -> NDArray[np.float64]:
    rows = [
        [a.class_index, a.score, *((a.left, a.top, a.right, a.bottom) if isinstance(a, ScoredBox) else (0,) * 4)]
        for a in answer
    ]
    return np.array(rows, np.float64).reshape(-1, 6)


def _assert_same_rows(cpp: ctypes.CDLL, outputs: Outputs, manifest: Manifest) -> int:
    expected = _rows(photo_answer(outputs, manifest, (manifest.image.height, manifest.image.width)))
    got = _cpp_answer(cpp, outputs, manifest)
    assert np.array_equal(got[:, 0], expected[:, 0])
    # The exponentials of NumPy and of the C library may differ by their last bit.
    np.testing.assert_array_max_ulp(got[:, 1].astype(np.float32), expected[:, 1].astype(np.float32), maxulp=1)
    np.testing.assert_allclose(got[:, 2:], expected[:, 2:], rtol=1e-6, atol=1e-4)
    return len(got)


def test_photos_are_resized_as_by_pillow(cpp: ctypes.CDLL) -> None:
    random = np.random.default_rng(0)
    sizes = [tuple(int(s) for s in random.integers(1, 90, 4)) for _ in range(300)]
    for height, width, to_height, to_width in [*sizes, (900, 3, 40, 5), (1200, 7, 3, 2), (64, 64, 64, 64)]:
        photo = random.integers(0, 256, (height, width, 3), np.uint8)
        size = (to_height, to_width)
        assert np.array_equal(_prepared(cpp, _view(photo), size), preprocess(photo, _image_rule(size)))


def test_photos_are_cropped_and_padded_as_by_pillow(cpp: ctypes.CDLL) -> None:
    random = np.random.default_rng(1)
    for _ in range(300):
        height, width, to_height, to_width, shorter = (int(s) for s in random.integers(1, 70, 5))
        photo = random.integers(0, 256, (height, width, 3), np.uint8)
        size = (to_height, to_width)
        assert np.array_equal(
            _prepared(cpp, _view(photo), size, shorter), preprocess(photo, _image_rule(size, shorter))
        )


@pytest.mark.parametrize("size", [(20, 33), (11, 70)])
def test_photos_may_have_any_strides_and_order(cpp: ctypes.CDLL, size: tuple[int, int]) -> None:
    photo = np.random.default_rng(2).integers(0, 256, (20, 33, 4), np.uint8)
    expected = preprocess(np.ascontiguousarray(photo[:, :, :3]), _image_rule(size))
    assert np.array_equal(_prepared(cpp, _view(photo), size), expected)
    swapped = np.ascontiguousarray(photo[::-1, :, [2, 1, 0]])
    assert np.array_equal(_prepared(cpp, _view(swapped[::-1], "bgr"), size), expected)


def test_normalised_photos_are_equal_to_the_last_bit(cpp: ctypes.CDLL) -> None:
    photo = np.random.default_rng(3).integers(0, 256, (64, 48, 3), np.uint8)
    manifest = cast(Manifest, SimpleNamespace(image=_image_rule((64, 48), in_graph=False)))
    got = _prepared(cpp, _view(photo), (64, 48), mean_std=(*_MEAN, *_STD))
    assert np.array_equal(got, to_input(photo[np.newaxis], manifest))


def test_a_narrow_photo_is_refused_with_the_same_text(cpp: ctypes.CDLL) -> None:
    photo = np.zeros((1, 60000, 3), np.uint8)
    with pytest.raises(InputError) as expected:
        preprocess(photo, _image_rule((224, 224), 256))
    with pytest.raises(InputError) as got:
        _prepared(cpp, _view(photo), (224, 224), 256)
    assert str(got.value) == str(expected.value)


def test_label_maps_are_resized_as_by_pillow(cpp: ctypes.CDLL) -> None:
    random = np.random.default_rng(4)
    for _ in range(400):
        height, width, to_height, to_width = (int(s) for s in random.integers(1, 200, 4))
        labels = random.integers(0, 256, (height, width), np.uint8)
        to = np.empty((to_height, to_width), np.uint8)
        cpp.test_nearest(_at(labels), height, width, _at(to), to_height, to_width)
        assert np.array_equal(to, resize_labels(labels, to.shape))


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_label_maps_are_taken_in_any_integer_type(cpp: ctypes.CDLL, dtype: str) -> None:
    labels = np.random.default_rng(5).integers(0, 20, (2, 9, 13)).astype(dtype)
    manifest = _manifest("segmentation", "labels", 20, (9, 13))
    assert np.array_equal(_cpp_answer(cpp, {"labels": labels}, manifest, image=1), labels[1])


@pytest.mark.parametrize("kind", ["argmax", "upsample_argmax"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("ties", [False, True])
def test_the_best_class_is_the_same(cpp: ctypes.CDLL, kind: str, dtype: str, ties: bool) -> None:
    random = np.random.default_rng(6)
    logits = random.normal(0, 3, (2, 20, 75, 70)).astype(dtype)
    if ties:
        logits = np.round(logits / 3)
    size = (75, 70) if kind == "argmax" else (150, 171)
    manifest = _manifest("segmentation", kind, 20, size)
    expected = segmentation({"logits": logits}, manifest)
    assert np.array_equal(_cpp_answer(cpp, {"logits": logits}, manifest, image=1), expected[1])


@pytest.mark.parametrize("ties", [False, True])
def test_ranked_and_present_classes_are_the_same(cpp: ctypes.CDLL, ties: bool) -> None:
    random = np.random.default_rng(7)
    for _ in range(30):
        logits = random.normal(0, 4, (1, 100)).astype(np.float32)
        if ties:
            logits = np.round(logits)
        top = np.argsort(-logits, axis=1, kind="stable")[:, :5]
        scores = np.take_along_axis(logits, top, axis=1)
        probabilities = np.abs(logits) / 20
        assert _assert_same_rows(cpp, {"logits": logits}, _manifest("classification", "softmax_top5", 100)) == 5
        ranked = {"probabilities": probabilities}
        assert _assert_same_rows(cpp, ranked, _manifest("classification", "rank_top5", 100)) == 5
        given: Outputs = {"classes": top, "scores": scores}
        assert _assert_same_rows(cpp, given, _manifest("classification", "top5", 100)) == 5
        assert _assert_same_rows(cpp, {"logits": logits}, _manifest("multi_label", "sigmoid_threshold", 100))
        assert _assert_same_rows(cpp, {"scores": probabilities}, _manifest("multi_label", "threshold", 100))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("side", "kind"), [(300, "decode_nms"), (512, "decode_nms"), (300, "nms")])
def test_boxes_are_the_same(cpp: ctypes.CDLL, side: int, kind: str, dtype: str) -> None:
    random = np.random.default_rng(8)
    count = len(prior_boxes_in_pixels((side, side)))
    confidences = random.normal(0, 1.5, (1, count, 21)).astype(np.float32)
    outputs = {"confidences": confidences, "locations": random.normal(0, 1, (1, count, 4)).astype(np.float32)}
    if kind == "nms":
        corners = random.uniform(0, side, (1, 400, 2, 2)).astype(np.float32)
        boxes = np.concatenate([corners.min(axis=2), corners.max(axis=2)], axis=2)
        outputs = {"boxes": boxes, "scores": np.round(random.uniform(0, 1, (1, 400, 21)), 2).astype(np.float32)}
    outputs = {name: output.astype(dtype) for name, output in outputs.items()}
    assert _assert_same_rows(cpp, outputs, _manifest("detection", kind, 21, (side, side))) > 100


_NAN = np.full((1, 3, 8, 8), np.nan, np.float32)


@pytest.mark.parametrize(
    ("task", "kind", "outputs"),
    [
        ("segmentation", "labels", {"other": _NAN, "logits": _NAN}),
        ("segmentation", "labels", {"labels": np.zeros((1, 8), np.uint8)}),
        ("segmentation", "labels", {"labels": np.full((1, 8, 8), 3, np.int64)}),
        ("segmentation", "labels", {"labels": np.full((1, 8, 8), -1, np.int32)}),
        ("segmentation", "argmax", {"logits": _NAN}),
        ("segmentation", "upsample_argmax", {"logits": np.zeros((1, 3, 9, 8), np.float32)}),
        ("segmentation", "argmax", {"logits": np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1)}),
        ("segmentation", "upsample_argmax", {"logits": np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1)}),
        ("segmentation", "upsample_argmax", {"logits": np.eye(4, 64, dtype=np.float32)[::-1].reshape(1, 4, 8, 8)}),
        ("segmentation", "top5", {"logits": _NAN}),
        ("classification", "top5", {"classes": np.full((1, 5), 3), "scores": np.zeros((1, 5), np.float32)}),
        ("classification", "softmax_top5", {"logits": np.full((1, 3), np.inf, np.float16)}),
        ("classification", "nms", {"logits": _NAN}),
        ("multi_label", "threshold", {"scores": np.zeros((1, 4), np.float32)}),
        ("detection", "nms", {"boxes": np.zeros((1, 9, 4), np.float32), "scores": np.zeros((1, 8, 3), np.float32)}),
        (
            "detection",
            "decode_nms",
            {"confidences": np.zeros((1, 9, 3), np.float32), "locations": np.zeros((1, 9, 4), np.float32)},
        ),
    ],
)
def test_wrong_outputs_are_refused_with_the_same_text(cpp: ctypes.CDLL, task: str, kind: str, outputs: Outputs) -> None:
    manifest = _manifest(task, kind, 3, (300, 300) if kind == "decode_nms" else (8, 8))
    with pytest.raises(CheckError) as expected:
        photo_answer(outputs, manifest, (8, 8))
    with pytest.raises(CheckError) as got:
        _cpp_answer(cpp, outputs, manifest)
    assert str(got.value) == str(expected.value)


@pytest.mark.parametrize("opacity", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("dark", [False, True])
def test_label_maps_are_painted_the_same(cpp: ctypes.CDLL, opacity: float, dark: bool) -> None:
    random = np.random.default_rng(9)
    for size in [(1, 1), (7, 13), (64, 33), (3, 2600)]:
        photo = random.integers(0, 256, (*size, 3), np.uint8)
        labels = resize_labels(random.integers(0, 5 if dark else 40, (3, 4), np.uint8), size)
        colours = random.integers(0, 40 if dark else 256, (19, 3), np.uint8)
        classes = cast(Any, [SimpleNamespace(colour=tuple(int(c) for c in colour)) for colour in colours])
        painted = Image.fromarray(_painted(labels, classes))
        expected = np.array(Image.blend(Image.fromarray(photo), painted, opacity))
        got = np.empty_like(photo)
        numbers = (_at(labels), _at(colours), len(colours), ctypes.c_double(opacity), _at(got))
        _checked(cpp.test_paint, ctypes.byref(_view(photo)), *numbers)
        assert np.array_equal(got, expected)


def test_a_class_without_a_colour_gets_the_same(cpp: ctypes.CDLL) -> None:
    for index in range(256):
        rgb = np.empty(3, np.uint8)
        cpp.test_own_colour(index, _at(rgb))
        assert tuple(rgb) == class_colour(index, [])
