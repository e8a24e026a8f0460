"""How much GPU memory another process holds, as NVML tells it: NVML itself takes no memory of the GPU."""

from typing import Any

from ..power.meter import NoMeterError
from ..power.nvml_library import NvmlLibrary, RefusedError

_MIB = 1 << 20
# Of all GPUs between two moments at which the process does not run; more than that was somebody else.
_TOLERANCE_BYTES = 2 * _MIB


class GpuMemoryWatch:
    """GPU memory of one process: opened before it starts, asked while it holds its memory, and after it has ended.

    NVML's own figure of the process is taken where there is one. In many containers NVML names no processes: then it is
    what the GPUs hold more with the process than without it, if that is the same before and after.

    Raises:
        NoMeterError: NVML does not start, or sees no GPU.
    """

    def __init__(self) -> None:
        self._library = NvmlLibrary()
        self._pid: int | None = None
        self._of_process: int | None = None
        self._problem: str | None = None
        try:
            self._handles = self._all_gpus()
            self._before = self._used_bytes()
        except BaseException:
            self._library.shut_down()
            raise
        self._with_process = self._before

    def look(self, pid: int) -> None:
        """To be called while the process holds what it needs."""
        self._pid, self._of_process = pid, self._process_bytes(pid)
        self._with_process = self._used_bytes()

    def figure(self) -> tuple[int | None, str]:
        """After the process has ended: its memory, and what told it; or None, and why it is not known. Units: bytes."""
        # One that is listed still is another, of that number outside of this container.
        if self._of_process is not None and self._pid is not None and self._process_bytes(self._pid) is None:
            return self._of_process, "NVML, of the process"
        if self._before is None or self._with_process is None or (after := self._used_bytes()) is None:
            return None, f"NVML tells no memory ({self._problem}); on a Jetson the GPU uses the system's memory"
        if abs(after - self._before) > _TOLERANCE_BYTES:
            return None, (
                f"other programs changed what they hold of the GPU, {self._before / _MIB:.0f} MiB before and "
                f"{after / _MIB:.0f} MiB after; end them and measure again"
            )
        if self._with_process <= self._before:
            return None, "NVML shows no more memory in use with the process than without it"
        return self._with_process - self._before, "NVML, all that is in use with the process less without it"

    def close(self) -> None:
        """Give NVML back."""
        self._library.shut_down()

    def _all_gpus(self) -> list[Any]:
        count = self._library.ask_or_none("nvmlDeviceGetCount") or 0
        handles = (self._library.ask_or_none("nvmlDeviceGetHandleByIndex", index) for index in range(count))
        if found := [handle for handle in handles if handle is not None]:
            return found
        raise NoMeterError("NVML starts and opens no GPU", "nvidia-smi asks the same library: see what it says")

    def _process_bytes(self, pid: int) -> int | None:
        """On all GPUs together: which one CUDA calls the first is not asked."""
        told = [bytes_of for handle in self._handles if (bytes_of := self._on_gpu(handle, pid)) is not None]
        return sum(told) if told else None

    def _on_gpu(self, handle: Any, pid: int) -> int | None:
        # The name without a number is the newest version, which drivers before 510 do not have.
        for version in ("_v3", "_v2"):
            processes = self._library.ask_or_none(f"nvmlDeviceGetComputeRunningProcesses{version}", handle)
            for process in processes or ():
                if process.pid == pid and process.usedGpuMemory is not None:
                    return int(process.usedGpuMemory)
        return None

    def _used_bytes(self) -> int | None:
        """Of all GPUs together; None where NVML does not tell, and `_problem` is its answer."""
        try:
            return sum(int(self._library.ask("nvmlDeviceGetMemoryInfo", handle).used) for handle in self._handles)
        except RefusedError as refused:
            self._problem = str(refused)
            return None
