"""The network itself in PyTorch, not compiled: the reference that the other runtimes are measured against."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..errors import CheckError, InputError, UnavailableError
from .boxes import prior_boxes_in_pixels
from .manifest import Manifest, Preprocessing
from .runner import Array, BaseRunner, RunnerInfo, Tensors, gpu_stages_ns

_CUDA = "cuda"
_WARM_UPS = 3  # before a capture: libraries choose their algorithms and take their memory


class TorchRunner(BaseRunner):
    """A PyTorch module on the CPU, in inference mode and without compilation.

    The number of threads is a setting of the whole process in PyTorch: `infer` sets it where it differs and leaves it
    so, which other users of PyTorch in the process then see.

    Args:
        module: takes the inputs in order as tensors and gives a tuple of tensors, the outputs in order.
        inputs: what the module takes.
        outputs: what it gives.
        threads: that one operator is spread over.
        source: name for messages.
    """

    def __init__(
        self, module: nn.Module, inputs: Tensors, outputs: Tensors, threads: int, source: str = "the network"
    ) -> None:
        super().__init__(inputs, outputs, RunnerInfo("torch", str(torch.__version__), "cpu", threads), source)
        self._module: nn.Module | None = module.eval()

    def _infer(self, feeds: dict[str, Array]) -> dict[str, Array]:
        assert self._module is not None
        if torch.get_num_threads() != self.info.threads:
            torch.set_num_threads(self.info.threads)
        # PyTorch has no read-only tensors, so an array that must not be written is copied.
        tensors = [torch.from_numpy(np.require(array, requirements="W")) for array in feeds.values()]
        with torch.inference_mode():
            results = self._module(*tensors)
        return {tensor.name: result.numpy() for tensor, result in zip(self.outputs, results, strict=True)}

    def _close(self) -> None:
        self._module = None


class TorchCudaRunner(BaseRunner):
    """A PyTorch module on the GPU, in inference mode, replayed as a CUDA graph where PyTorch can capture it.

    The copies from and to pinned host memory are part of `infer`, on a stream of its own. For a new shape everything
    is set up anew: memory, a few inferences, the graph. Convolutions use TF32 where the GPU has it, PyTorch's default.

    Args:
        module: takes the inputs in order as tensors and gives a tuple of tensors, the outputs in order.
        inputs: what the module takes.
        outputs: what it gives.
        threads: CPU threads, for `info`.
        source: name for messages.
        clock: monotonic, in ns, for the stage that the host takes.

    Raises:
        UnavailableError: PyTorch has no CUDA here, or not enough GPU memory.
    """

    has_stages = True

    def __init__(
        self,
        module: nn.Module,
        inputs: Tensors,
        outputs: Tensors,
        threads: int,
        source: str = "the network",
        *,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        with _cuda_errors(source):
            torch.cuda.init()  # type: ignore[no-untyped-call]
            info = RunnerInfo(
                "torch",
                str(torch.__version__),
                "cuda",
                threads,
                device_name=torch.cuda.get_device_name(),
                graph=False,
                graph_fallback_reason="no inference has been made yet",
            )
            super().__init__(inputs, outputs, info, source)
            self._module: nn.Module | None = module.eval().to(_CUDA)
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._setup: _CudaSetup | None = None
        self._clock = clock

    def _infer(self, feeds: dict[str, Array]) -> dict[str, Array]:
        with _cuda_errors(self._source), torch.inference_mode():
            setup = self._setup_with(feeds)
            with torch.cuda.stream(self._stream):
                setup.copy_in()
                self._compute(setup)
                setup.copy_out()
            self._stream.synchronize()
        return {tensor.name: host.numpy() for tensor, host in zip(self.outputs, setup.host_outputs, strict=True)}

    def _staged(self, feeds: dict[str, Array]) -> dict[str, int]:
        with _cuda_errors(self._source), torch.inference_mode():
            setup = self._setup_with(feeds)
            events = setup.events
            with torch.cuda.stream(self._stream):
                events[0].record(self._stream)
                setup.copy_in()
                events[1].record(self._stream)
                start_ns = self._clock()
                self._compute(setup)
                enqueue_ns = self._clock() - start_ns
                events[2].record(self._stream)
                setup.copy_out()
                events[3].record(self._stream)
            self._stream.synchronize()
            return gpu_stages_ns(enqueue_ns, [start.elapsed_time(end) for start, end in pairwise(events)])

    def _close(self) -> None:
        self._setup = None
        self._module = None

    def _compute(self, setup: "_CudaSetup") -> None:
        """Queue the computation on the stream of the moment."""
        if setup.graph is None:
            assert self._module is not None
            setup.outputs = self._module(*setup.inputs)
        else:
            setup.graph.replay()

    def _setup_with(self, feeds: dict[str, Array]) -> "_CudaSetup":
        """What there is for these shapes, with the arrays in its pinned memory."""
        setup = self._setup_for([array.shape for array in feeds.values()])
        for host, array in zip(setup.host_inputs, feeds.values(), strict=True):
            np.copyto(host.numpy(), array)
        return setup

    def _setup_for(self, shapes: list[tuple[int, ...]]) -> "_CudaSetup":
        if self._setup is None or [tuple(tensor.shape) for tensor in self._setup.inputs] != shapes:
            self._setup = None  # its memory goes before the new one's is taken
            self._setup = self._prepared(shapes)
        return self._setup

    def _prepared(self, shapes: list[tuple[int, ...]]) -> "_CudaSetup":
        assert self._module is not None
        dtypes = [getattr(torch, tensor.dtype) for tensor in self.inputs]
        inputs = [torch.zeros(shape, dtype=dtype, device=_CUDA) for shape, dtype in zip(shapes, dtypes, strict=True)]
        torch.cuda.synchronize()
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_UPS):
                outputs = self._module(*inputs)
        self._stream.synchronize()
        graph: torch.cuda.CUDAGraph | None = None
        reason, new_graph = None, torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(new_graph, stream=self._stream, capture_error_mode="thread_local"):
                captured = self._module(*inputs)
        except RuntimeError as error:
            reason = f"the capture failed: {_first_line(error)}"
        else:
            graph, outputs = new_graph, captured
        self.info = replace(self.info, graph=graph is not None, graph_fallback_reason=reason)
        host_inputs, host_outputs = ([_pinned_like(tensor) for tensor in tensors] for tensors in (inputs, outputs))
        events = [torch.cuda.Event(enable_timing=True) for _ in range(4)]  # type: ignore[no-untyped-call]
        return _CudaSetup(inputs, outputs, host_inputs, host_outputs, graph, events)


@dataclass
class _CudaSetup:
    """What `TorchCudaRunner` has for one shape. Without a graph `outputs` are new ones after each inference.

    `events` are kept: PyTorch makes them when they are first recorded, which the stages would count.
    """

    inputs: list[torch.Tensor]
    outputs: Sequence[torch.Tensor]
    host_inputs: list[torch.Tensor]
    host_outputs: list[torch.Tensor]
    graph: "torch.cuda.CUDAGraph | None"
    events: list[torch.cuda.Event]

    def copy_in(self) -> None:
        """Queue the copies to the GPU on the stream of the moment."""
        for device, host in zip(self.inputs, self.host_inputs, strict=True):
            device.copy_(host, non_blocking=True)

    def copy_out(self) -> None:
        """Queue the copies from the GPU on the stream of the moment."""
        for host, device in zip(self.host_outputs, self.outputs, strict=True):
            host.copy_(device, non_blocking=True)


def torch_runner_from_manifest(
    artefact: Path, manifest: Manifest | None, device: str, threads: int
) -> TorchRunner | TorchCudaRunner:
    """The reference network that the manifest of `artefact` names, with its weights, inputs and outputs.

    Raises:
        InputError: there is no manifest, or the network or the file of weights that it names is not there.
        UnavailableError: the published weights are neither in the cache nor within reach, or there is no `device`.
        CheckError: the weights are not those that the manifest names, or the manifest normalises otherwise than they
            were trained with.
    """
    if manifest is None:
        raise InputError(
            f"{artefact}: torch rebuilds the network from the manifest, and there is none; "
            "use onnxruntime or openvino, or export it again"
        )
    if manifest.precision != "fp32":
        raise InputError(f"{artefact}: torch computes in fp32, the file is {manifest.precision}; use onnxruntime")
    runner = TorchRunner if device == "cpu" else TorchCudaRunner
    return runner(_network(artefact, manifest), manifest.inputs, manifest.outputs, threads, artefact.name)


def _network(artefact: Path, manifest: Manifest) -> nn.Module:
    from ..model.deploy import network_from_manifest_fields

    if manifest.preprocessing is not None:
        _check_normalisation(artefact, manifest, manifest.preprocessing)
    return network_from_manifest_fields(
        network=manifest.network,
        width_mult=manifest.width_mult,
        dataset=manifest.dataset,
        num_classes=manifest.num_classes,
        io=manifest.io,
        weights_source=manifest.weights.source,
        weights_sha256=manifest.weights.sha256,
        weights_random=manifest.weights.random,
        priors=(
            prior_boxes_in_pixels((manifest.image.height, manifest.image.width))
            if manifest.task == "detection"
            else None
        ),
    )


def _check_normalisation(artefact: Path, manifest: Manifest, preprocessing: Preprocessing) -> None:
    from ..model.registry import get_spec

    spec = get_spec(manifest.network)
    # A file for DeepStream takes pixels as they are and normalises them by itself.
    expected = ((0, 0, 0), (1, 1, 1)) if manifest.io == "deepstream" else (spec.mean, spec.std)
    if expected != (preprocessing.mean, preprocessing.std):
        raise CheckError(
            f"{artefact}: its manifest normalises with mean {preprocessing.mean} and std {preprocessing.std}, "
            f"{manifest.network} with {expected[0]} and {expected[1]}; export it again, or leave torch out"
        )


def _pinned_like(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)


@contextmanager
def _cuda_errors(source: str) -> Iterator[None]:
    """What PyTorch says of CUDA in one line."""
    try:
        yield
    except (RuntimeError, AssertionError) as error:  # an assertion: PyTorch was built without CUDA
        raise UnavailableError(
            f"{source}: torch {torch.__version__} on cuda: {_first_line(error)}; use the device cpu"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
