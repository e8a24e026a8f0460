"""NVML through nvidia-ml-py: opened, asked, and one of its GPUs chosen."""

import ctypes
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ..errors import InputError, one_line
from .meter import NoMeterError

# nvml.h, nvmlReturn_t
_NO_PERMISSION = 4
_DRIVER_NOT_LOADED = 9
_LIBRARY_NOT_FOUND = 12
_FUNCTION_NOT_FOUND = 13
_GPU_IS_LOST = 15
_RESET_REQUIRED = 16
_VERSION_MISMATCH = 18

_INSTALL_DRIVER = (
    "install NVIDIA's driver; a container is given it with --gpus all, through the NVIDIA Container Toolkit, and with "
    "NVIDIA_DRIVER_CAPABILITIES=compute,utility"
)
_RESTART = "the GPU or its driver has failed: look into dmesg for Xid, then reset the GPU or restart the machine"
_WAYS_OUT = {
    _NO_PERMISSION: "allow this user to open /dev/nvidiactl and /dev/nvidia0 (see ls -l /dev/nvidia*); a container is "
    "given them with --gpus all",
    _DRIVER_NOT_LOADED: "load the driver's kernel module: sudo modprobe nvidia; where that fails, install the driver "
    "for this kernel",
    _LIBRARY_NOT_FOUND: _INSTALL_DRIVER,
    _GPU_IS_LOST: _RESTART,
    _RESET_REQUIRED: _RESTART,
    _VERSION_MISMATCH: "the driver was updated while its old kernel module is loaded: restart the machine, or unload "
    "and load the module nvidia; in a container restart the container",
}
_OTHERWISE = "nvidia-smi asks the same library: what it says of the GPU has to be put right first"

# nvml.h, nvmlValueType_t, and the members of nvmlValue_t that nvidia-ml-py names.
_VALUE_MEMBERS = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal"}


class RefusedError(Exception):
    """NVML gave no value; the text is its answer, `code` its nvmlReturn_t or None where the answer is not NVML's."""

    def __init__(self, answer: str, code: int | None = None) -> None:
        super().__init__(answer)
        self.code = code


@dataclass(frozen=True)
class Gpu:
    """One GPU that NVML sees. `handle` is nvidia-ml-py's, of use while the library is open."""

    index: int
    name: str
    uuid: str
    handle: Any

    def __str__(self) -> str:
        """As it is listed for the user."""
        return f"{self.index} {self.name} {self.uuid}"


class NvmlLibrary:
    """NVML, initialised once by whoever makes it.

    Raises:
        NoMeterError: nvidia-ml-py or the library is missing, or the library cannot be initialised.
    """

    def __init__(self) -> None:
        self._bindings = _bindings()
        # The second is no NVMLError, and it is newer than some releases of nvidia-ml-py.
        mismatch = getattr(self._bindings, "NVMLLibraryMismatchError", self._bindings.NVMLError)
        self._errors = (self._bindings.NVMLError, mismatch, UnicodeDecodeError)
        self._get_fields: Callable[..., Any] | None = getattr(self._bindings, "nvmlDeviceGetFieldValues", None)
        try:
            self.ask("nvmlInit")
        except RefusedError as refused:
            raise no_meter(f"NVML does not start: {refused}", refused.code) from None

    def ask(self, function: str, *arguments: Any) -> Any:
        """What the function of nvidia-ml-py returns.

        Raises:
            RefusedError: NVML answered with an error, or the driver or nvidia-ml-py has no such function.
        """
        call = getattr(self._bindings, function, None)
        if call is None:
            raise RefusedError(f"nvidia-ml-py has no {function}", _FUNCTION_NOT_FOUND)
        try:
            return call(*arguments)
        except self._errors as error:
            raise RefusedError(one_line(error), getattr(error, "value", None)) from None

    def ask_or_none(self, function: str, *arguments: Any) -> Any:
        """The same, and None where NVML refuses."""
        try:
            return self.ask(function, *arguments)
        except RefusedError:
            return None

    def fields(self, handle: Any, wanted: Sequence[tuple[int, int]]) -> list[int | RefusedError]:
        """The values of (field, scope) in one call. It succeeds also when single fields fail, so each has its own."""
        if self._get_fields is None:
            return [RefusedError("nvidia-ml-py has no nvmlDeviceGetFieldValues", _FUNCTION_NOT_FOUND) for _ in wanted]
        try:
            return [self._value(answer) for answer in self._get_fields(handle, wanted)]
        except self._errors as error:
            return [RefusedError(one_line(error), getattr(error, "value", None)) for _ in wanted]

    def _value(self, answer: Any) -> int | RefusedError:
        if answer.nvmlReturn:
            return RefusedError(one_line(self._bindings.NVMLError(answer.nvmlReturn)), answer.nvmlReturn)
        member = _VALUE_MEMBERS.get(answer.valueType)
        if member is None:
            return RefusedError(f"a value of type {answer.valueType}, which is not known")
        value = getattr(answer.value, member)
        return round(value) if math.isfinite(value) else RefusedError(f"{value} is not a number")

    def shut_down(self) -> None:
        """Give NVML back."""
        # Refused where somebody else has shut it down: then there is nothing to give back.
        self.ask_or_none("nvmlShutdown")


