"""Arrays on the GPU that belong to others, read in place: `__cuda_array_interface__` (up to version 3) and DLPack.

Only what an engine can use as it is passes: device 0, a dtype and shape that fit, C order without gaps, aligned.
"""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from .manifest import TensorInfo

# TensorRT's documentation of IExecutionContext::setTensorAddress asks for it.
ALIGNMENT_BYTES = 256
_DEVICE = 0
# DLPack's numbers: https://dmlc.github.io/dlpack/latest/c_api.html
_CUDA, _CUDA_MANAGED = 2, 13
_DEVICE_NAMES = {1: "kDLCPU", 2: "kDLCUDA", 3: "kDLCUDAHost", 4: "kDLOpenCL", 7: "kDLVulkan", 8: "kDLMetal"}
_KINDS = {0: "int", 1: "uint", 2: "float", 4: "bfloat", 5: "complex", 6: "bool"}
_READ_ONLY_FLAG = 1


@dataclass(frozen=True)
class DeviceView:
    """An array in device memory. `stream`: what must be waited for before the first use, None where nothing must.

    `owner` keeps the memory alive: hold it until the GPU is done.
    """

    pointer: int
    dtype: str
    shape: tuple[int, ...]
    read_only: bool
    stream: int | None
    owner: object


class DeviceArray:
    """An array in a runner's device memory, for others to read through `__cuda_array_interface__` version 3.

    It is valid until the next inference of its runner, or until that is closed.

    Args:
        pointer: its first element.
        dtype: NumPy's name.
        shape: in C order without gaps.
        stream: that a reader must wait for; None where the result is already there.
    """

    def __init__(self, pointer: int, dtype: str, shape: tuple[int, ...], stream: int | None) -> None:
        self.dtype = np.dtype(dtype)
        self.shape = shape
        self.__cuda_array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": self.dtype.str,
            "data": (pointer, False),
            "strides": None,
            "stream": stream,
        }


def device_views(
    arrays: Mapping[str, Any], tensors: Sequence[TensorInfo], stream: int, source: str, *, to_write: bool
) -> dict[str, DeviceView]:
    """Each of `arrays` as a view, in the order of `tensors`; dtype and number of dimensions fit.

    Args:
        arrays: by name; each has `__dlpack__`, is a DLPack capsule, or has `__cuda_array_interface__`.
        tensors: the inputs or outputs that there are.
        stream: the consumer's, which DLPack's producers make wait for their work. A capsule must be ready.
        source: the file's name, for messages.
        to_write: the arrays are outputs.

    Raises:
        InputError: an array is not on the GPU, not contiguous, of another dtype, read-only, misaligned, or unknown.
    """
    names = [tensor.name for tensor in tensors]
    if unknown := [str(name) for name in arrays if name not in names]:
        raise InputError(f"{', '.join(unknown)}: no such tensor, {source} has {', '.join(names)}; rename it")
    views = {}
    for tensor in tensors:
        if tensor.name in arrays:
            view = _view(arrays[tensor.name], tensor.name, stream)
            _check(view, tensor, source, to_write=to_write)
            views[tensor.name] = view
    return views


def stream_handle(stream: object) -> int:
    """The integer of a stream: itself, or what `__cuda_stream__` gives.

    Raises:
        InputError: it is neither.
    """
    if isinstance(stream, int) and not isinstance(stream, bool) and stream >= 0:
        return stream
    if hasattr(stream, "__cuda_stream__"):
        return int(stream.__cuda_stream__()[1])
    raise InputError(
        f"stream: {type(stream).__name__} given, its handle is needed: an integer, or an object with __cuda_stream__ "
        "(PyTorch: stream.cuda_stream)"
    )


def _check(view: DeviceView, tensor: TensorInfo, source: str, *, to_write: bool) -> None:
    if view.dtype != tensor.dtype or len(view.shape) != len(tensor.shape):
        raise InputError(
            f"{tensor.name}: {view.dtype} {_text(view.shape)} given, {source} has {tensor.dtype} "
            f"{_text(tensor.shape)}; convert it on the GPU first"
        )
    if view.pointer == 0 or view.pointer % ALIGNMENT_BYTES:
        raise InputError(
            f"{tensor.name}: starts at address {view.pointer:#x}, a multiple of {ALIGNMENT_BYTES} is needed; "
            "copy it, or take the whole array instead of a part"
        )
    if to_write and view.read_only:
        raise InputError(f"{tensor.name}: is read-only, and the output would go there; give a writable array")


def _view(array: Any, name: str, stream: int) -> DeviceView:
    if type(array).__name__ == "PyCapsule":
        return _of_capsule(array, name, owner=array)
    # DLPack first: PyTorch's other interface is of version 2, which says nothing about streams.
    if hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__"):
        return _of_dlpack(array, name, stream)
    # A property that raises counts as missing: what an array on the CPU has.
    interface = getattr(array, "__cuda_array_interface__", None)
    if interface is None:
        raise InputError(
            f"{name}: {type(array).__name__} given, an array on the GPU is needed "
            "(with __dlpack__ or __cuda_array_interface__); use infer for arrays of NumPy"
        )
    return _of_interface(interface, name, owner=array)


