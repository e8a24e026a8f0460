"""The C++ runtime from Python, by its C interface: what runtime/cpp/include/espnet/espnet.h declares, of it what the
benchmark calls.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from espnet_edge.errors import CheckError, InputError, UnavailableError
from espnet_edge.runtime.answers import LabelMap, ScoredBox, ScoredClass

Pixels = NDArray[np.uint8]

_MOST_ANSWERS = 20_000  # a box of each class for 200 at most: more than any photo has


class _Error(ctypes.Structure):
    _fields_ = (("code", ctypes.c_int), ("message", ctypes.c_char * 1020))


class _Options(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_size_t),
        ("backend", ctypes.c_char_p),
        ("threads", ctypes.c_int),
        ("trust", ctypes.c_int),
        ("device", ctypes.c_int),
        ("cuda_graphs", ctypes.c_int),
    )


class _Image(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("height", ctypes.c_int),
        ("width", ctypes.c_int),
        ("row_stride", ctypes.c_ssize_t),
        ("pixel_stride", ctypes.c_int),
        ("is_bgr", ctypes.c_int),
    )


class _Labels(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("height", ctypes.c_int),
        ("width", ctypes.c_int),
        ("row_stride", ctypes.c_ssize_t),
    )


class _Class(ctypes.Structure):
    _fields_ = (("class_index", ctypes.c_int), ("score", ctypes.c_float))


class _Box(ctypes.Structure):
    _fields_ = (
        ("class_index", ctypes.c_int),
        ("score", ctypes.c_float),
        ("left", ctypes.c_double),
        ("top", ctypes.c_double),
        ("right", ctypes.c_double),
        ("bottom", ctypes.c_double),
    )


class CLibrary:
    """The shared library at `path`.

    Raises:
        UnavailableError: it is not there, or cannot be loaded.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UnavailableError(f"{path}: no such library; build it with make cpp")
        try:
            self._library = ctypes.CDLL(str(path.resolve()))
        except OSError as error:
            raise UnavailableError(f"{path}: {error}; build it again with make cpp") from None
        pointer, out = ctypes.c_void_p, ctypes.POINTER
        size, error_out = ctypes.c_size_t, out(_Error)
        arguments: dict[str, tuple[Any, ...]] = {
            "espnet_open": (ctypes.c_char_p, out(_Options), out(pointer), error_out),
            "espnet_segment": (pointer, out(_Image), out(_Labels), size, error_out),
            "espnet_classify": (pointer, out(_Image), size, out(_Class), size, out(size), error_out),
            "espnet_detect": (pointer, out(_Image), size, out(_Box), size, out(size), error_out),
            "espnet_upsample_argmax": (pointer, *[ctypes.c_int] * 3, out(_Labels), error_out),
        }
        for name, types in arguments.items():
            getattr(self._library, name).argtypes = types
        self._library.espnet_close.argtypes = (pointer,)
        self._library.espnet_close.restype = None
        self._library.espnet_init_options.argtypes = (out(_Options), size)
        self._library.espnet_init_options.restype = None
        self._library.espnet_version.restype = ctypes.c_char_p

    @property
    def version(self) -> str:
        """Of the library."""
        return str(self._library.espnet_version().decode())

    @contextmanager
    def opened(self, artefact: Path, threads: int) -> Iterator["CNetwork"]:
        """The network in the file `artefact`, in OpenVINO."""
        options, handle, error = _Options(), ctypes.c_void_p(), _Error()
        self._library.espnet_init_options(ctypes.byref(options), ctypes.sizeof(options))
        options.backend, options.threads = b"openvino", threads
        failed = self._library.espnet_open(
            str(artefact).encode(), ctypes.byref(options), ctypes.byref(handle), ctypes.byref(error)
        )
        raise_for(failed, error)
        try:
            yield CNetwork(self._library, handle)
        finally:
            self._library.espnet_close(handle)

    def upsample_argmax(self, logits: NDArray[np.float32], labels: LabelMap) -> None:
        """Fill `labels` (height, width) from `logits` (classes, h, w), both packed."""
        error = _Error()
        failed = self._library.espnet_upsample_argmax(
            logits.ctypes.data, *logits.shape, ctypes.byref(_labels_of(labels)), ctypes.byref(error)
        )
        raise_for(failed, error)


class CNetwork:
    """An open network; its answers are those of `runtime.answers.photo_answer`, for photos (H, W, 3), RGB, packed."""

    def __init__(self, library: ctypes.CDLL, handle: ctypes.c_void_p) -> None:
        self._library, self._handle, self._error = library, handle, _Error()
        # Made once, as a program in C would have it.
        self._classes, self._boxes = (_Class * _MOST_ANSWERS)(), (_Box * _MOST_ANSWERS)()

    def segment(self, photo: Pixels) -> LabelMap:
        """The label map at the photo's size."""
        labels = np.empty(photo.shape[:2], np.uint8)
        failed = self._library.espnet_segment(
            self._handle,
            ctypes.byref(_image_of(photo)),
            ctypes.byref(_labels_of(labels)),
            1,
            ctypes.byref(self._error),
        )
        raise_for(failed, self._error)
        return labels

    def classify(self, photo: Pixels) -> list[ScoredClass]:
        """The best classes."""
        return [
            ScoredClass(one.class_index, one.score) for one in self._listed("espnet_classify", self._classes, photo)
        ]

    def detect(self, photo: Pixels) -> list[ScoredBox]:
        """The boxes, the best first."""
        return [
            ScoredBox(one.class_index, one.score, one.left, one.top, one.right, one.bottom)
            for one in self._listed("espnet_detect", self._boxes, photo)
        ]

    def _listed(self, function: str, found: Any, photo: Pixels) -> list[Any]:
        count = ctypes.c_size_t()
        failed = getattr(self._library, function)(
            self._handle,
            ctypes.byref(_image_of(photo)),
            1,
            found,
            _MOST_ANSWERS,
            ctypes.byref(count),
            ctypes.byref(self._error),
        )
        raise_for(failed, self._error)
        return list(found[: count.value])


def raise_for(failed: int, error: _Error) -> None:
    """Raise what a function of the library reports, by its code."""
    if failed:
        kind = {2: InputError, 3: UnavailableError, 4: CheckError}.get(failed, RuntimeError)
        raise kind(error.message.decode(errors="replace"))


def _image_of(photo: Pixels) -> _Image:
    return _Image(photo.ctypes.data, *photo.shape[:2], 0, 3, 0)


def _labels_of(labels: LabelMap) -> _Labels:
    return _Labels(labels.ctypes.data, *labels.shape, 0)