def no_meter(answer: str, code: int | None) -> NoMeterError:
    """The error for what NVML answered, with the way out that belongs to its code."""
    return NoMeterError(answer, _OTHERWISE if code is None else _WAYS_OUT.get(code, _OTHERWISE))


def choose_gpu(library: NvmlLibrary, uuid: str | None) -> Gpu:
    """The GPU of this UUID or of its unique beginning, as in CUDA_VISIBLE_DEVICES; without one the only GPU.

    Raises:
        InputError: there are several and none was named, or the one that was named is not here.
        NoMeterError: NVML sees no GPU, or may not open any.
    """
    if uuid is not None and uuid.upper().startswith("MIG-"):
        raise _mig_error(library, uuid)
    gpus = _visible(library)
    fitting = gpus if uuid is None else [gpu for gpu in gpus if _fits(gpu, uuid)]
    if len(fitting) == 1:
        return fitting[0]
    there = "; ".join(map(str, gpus))
    if uuid is None:
        raise InputError(f"{len(gpus)} GPUs are here, one is measured: {there}; name it with --power-source nvml:UUID")
    found = f"{len(fitting)} GPUs have" if fitting else "no GPU has"
    raise InputError(f"{found} a UUID that begins with {one_line(uuid)!r}; here are: {there}")


def _bindings() -> Any:
    try:
        return import_module("pynvml")
    except ImportError as error:
        name = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
        answer = f"nvidia-ml-py cannot be imported ({one_line(error)})"
        if _loads(name):
            raise NoMeterError(f"{answer}, {name} is there", "pip install 'espnet-edge[nvml]'") from None
        raise NoMeterError(f"{answer}, and {name} is not there", _INSTALL_DRIVER) from None


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _visible(library: NvmlLibrary) -> list[Gpu]:
    try:
        count = library.ask("nvmlDeviceGetCount")
    except RefusedError as refused:
        raise no_meter(f"NVML does not count its GPUs: {refused}", refused.code) from None
    gpus, refusals = [], []
    for index in range(count):
        try:
            gpus.append(_gpu(library, index))
        except RefusedError as refused:
            refusals.append((index, refused))
    if gpus:
        return gpus
    if not refusals:
        raise NoMeterError("NVML starts and sees no GPU", _OTHERWISE)
    said = "; ".join(f"GPU {index}: {refused}" for index, refused in refusals)
    raise no_meter(f"NVML opens no GPU: {said}", refusals[0][1].code)


def _gpu(library: NvmlLibrary, index: int) -> Gpu:
    handle = library.ask("nvmlDeviceGetHandleByIndex", index)
    name, uuid = library.ask("nvmlDeviceGetName", handle), library.ask("nvmlDeviceGetUUID", handle)
    return Gpu(index, one_line(name), one_line(uuid), handle)


def _fits(gpu: Gpu, uuid: str) -> bool:
    return len(uuid) > len("GPU-") and gpu.uuid.lower().startswith(uuid.lower())


def _mig_error(library: NvmlLibrary, uuid: str) -> InputError:
    try:
        instance = library.ask("nvmlDeviceGetHandleByUUID", uuid)
        parent = library.ask("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", instance)
        way_out = f"--power-source nvml:{library.ask('nvmlDeviceGetUUID', parent)}"
    except RefusedError as refused:
        there = "; ".join(map(str, _visible(library)))
        way_out = f"nvml:UUID of one of {there}; NVML does not know the instance: {refused}"
    return InputError(
        f"{one_line(uuid)} is a MIG instance, and power is measured of the whole GPU only; take that: {way_out}"
    )
