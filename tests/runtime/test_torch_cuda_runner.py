"""The logic of PyTorch's runner on the GPU, with PyTorch's tensors on the CPU and its graphs imitated."""

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from espnet_edge.errors import InputError, UnavailableError
from espnet_edge.runtime import RunnerInfo, torch_runner
from espnet_edge.runtime.manifest import TensorInfo
from espnet_edge.runtime.torch_runner import TorchCudaRunner
from espnet_edge.runtime.work import GPU_STAGES

STAGED_VALUE = 7


def info(name, size):
    return TensorInfo(name=name, dtype="float32", shape=("batch", size), layout="NC", meaning="")


class Clocks:
    """Of the GPU and of the host. Units: ns."""

    def __init__(self):
        self.gpu_ns = self.host_ns = 0


CLOCKS = Clocks()


class Event:
    """Happens when it is recorded: on the CPU everything does."""

    def __init__(self, *, enable_timing):
        assert enable_timing

    def record(self, stream):
        self.time_ns = CLOCKS.gpu_ns

    def elapsed_time(self, end):
        return (end.time_ns - self.time_ns) / 1e6


class Network(nn.Module):
    """y is the square of x; it remembers the tensors of its last call, which a graph fixes."""

    calls = 0
    last = None

    def forward(self, x):
        self.calls += 1
        CLOCKS.gpu_ns += 2_000_000
        CLOCKS.host_ns += 500_000
        self.last = (x, x * x)
        return (self.last[1],)


@pytest.fixture
def network(monkeypatch):
    """A network, with a `torch.cuda` whose graphs repeat its last call in place."""
    network = Network()
    network.capture_error = None

    class Graph:
        def replay(self):
            x, y = self.tensors
            CLOCKS.gpu_ns += 1_500_000
            CLOCKS.host_ns += 9_000
            torch.mul(x, x, out=y)

    @contextmanager
    def graph(new, *, stream, capture_error_mode):
        assert capture_error_mode == "thread_local"
        if network.capture_error:
            raise RuntimeError(network.capture_error)
        yield
        new.tensors = network.last

    stand_ins = {
        "init": lambda: None,
        "get_device_name": lambda: "Fake GPU",
        "synchronize": lambda: None,
        "Stream": lambda: SimpleNamespace(synchronize=lambda: None),
        "stream": lambda stream: nullcontext(),
        "CUDAGraph": Graph,
        "Event": Event,
        "graph": graph,
    }
    for name, value in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch_runner, "_CUDA", "cpu")
    monkeypatch.setattr(torch_runner, "_pinned_like", torch.empty_like)
    return network


def opened(network):
    return TorchCudaRunner(network, (info("x", 3),), (info("y", 3),), threads=2, clock=lambda: CLOCKS.host_ns)


def test_a_shape_is_set_up_once_and_then_replayed(network):
    with opened(network) as runner:
        for batch in (1, 2, 1):
            for seed in range(3):
                x = np.random.default_rng(seed).standard_normal((batch, 3), dtype=np.float32)
                np.testing.assert_array_equal(runner.infer({"x": x})["y"], x * x)
        assert network.calls == 3 * (torch_runner._WARM_UPS + 1)
        assert runner.info == RunnerInfo("torch", str(torch.__version__), "cuda", 2, device_name="Fake GPU", graph=True)


def test_a_network_that_cannot_be_captured_runs_without(network):
    network.capture_error = "operation not permitted when stream is capturing\nCUDA kernel errors"
    with opened(network) as runner:
        assert runner.info.graph is False
        for value in (2, 3):
            x = np.full((1, 3), value, np.float32)
            np.testing.assert_array_equal(runner.infer({"x": x})["y"], x * x)
        reason = "the capture failed: operation not permitted when stream is capturing"
        assert (runner.info.graph, runner.info.graph_fallback_reason) == (False, reason)


@pytest.mark.parametrize("captured", [True, False])
def test_stages_are_those_of_the_gpu_and_of_the_hosts_queueing(network, monkeypatch, captured):
    network.capture_error = None if captured else "no"
    copy = torch.Tensor.copy_

    def timed_copy(target, source, non_blocking=False):
        if non_blocking:
            CLOCKS.gpu_ns += 125_000 if source.sum() == 3 * STAGED_VALUE else 375_000
            CLOCKS.host_ns += 1
        return copy(target, source, non_blocking=non_blocking)

    with opened(network) as runner:
        assert runner.has_stages
        x = np.full((1, 3), STAGED_VALUE, np.float32)
        outputs = runner.infer({"x": np.ones((1, 3), np.float32)})["y"]
        with monkeypatch.context() as patched:
            patched.setattr(torch.Tensor, "copy_", timed_copy)
            for _ in range(2):
                stages = runner.staged({"x": x})
        compute = {"enqueue": 9_000, "compute": 1_500_000} if captured else {"enqueue": 500_000, "compute": 2_000_000}
        assert stages == {"h2d": 125_000, "d2h": 375_000, **compute}
        assert tuple(stages) == GPU_STAGES
        np.testing.assert_array_equal(outputs, x * x)
        np.testing.assert_array_equal(runner.infer({"x": x + 1})["y"], (x + 1) ** 2)
        with pytest.raises(InputError, match="x: not given"):
            runner.staged({})


def test_errors_of_cuda_are_one_line(network, monkeypatch):
    with opened(network) as runner:
        monkeypatch.setattr(
            network, "forward", lambda x: (_ for _ in ()).throw(RuntimeError("CUDA out of memory.\nAt"))
        )
        with pytest.raises(UnavailableError, match=r"on cuda: CUDA out of memory\.; use the device cpu$"):
            runner.infer({"x": np.zeros((1, 3), np.float32)})


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu():
    with pytest.raises(UnavailableError, match=r"the network: torch .* on cuda: .*; use the device cpu"):
        opened(Network())
