"""What only a GPU can show; everything here is skipped, with its reason, where there is none. See `make test-gpu`."""

import gc
import subprocess
import sys
import threading
import time

import numpy as np
import onnxruntime
import pytest
import torch

from espnet_edge.errors import UnavailableError
from espnet_edge.runtime import open_runner
from espnet_edge.runtime.compatibility import RTX_PORTABLE, is_newest
from espnet_edge.runtime.cuda_probe import probe_cuda
from espnet_edge.runtime.device_memory import PROVIDERS, open_memory
from espnet_edge.runtime.manifest import load_manifest
from espnet_edge.runtime.memory_use import MemoryRequest, measured_memory
from espnet_edge.runtime.presets import PRESETS, preset, preset_work
from espnet_edge.runtime.trt_runner import TrtRunner, load_engine
from espnet_edge.runtime.work import GPU_STAGES

EXPORT = "from espnet_edge.export.cli import main; main()"
# Convolutions use TF32 on these GPUs, whose 10 bits of mantissa turn some labels near a tie.
LEAST_AGREEMENT = 0.98
LEAST_FREE_AGAIN = 0.999  # drivers keep a little of what a first use took


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """exported(engine) -> folder with seg.onnx, and seg.trt unless the engine is none; batches 1 to 4."""
    made = {}

    def export(engine):
        if engine not in made:
            out = tmp_path_factory.mktemp(engine)
            options = ["seg", "--width", "0.5", "--size", "256x512", "--batch", "1,2,4", "--weights", "random"]
            command = [sys.executable, "-c", EXPORT, *options, "--engine", engine, "--out", str(out)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            made[engine] = out
        return made[engine]

    return export


@pytest.fixture(scope="module")
def engine(exported):
    return exported("tensorrt") / "seg.trt"


@pytest.fixture(scope="module")
def onnx_file(exported):
    return exported("none") / "seg.onnx"


@pytest.fixture(params=PROVIDERS)
def memory(request):
    try:
        return open_memory(request.param)
    except UnavailableError as error:
        pytest.skip(str(error))


def photos(batch=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (batch, 256, 512, 3), dtype=np.uint8)


def on_cpu(path, image):
    with open_runner(path.with_suffix(".onnx"), "onnxruntime") as reference:
        return reference.infer({"image": image})["labels"].copy()


def loaded(path):
    import tensorrt

    return load_engine(path, load_manifest(path), tensorrt, "GPU")


@pytest.mark.tensorrt
@pytest.mark.parametrize("graphs", [True, False])
def test_an_engine_gives_the_labels_of_the_cpu(engine, memory, graphs):
    with TrtRunner(loaded(engine), memory, graphs=graphs) as runner:
        if graphs and memory.graph_problem is None:
            assert runner.info.graph, runner.info.graph_fallback_reason
        for batch in (1, 4, 2):
            image = photos(batch, seed=batch)
            expected = on_cpu(engine, image)
            for _ in range(3):  # without a graph, its capture, its replay
                assert np.mean(runner.infer({"image": image})["labels"] == expected) >= LEAST_AGREEMENT


@pytest.mark.tensorrt
def test_a_graph_changes_no_bit(engine, memory):
    shared = loaded(engine)
    with TrtRunner(shared, memory, graphs=False) as plain, TrtRunner(shared, memory) as graph:
        for seed in range(5):
            image = {"image": photos(seed=seed)}
            np.testing.assert_array_equal(graph.infer(image)["labels"], plain.infer(image)["labels"])


@pytest.mark.tensorrt
def test_arrays_of_torch_are_used_in_place(engine):
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    with open_runner(engine) as runner:
        expected = runner.infer({"image": photos()})["labels"].copy()
        (labels_info,) = runner.outputs
        image = torch.from_numpy(photos()).cuda()
        labels = torch.zeros((1, 256, 512), dtype=getattr(torch, labels_info.dtype), device="cuda")
        for _ in range(3):
            labels.zero_()
            runner.infer_device({"image": image}, {"labels": labels})
            np.testing.assert_array_equal(labels.cpu().numpy(), expected)
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(10):
                image.zero_()
                image.copy_(torch.from_numpy(photos()).pin_memory(), non_blocking=True)
                runner.infer_device({"image": image}, {"labels": labels}, stream=stream.cuda_stream)
                found = labels.clone()
        stream.synchronize()
        np.testing.assert_array_equal(found.cpu().numpy(), expected)
        own = torch.as_tensor(runner.infer_device({"image": image})["labels"], device="cuda")
        np.testing.assert_array_equal(own.cpu().numpy(), expected)


@pytest.mark.tensorrt
def test_contexts_on_threads(engine):
    failures = []

    def work(runner, seed):
        expected = runner.infer({"image": photos(seed=seed)})["labels"].copy()
        for _ in range(50):
            if not np.array_equal(runner.infer({"image": photos(seed=seed)})["labels"], expected):
                failures.append(seed)

    with open_runner(engine) as first, first.new_context() as second, first.new_context() as third:
        threads = [
            threading.Thread(target=work, args=pair) for pair in zip((first, second, third), range(3), strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


@pytest.mark.tensorrt
def test_memory_comes_back(engine):
    memory = open_memory()

    def once():
        with open_runner(engine) as runner:
            runner.infer({"image": photos(4)})
        gc.collect()

    once()  # the libraries themselves take memory, once
    before, total = memory.memory_info()
    for _ in range(5):
        once()
    assert memory.memory_info()[0] >= before - (1 - LEAST_FREE_AGAIN) * total


@pytest.mark.tensorrt
def test_time_on_the_gpu(engine):
    with open_runner(engine) as runner:
        assert 0 < runner.gpu_compute_ms(20) < 1000


def assert_stages_fit(runner, batch=1):
    """The parts lie within the whole, the outputs are right, and the graph of `infer` is still there."""
    assert runner.has_stages
    expected = runner.infer({"image": photos(batch, seed=2)})["labels"].copy()
    runner.infer({"image": photos(batch, seed=2)})
    labels, graph = runner.infer({"image": photos(batch)})["labels"], runner.info.graph
    for _ in range(3):
        start = time.perf_counter_ns()
        stages = runner.staged({"image": photos(batch, seed=2)})
        whole = time.perf_counter_ns() - start
        np.testing.assert_array_equal(labels, expected)
        assert tuple(stages) == GPU_STAGES
        assert all(duration > 0 for duration in stages.values())
        assert stages["h2d"] + stages["compute"] + stages["d2h"] < whole
        assert stages["enqueue"] < whole
    assert runner.info.graph is graph
    np.testing.assert_array_equal(runner.infer({"image": photos(batch, seed=2)})["labels"], expected)


@pytest.mark.tensorrt
@pytest.mark.parametrize("graphs", [True, False])
def test_stages_of_an_engine(engine, memory, graphs):
    with TrtRunner(loaded(engine), memory, graphs=graphs) as runner:
        for batch in (1, 4):
            assert_stages_fit(runner, batch)


@pytest.mark.tensorrt
@pytest.mark.parametrize("name", PRESETS)
def test_an_engine_is_run_as_trtexec_does(engine, name):
    with open_runner(engine) as runner:
        expected = runner.infer({"image": photos()})["labels"].copy()
        work = preset_work(runner, {"image": photos()}, preset(name))
        for _ in range(3):
            work.call()
        stages = work.staged()
        assert all(duration > 0 for duration in stages.values())
        assert ("h2d" in stages) is preset(name).transfers
        np.testing.assert_array_equal(runner.infer({"image": photos()})["labels"], expected)


@pytest.mark.gpu
def test_stages_of_torch(onnx_file):
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    with open_runner(onnx_file, "torch", "cuda") as runner:
        assert_stages_fit(runner)


@pytest.mark.gpu
def test_memory_of_a_line_on_the_gpu(onnx_file):
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    found = measured_memory(MemoryRequest("torch", str(onnx_file), "torch", "cuda", threads=1))
    assert found.unavailable is None
    assert found.gpu_note
    # The network's weights alone, and what CUDA needs for itself.
    assert found.gpu_bytes is None or 1 << 20 < found.gpu_bytes < 16 << 30


@pytest.mark.gpu
def test_an_engine_of_tensorrt_rtx(exported):
    pytest.importorskip("tensorrt_rtx")
    engine = exported("tensorrt-rtx") / "seg.trt"
    present = probe_cuda().compute_capability
    assert present is not None
    if present not in RTX_PORTABLE and not is_newest(present):
        with pytest.raises(UnavailableError, match=f"it is not for sm {present}"):
            open_runner(engine)
        return
    with open_runner(engine) as runner:
        for batch in (1, 3):
            image = photos(batch)
            assert np.mean(runner.infer({"image": image})["labels"] == on_cpu(engine, image)) >= LEAST_AGREEMENT


@pytest.mark.gpu
def test_onnxruntime_on_the_gpu(onnx_file):
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has no CUDA; install onnxruntime-gpu in its place")
    with open_runner(onnx_file, "onnxruntime", "cuda") as runner:
        assert (runner.info.device, runner.info.graph) == ("cuda", None)
        assert runner.info.device_name
        image = photos(2)
        assert np.mean(runner.infer({"image": image})["labels"] == on_cpu(onnx_file, image)) >= LEAST_AGREEMENT


@pytest.mark.gpu
def test_torch_on_the_gpu(onnx_file):
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    with open_runner(onnx_file, "torch", "cuda") as runner:
        for batch in (1, 2, 1):
            image = photos(batch, seed=batch)
            expected = on_cpu(onnx_file, image)
            for _ in range(2):
                assert np.mean(runner.infer({"image": image})["labels"] == expected) >= LEAST_AGREEMENT
            assert runner.info.graph, runner.info.graph_fallback_reason


@pytest.mark.gpu
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_provider_copies_and_gives_back(provider):
    try:
        memory = open_memory(provider)
    except UnavailableError as error:
        pytest.skip(str(error))
    size_bytes = 1 << 20
    stream, pointer = memory.create_stream(), memory.allocate(size_bytes)
    assert pointer % 256 == 0
    address = memory.allocate_pinned(size_bytes)
    start, end = memory.create_event(), memory.create_event()
    memory.record_event(start, stream)
    memory.copy_to_device(pointer, address, size_bytes, stream)
    memory.copy_to_host(address, pointer, size_bytes, stream)
    memory.record_event(end, stream)
    memory.synchronise_stream(stream)
    assert memory.elapsed_ms(start, end) > 0
    for event in (start, end):
        memory.destroy_event(event)
    memory.free_pinned(address)
    memory.free(pointer)
    memory.destroy_stream(stream)
    with pytest.raises(UnavailableError, match=r"GPU memory: \d+ bytes .* asked on .* are free"):
        memory.allocate(1 << 50)
