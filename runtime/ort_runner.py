"""ONNX files in ONNX Runtime, on the CPU or through its CUDA provider."""

from pathlib import Path

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from ..errors import InputError, UnavailableError
from .cuda_probe import probe_cuda
from .manifest import Manifest, TensorInfo
from .runner import Array, BaseRunner, RunnerInfo, agreed_tensors, bare_tensor

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}
_ERRORS_ONLY = 3  # severity: warnings are about the file's optimisation, not for the user of a command


class OrtRunner(BaseRunner):
    """An ONNX Runtime session. On "cuda" the copies to and from the GPU are part of `infer`.

    Args:
        path: the ONNX file, already verified.
        manifest: of the file; None for a trusted file without one.
        device: "cpu" or "cuda".
        threads: that one operator is spread over; operators run one after the other.
        profile_prefix: where the names of profiles begin; None runs without the profiler, which slows things down.

    Raises:
        InputError: the file is broken.
        UnavailableError: the installed ONNX Runtime does not have the device.
        CheckError: the file's inputs or outputs are not those of the manifest.
    """

    def __init__(
        self, path: Path, manifest: Manifest | None, device: str, threads: int, *, profile_prefix: Path | None = None
    ) -> None:
        session = _session(path, device, threads, profile_prefix)
        inputs = tuple(_tensor(node, path.name) for node in session.get_inputs())
        outputs = tuple(_tensor(node, path.name) for node in session.get_outputs())
        super().__init__(
            agreed_tensors(manifest.inputs if manifest else None, inputs, path.name),
            agreed_tensors(manifest.outputs if manifest else None, outputs, path.name),
            RunnerInfo(
                "onnxruntime",
                onnxruntime.__version__,
                device,
                threads,
                device_name=probe_cuda().device if device == "cuda" else None,
            ),
            path.name,
        )
        self._session: onnxruntime.InferenceSession | None = session
        self._names = [tensor.name for tensor in self.outputs]

    def end_profiling(self) -> Path:
        """The file that the profile of all inferences so far was written to; there is no more profiling after it."""
        assert self._session is not None
        return Path(self._session.end_profiling())

    def _infer(self, feeds: dict[str, Array]) -> dict[str, Array]:
        assert self._session is not None
        return dict(zip(self._names, self._session.run(self._names, feeds), strict=True))

    def _close(self) -> None:
        self._session = None


def _session(path: Path, device: str, threads: int, profile_prefix: Path | None = None) -> onnxruntime.InferenceSession:
    provider = _PROVIDERS[device]
    if provider not in (present := onnxruntime.get_available_providers()):
        raise UnavailableError(
            f"onnxruntime {onnxruntime.__version__} has no {provider}, only {', '.join(present)}; "
            "use the device cpu, or install onnxruntime-gpu in its place"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    if profile_prefix is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile_prefix)
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
    except (
        ort_errors.Fail,
        ort_errors.InvalidArgument,
        ort_errors.InvalidGraph,
        ort_errors.InvalidProtobuf,
        ort_errors.NotImplemented,
        ort_errors.RuntimeException,
    ) as error:
        raise InputError(f"{path}: onnxruntime cannot read it ({error}); export it again") from error
    # A provider whose own libraries are missing is dropped without an error; the CPU would be timed in its place.
    if session.get_providers()[0] != provider:
        raise UnavailableError(
            f"onnxruntime could not start {provider}, it would use {session.get_providers()[0]}; "
            "check the CUDA libraries, or use the device cpu"
        )
    return session


def _tensor(node: "onnxruntime.NodeArg", source: str) -> TensorInfo:
    shape = [dimension if dimension is not None else f"dim{i}" for i, dimension in enumerate(node.shape)]
    return bare_tensor(node.name, _DTYPES.get(node.type), node.type, shape, source)