def _of_interface(interface: Mapping[str, Any], name: str, owner: object) -> DeviceView:
    shape = tuple(int(size) for size in interface["shape"])
    dtype = np.dtype(interface["typestr"])
    if interface.get("mask") is not None:
        raise InputError(f"{name}: has a mask, which an engine cannot read; apply it first")
    if not dtype.isnative:
        raise InputError(f"{name}: {dtype.str} has the other byte order; convert it on the GPU first")
    strides = interface.get("strides")
    if strides is not None:
        _check_contiguous(name, shape, [stride / dtype.itemsize for stride in strides])
    stream = interface.get("stream")
    if stream == 0:
        raise InputError(f"{name}: its stream is 0, which the protocol forbids; 1 is the default stream")
    pointer, read_only = interface["data"]
    return DeviceView(int(pointer), dtype.name, shape, bool(read_only), stream, owner)


def _of_dlpack(array: Any, name: str, stream: int) -> DeviceView:
    _check_device(name, *(int(number) for number in array.__dlpack_device__()))
    try:
        capsule = array.__dlpack__(stream=stream)
    except (BufferError, RuntimeError, TypeError) as error:  # what PyTorch and CuPy raise, for a gradient for example
        raise InputError(f"{name}: {type(array).__name__} gives no DLPack capsule ({error})") from error
    # The capsule is not consumed: its own destructor releases the memory when the view is dropped.
    return _of_capsule(capsule, name, owner=(array, capsule))


class _Device(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int32), ("id", ctypes.c_int32))


class _DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _VersionedTensor(ctypes.Structure):
    """DLManagedTensorVersioned of DLPack 1.0; before that the tensor itself comes first."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("manager_context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


def _of_capsule(capsule: object, name: str, owner: object) -> DeviceView:
    kind = _capsule_name(capsule)
    read_only = False
    if kind == b"dltensor":
        tensor = ctypes.cast(_capsule_pointer(capsule, kind), ctypes.POINTER(_Tensor)).contents
    elif kind == b"dltensor_versioned":
        managed = ctypes.cast(_capsule_pointer(capsule, kind), ctypes.POINTER(_VersionedTensor)).contents
        if managed.major != 1:
            raise InputError(f"{name}: a DLPack capsule of version {managed.major}.{managed.minor}, 1 is understood")
        tensor, read_only = managed.tensor, bool(managed.flags & _READ_ONLY_FLAG)
    else:
        text = (kind or b"none").decode(errors="replace")
        raise InputError(f"{name}: a capsule named {text!r}, an unused DLPack capsule is needed (dltensor); make one")
    _check_device(name, tensor.device.type, tensor.device.id)
    shape = tuple(tensor.shape[i] for i in range(tensor.ndim))
    if tensor.strides:
        _check_contiguous(name, shape, [tensor.strides[i] for i in range(tensor.ndim)])
    if tensor.dtype.lanes != 1:
        raise InputError(f"{name}: its elements are vectors of {tensor.dtype.lanes}; give an array of single numbers")
    dtype = f"{_KINDS.get(tensor.dtype.code, f'type{tensor.dtype.code}_')}{tensor.dtype.bits}"
    pointer = (tensor.data or 0) + tensor.byte_offset
    return DeviceView(pointer, dtype, shape, read_only, None, owner)


def _check_device(name: str, device_type: int, device_id: int) -> None:
    if device_type not in {_CUDA, _CUDA_MANAGED}:
        found = _DEVICE_NAMES.get(device_type, f"DLPack device type {device_type}")
        raise InputError(f"{name}: is on {found}, kDLCUDA is needed; copy it to the GPU, or use infer")
    if device_id != _DEVICE:
        raise InputError(f"{name}: is on GPU {device_id}, the engine runs on GPU {_DEVICE}; copy it there")


def _check_contiguous(name: str, shape: Sequence[int], strides: Sequence[float]) -> None:
    """Strides in elements; those of dimensions of size 1 say nothing."""
    expected = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != expected:
            raise InputError(
                f"{name}: strides {_text(strides)} in elements for shape {_text(shape)}, C order without gaps is "
                "needed; make it contiguous"
            )
        expected *= size


def _capsule_name(capsule: object) -> bytes | None:
    get = ctypes.pythonapi.PyCapsule_GetName
    get.restype, get.argtypes = ctypes.c_char_p, [ctypes.py_object]
    name: bytes | None = get(capsule)
    return name


def _capsule_pointer(capsule: object, name: bytes) -> int:
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return int(get(capsule, name))


def _text(numbers: Sequence[Any]) -> str:
    return f"({','.join(f'{number:g}' if isinstance(number, float) else str(number) for number in numbers)})"
