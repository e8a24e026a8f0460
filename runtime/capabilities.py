"""What this machine can build, run and measure, each with what the probes answered."""

from collections.abc import Iterator, Mapping, Sequence

from .compatibility import RTX_CAPABILITIES, is_newest
from .cuda_probe import CudaProbe, probe_cuda
from .device_memory import PROVIDERS
from .probes import (
    LIBRARIES,
    Finding,
    LibraryAnswer,
    Places,
    library_findings,
    probe_libraries,
    sensor_findings,
    system_findings,
    trtexec_finding,
)

# What espnet-bench measures in this version.
MEASURES = ("latency", "power", "memory", "operators")
_GPU = "CUDA GPU"

Answers = Mapping[str, LibraryAnswer]


def machine_findings(places: Places | None = None) -> list[Finding]:
    """Every row of `espnet-doctor`: the machine, its libraries and sensors, and what follows from them."""
    places = places or Places()
    cuda, answers = probe_cuda(), probe_libraries(LIBRARIES, places)
    trtexec, sensors = trtexec_finding(places), [*sensor_findings(places)]
    return [
        *system_findings(places),
        gpu_finding(cuda),
        *library_findings(answers),
        trtexec,
        *build_findings(answers, cuda, trtexec),
        *run_findings(answers, cuda),
        *sensors,
        *measure_findings(sensors),
    ]


def gpu_finding(cuda: CudaProbe) -> Finding:
    """The GPU as the CUDA driver describes it."""
    if cuda.device is None:
        way_out = "for an NVIDIA GPU: install its driver, and in a container give it the GPU (--gpus all)"
        return Finding("machine", _GPU, there=False, answer=cuda.reason, way_out=way_out)
    capability = f"compute capability {cuda.compute_capability or 'not told'}"
    driver = f"driver for CUDA {cuda.cuda_version or 'of unknown version'}"
    return Finding("machine", _GPU, there=True, answer=f"{cuda.device}, {capability}, {driver}")


def build_findings(answers: Answers, cuda: CudaProbe, trtexec: Finding) -> Iterator[Finding]:
    """What can be built here."""
    gpu = _lack_of_gpu(cuda)
    yield _able("build", "ONNX file", answers, ("torch", "onnx", "onnxscript"))
    yield _able("build", "engine, TensorRT", answers, ("tensorrt",), gpu)
    yield _able("build", "engine, TensorRT-RTX", answers, ("tensorrt-rtx",))
    lacks = [*([] if trtexec.there else [(trtexec.answer, f"see {trtexec.what} above")]), *gpu]
    yield _finding("build", "engine, trtexec", trtexec.answer, lacks)


def run_findings(answers: Answers, cuda: CudaProbe) -> Iterator[Finding]:
    """What can be run here."""
    gpu = _lack_of_gpu(cuda)
    yield _able("run", "ONNX, onnxruntime", answers, ("onnxruntime",))
    yield _able("run", "ONNX, onnxruntime GPU", answers, ("onnxruntime",), [*_lack_of_cuda(answers), *gpu])
    yield _able("run", "ONNX, openvino", answers, ("openvino",))
    yield _able("run", "network, torch", answers, ("torch",))
    engine_needs = [*gpu, *_lack_of_provider(answers)]
    yield _able("run", "engine, TensorRT", answers, ("tensorrt",), engine_needs)
    yield _able("run", "engine, TensorRT-RTX", answers, ("tensorrt-rtx",), [*_lack_of_rtx_gpu(cuda), *engine_needs])


def measure_findings(sensors: Sequence[Finding]) -> Iterator[Finding]:
    """What espnet-bench measures here, in this version."""
    yield Finding("measure", "latency", there=True, answer="espnet-bench --engine FILE")
    present = [sensor.what for sensor in sensors if sensor.there]
    lacks = [] if present else [("no sensor gives a plausible reading", "see the sensors above")]
    yield _finding("measure", "power", f"espnet-bench --engine FILE --measure power, by {', '.join(present)}", lacks)
    for name in ("memory", "operators"):
        yield Finding("measure", name, there=True, answer=f"espnet-bench --engine FILE --measure {name}")


Lacks = Sequence[tuple[str, str]]  # what is missing, and the way out


def _able(group: str, what: str, answers: Answers, needs: Sequence[str], more: Lacks = ()) -> Finding:
    """A row that holds if all libraries in `needs` are there, and `more` is empty."""
    lacks = [
        (f"{name}: {answers[name].answer}", f"see {name} above") for name in needs if answers[name].version is None
    ]
    return _finding(group, what, ", ".join(f"{name} {answers[name].version}" for name in needs), [*lacks, *more])


def _finding(group: str, what: str, answer: str, lacks: Lacks) -> Finding:
    if not lacks:
        return Finding(group, what, there=True, answer=answer)
    missing, ways_out = (dict.fromkeys(texts) for texts in zip(*lacks, strict=True))
    return Finding(group, what, there=False, answer="; ".join(missing), way_out="; ".join(filter(None, ways_out)))


def _lack_of_gpu(cuda: CudaProbe) -> Lacks:
    return [] if cuda.device else [(cuda.reason, f"see {_GPU} above")]


def _lack_of_cuda(answers: Answers) -> Lacks:
    said = answers["onnxruntime"]
    if said.version is None or "CUDAExecutionProvider" in said.answer:
        return []
    return [("it has no CUDAExecutionProvider", "pip install onnxruntime-gpu instead of onnxruntime")]


def _lack_of_provider(answers: Answers) -> Lacks:
    there = [name for name in PROVIDERS if answers[name].version is not None]
    if any(name != "torch" or answers[name].answer.startswith("CUDA") for name in there):
        return []
    return [
        (
            f"none of {', '.join(PROVIDERS)} is there that reaches the GPU's memory",
            "see cuda-python above",
        )
    ]


def _lack_of_rtx_gpu(cuda: CudaProbe) -> Lacks:
    present = cuda.compute_capability
    if cuda.device is None or present is None or present in RTX_CAPABILITIES or is_newest(present):
        return []
    return [(f"TensorRT-RTX is not for compute capability {present}", "use TensorRT")]
