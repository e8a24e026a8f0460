"""ONNX files in OpenVINO, on the CPU."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import openvino

from ..errors import InputError
from .manifest import Manifest, TensorInfo
from .runner import Array, BaseRunner, RunnerInfo, agreed_tensors, bare_tensor

_DTYPES = {"f32": "float32", "f16": "float16", "u8": "uint8", "i32": "int32", "i64": "int64"}
_MS_PER_S = 1000
# Beginnings of `exec_type` of nodes that do nothing: fused into another one, in place, inputs and outputs.
_NO_KERNEL = ("undef", "unknown")


class OpenVinoRunner(BaseRunner):
    """One inference request of OpenVINO's CPU plug-in. The output arrays are views of the request's own memory.

    Args:
        path: the ONNX file, already verified.
        manifest: of the file; None for a trusted file without one.
        threads: of the one stream that the request runs in.
        profiled: count the time of every node, which slows things down.

    Raises:
        InputError: the file is broken, or OpenVINO cannot compile it.
        CheckError: the file's inputs or outputs are not those of the manifest.
    """

    def __init__(self, path: Path, manifest: Manifest | None, threads: int, *, profiled: bool = False) -> None:
        compiled = _compiled(path, threads, profiled=profiled)
        super().__init__(
            agreed_tensors(manifest.inputs if manifest else None, _tensors(compiled.inputs, path), path.name),
            agreed_tensors(manifest.outputs if manifest else None, _tensors(compiled.outputs, path), path.name),
            RunnerInfo("openvino", _version(), "cpu", threads),
            path.name,
        )
        self._request: openvino.InferRequest | None = compiled.create_infer_request()
        names = [port.get_any_name() for port in compiled.outputs]
        self._positions = {tensor.name: names.index(tensor.name) for tensor in self.outputs}

    def executed_nodes(self) -> list[tuple[str, float]]:
        """Type and time of each node that is executed, the mean over all inferences so far cut to whole us. Units: ms.

        A node whose mean is below 1 us has the status "not run" in OpenVINO, like one that was fused into another; what
        tells them apart is whether the node has a kernel.
        """
        assert self._request is not None
        return [
            (str(node.node_type), node.real_time.total_seconds() * _MS_PER_S)
            for node in self._request.get_profiling_info()
            if node.exec_type.partition("_")[0] not in _NO_KERNEL
        ]

    def _infer(self, feeds: dict[str, Array]) -> dict[str, Array]:
        assert self._request is not None
        # Shared: the request reads the caller's arrays in place, and its own memory is handed out.
        results = self._request.infer(feeds, share_inputs=True, share_outputs=True)
        arrays = results.to_tuple()  # an output asked for by its port takes microseconds
        return {name: arrays[i] for name, i in self._positions.items()}

    def _close(self) -> None:
        self._request = None


def _compiled(path: Path, threads: int, *, profiled: bool) -> openvino.CompiledModel:
    core = openvino.Core()
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(threads),
        # On CPUs with bfloat16 the plug-in computes in it unless told otherwise, with 8 bits of mantissa.
        "INFERENCE_PRECISION_HINT": "f32",
        "PERF_COUNT": "YES" if profiled else "NO",
    }
    try:
        model = core.read_model(str(path))
    except RuntimeError as error:
        raise InputError(f"{path}: openvino cannot read it ({_gist(error)}); export it again") from error
    try:
        return core.compile_model(model, "CPU", options)
    except RuntimeError as error:
        raise InputError(
            f"{path}: openvino {_version()} reads it but cannot compile it for the CPU ({_gist(error)}); "
            "run it in onnxruntime"
        ) from error


def _gist(error: RuntimeError) -> str:
    """What OpenVINO says, without the lines that tell where in its own source the check stands."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return telling[0] if telling else str(error)


def _version() -> str:
    """`2026.4.1-22982-...` -> `2026.4.1`."""
    return str(openvino.get_version()).split("-", maxsplit=1)[0]


def _tensors(ports: Iterable[Any], path: Path) -> tuple[TensorInfo, ...]:
    return tuple(_tensor(port, path.name) for port in ports)


def _tensor(port: Any, source: str) -> TensorInfo:
    dtype = port.get_element_type().get_type_name()
    shape = [f"dim{i}" if size.is_dynamic else size.get_length() for i, size in enumerate(port.get_partial_shape())]
    return bare_tensor(port.get_any_name(), _DTYPES.get(dtype), dtype, shape, source)
