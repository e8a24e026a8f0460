"""A pynvml whose GPUs hold what the test says: the memory of each, and that of processes on it. Units: bytes."""

import types


class NVMLError(Exception):
    """As nvidia-ml-py's: `value` is the code."""

    def __init__(self, value, text):
        super().__init__(text)
        self.value = value


class Script:
    """What the fake answers. `used` and `processes` have an entry for each GPU; a `used` of None is not supported."""

    def __init__(self):
        self.used = [0]
        self.processes = [{}]
        self.open = 0
        self.names = ("_v3", "_v2")  # of the versions of the function that lists processes


def fake_pynvml(script):
    module = types.ModuleType("pynvml")
    module.NVMLError = NVMLError

    def memory(handle):
        if script.used[handle] is None:
            raise NVMLError(3, "Not Supported")
        return types.SimpleNamespace(used=script.used[handle])

    def processes(handle):
        return [types.SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in script.processes[handle].items()]

    def count(step):
        script.open += step

    module.nvmlInit = lambda: count(1)
    module.nvmlShutdown = lambda: count(-1)
    module.nvmlDeviceGetCount = lambda: len(script.used)
    module.nvmlDeviceGetHandleByIndex = lambda index: index
    module.nvmlDeviceGetMemoryInfo = memory
    for name in script.names:
        setattr(module, f"nvmlDeviceGetComputeRunningProcesses{name}", processes)
    return module
