import sys
import threading

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from espnet_edge.errors import CheckError, InputError, UnavailableError
from espnet_edge.runtime import RunnerInfo, cli_bench, cli_run, device_memory, open_runner, runner
from espnet_edge.runtime.cuda_probe import CudaProbe
from espnet_edge.runtime.manifest import EngineInfo, file_info, load_manifest
from espnet_edge.runtime.ort_runner import OrtRunner
from espnet_edge.runtime.result import Line, read_result
from espnet_edge.runtime.trt_profile import engine_times
from espnet_edge.runtime.trt_runner import TrtRunner, load_engine
from espnet_edge.runtime.work import GPU_STAGES
from fake_tensorrt import HEADER_BYTES, VERSIONS, Behaviour, fake_tensorrt
from plans import tensorrt_plan

ONCE = {"Relu": 1, "ArgMax": 1}
ENGINE_INFO = {
    "builder": "tensorrt",
    "builder_version": "10.3.0",
    "precision": "fp32",
    "compute_capabilities": ("8.7",),
    "device": "Fake GPU",
    "profile": None,
}


@pytest.fixture
def behaviour():
    return Behaviour()


@pytest.fixture
def engine_file(conv_artefact):
    """The network of `conv_artefact` as an engine of the fake library."""

    def build(batch=1, plan_version=(10, 3, 0, 26), **changes):
        onnx_path = conv_artefact(batch)
        engine = onnx_path.with_suffix(".trt")
        engine.write_bytes(tensorrt_plan(*plan_version, size=HEADER_BYTES) + onnx_path.read_bytes())
        info = EngineInfo.model_validate({**ENGINE_INFO, **changes})
        load_manifest(onnx_path).model_copy(update={"file": file_info(engine), "engine": info}).write(engine)
        return engine

    return build


@pytest.fixture
def opened(cuda, behaviour, engine_file):
    """opened(batch=1, version="10.3.0") -> a runner on the fake GPU."""

    def make(batch=1, version="10.3.0", graphs=True):
        path = engine_file(batch)
        engine = load_engine(path, load_manifest(path), fake_tensorrt(version, cuda, behaviour), "Fake GPU")
        return TrtRunner(engine, cuda, graphs=graphs, clock=cuda.clock)

    return make


@pytest.fixture
def reference(engine_file):
    """What ONNX Runtime says of the same file."""

    def run(image, batch=1):
        path = engine_file(batch).with_suffix(".onnx")
        with OrtRunner(path, load_manifest(path), "cpu", 1) as reference:
            return {name: array.copy() for name, array in reference.infer({"image": image}).items()}

    return run


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("batch", [1, "batch"])
def test_every_version_computes_what_onnxruntime_does(opened, reference, pixels, version, batch):
    with opened(batch, version) as trt:
        assert trt.info == RunnerInfo(
            "tensorrt_rtx" if "rtx" in version else "tensorrt",
            version.removeprefix("rtx "),
            "cuda",
            1,
            device_name="Fake GPU",
            graph=True,
        )
        for seed in range(4):
            image = pixels(1 if batch == 1 else seed + 1, seed)
            assert_same(trt.infer({"image": image}), reference(image, batch))
        assert [tensor.name for tensor in trt.outputs] == ["labels", "logits"]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_librarys_profiler_tells_the_time_of_each_layer(cuda, behaviour, engine_file, version):
    path = engine_file()
    module = fake_tensorrt(version, cuda, behaviour)
    engine = load_engine(path, load_manifest(path), module, "Fake GPU")
    line = Line(name="conv", file="conv.trt", runtime=module.__name__, version="1", device="cuda", threads=1)
    times = engine_times(line, engine, cuda, inferences=3, seed=0)
    # The imitation's layers take 0.25 ms each; those of the warm-up are not counted.
    each = behaviour.layer_ms
    assert times.by_kind == {kind: (n, n * each) for kind, n in {"Cast": 2, "Transpose": 1, "Conv": 2, **ONCE}.items()}
    assert times.kernels == 7
    assert times.source == f"{module.__name__} {module.__version__} profiler, 3 inferences, no CUDA graph"
    assert "launch_graph" not in cuda.log

    behaviour.detailed = False
    named = engine_times(line, engine, cuda, inferences=2, seed=0)
    assert named.by_kind["/logits/Conv"] == (1, each)
    assert (len(named.by_kind), named.kernels) == (7, 7)

    behaviour.silent = True
    with pytest.raises(UnavailableError, match="tells its profiler of no layer"):
        engine_times(line, engine, cuda, inferences=1, seed=0)


@pytest.mark.parametrize("graphs", [True, False])
def test_copies_go_in_then_the_network_runs_then_copies_come_out(opened, cuda, pixels, graphs):
    with opened(graphs=graphs) as trt:
        assert trt.info.graph is graphs
        allocated = len(cuda.device), len(cuda.pinned), len(cuda.streams)
        cuda.log.clear()
        for seed in range(5):
            trt.infer({"image": pixels(seed=seed)})
        one = (["launch_graph"] if graphs else []) + ["h2d", "compute", "d2h", "d2h", "synchronise_stream"]
        assert cuda.log == one * 5  # nothing is allocated, and no stream or event made, while it runs
        assert (len(cuda.device), len(cuda.pinned), len(cuda.streams)) == allocated == (3, 3, 3)


STAGES_MS = {"h2d": 0.25, "compute": 3.5, "d2h": 0.125}


@pytest.mark.parametrize("graphs", [True, False])
def test_stages_are_those_of_the_gpu_and_of_the_hosts_queueing(opened, cuda, pixels, reference, graphs):
    cuda.gpu_ms = STAGES_MS
    cuda.host_ns = {"launch_graph": 7_000, "compute": 90_000, "h2d": 1_000_000, "d2h": 1_000_000}
    with opened(graphs=graphs) as trt:
        assert trt.has_stages
        outputs = trt.infer({"image": pixels()})
        for seed in range(1, 4):
            stages = trt.staged({"image": pixels(seed=seed)})
            enqueue = 7_000 if graphs else 90_000
            # Two outputs are copied back.
            assert stages == {"enqueue": enqueue, "h2d": 250_000, "compute": 3_500_000, "d2h": 250_000}
            assert tuple(stages) == GPU_STAGES
            assert_same(outputs, reference(pixels(seed=seed)))


@pytest.mark.parametrize("graphs", [True, False])
def test_stages_are_queued_in_one_go_once_the_graph_is_made(opened, cuda, pixels, graphs):
    with opened(graphs=graphs) as trt:
        trt.staged({"image": pixels()})
        cuda.log.clear()
        trt.staged({"image": pixels(seed=1)})
        launch = ["launch_graph"] if graphs else []
        copies = ["event", "h2d", "event", *launch, "compute", "event", "d2h", "d2h", "event", "synchronise_stream"]
        assert cuda.log == ["create_event"] * 4 + copies + ["destroy_event"] * 4


def test_inferences_and_stages_have_each_a_graph_that_stays(opened, cuda, behaviour, pixels, reference):
    with opened("batch") as trt:
        assert_same(trt.infer({"image": pixels(2)}), reference(pixels(2), "batch"))
        trt.staged({"image": pixels(2)})
        captures = cuda.count("begin_capture")
        for seed in range(3):
            trt.staged({"image": pixels(2, seed)})
            assert_same(trt.infer({"image": pixels(2, seed)}), reference(pixels(2, seed), "batch"))
        assert cuda.count("begin_capture") == captures
        assert len(cuda.graphs) == 2
        # Another shape makes both anew, and no inference runs on what the memory held.
        behaviour.fed.clear()
        trt.staged({"image": pixels(3, 7)})
        assert all(np.array_equal(feeds["image"], pixels(3, 7)) for feeds in behaviour.fed)
        assert_same(trt.infer({"image": pixels(4)}), reference(pixels(4), "batch"))
    assert cuda.graphs == {}


def test_stages_without_a_graph_where_there_can_be_none(opened, cuda, behaviour, pixels, reference):
    behaviour.capturable = None
    cuda.gpu_ms = STAGES_MS
    with opened() as trt:
        assert trt.staged({"image": pixels()})["compute"] == 3_500_000
        assert trt.info.graph is False
        assert_same(trt.infer({"image": pixels(seed=1)}), reference(pixels(seed=1)))


def test_stages_of_a_runner_that_refuses(opened, behaviour, pixels):
    with opened() as trt:
        with pytest.raises(InputError, match="image: not given"):
            trt.staged({})
        behaviour.fail_enqueue = 1
        with pytest.raises(UnavailableError, match="refuses the inference"):
            trt.staged({"image": pixels()})
        assert trt.staged({"image": pixels()}).keys() == set(GPU_STAGES)
    with pytest.raises(RuntimeError, match="is closed"):
        trt.staged({"image": pixels()})


def test_given_arrays_are_read_whatever_their_order_and_not_changed(opened, pixels):
    image = pixels()
    with opened() as trt:
        expected = trt.infer({"image": image})["logits"].copy()
        np.testing.assert_array_equal(trt.infer({"image": np.asfortranarray(image)})["logits"], expected)
    np.testing.assert_array_equal(image, pixels())


def test_outputs_are_the_runners_until_the_next_inference(opened, pixels):
    with opened() as trt:
        first = trt.infer({"image": pixels(seed=0)})["logits"]
        kept = first.copy()
        second = trt.infer({"image": pixels(seed=1)})["logits"]
        assert np.shares_memory(first, second)
        assert not np.array_equal(first, kept)


def test_an_output_that_is_kept_too_long_is_stale_but_there(opened, cuda, pixels, reference):
    with opened() as trt:
        kept = trt.infer({"image": pixels()})["logits"]
    assert len(cuda.pinned) == 1
    np.testing.assert_array_equal(kept, reference(pixels())["logits"])
    del kept
    assert cuda.pinned == {}


def test_the_first_inferences_run_on_zeros_not_on_what_the_memory_held(opened, behaviour):
    with opened("batch"):
        assert [feeds["image"].shape for feeds in behaviour.fed] == [(2, 8, 16, 3)] * 2  # the best batch
        assert not any(feeds["image"].any() for feeds in behaviour.fed)


# -- shapes


def test_each_batch_has_its_shape_and_a_graph_of_its_own(opened, cuda, pixels, reference):
    with opened("batch") as trt:
        size = 8 * 16 * 3
        assert max(length for _, length in cuda.device.values()) == 4 * 4 * 8 * 16 * 4  # logits of the largest batch
        for batch, captures in ((4, 0), (4, 1), (4, 0), (1, 0), (1, 1), (2, 0), (4, 0)):
            cuda.log.clear()
            image = pixels(batch, seed=batch)
            assert_same(trt.infer({"image": image}), reference(image, "batch"))
            assert cuda.count("begin_capture") == captures
            assert len(cuda.graphs) <= 1
        assert sorted(length for _, length in cuda.pinned.values())[1] == 4 * size


def test_batches_outside_of_the_profile(opened, pixels):
    with opened("batch") as trt:
        for batch in (5, 40):
            with pytest.raises(InputError, match=rf"image: shape \({batch},8,16,3\) given, conv.trt was built for"):
                trt.infer({"image": pixels(batch)})
        with pytest.raises(InputError, match=r"\(1,8,15,3\) given"):
            trt.infer({"image": np.zeros((1, 8, 15, 3), np.uint8)})
        assert trt.infer({"image": pixels(4)})["labels"].shape == (4, 8, 16)


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({"image": np.zeros((2, 8, 16, 3), np.uint8)}, r"uint8 \(2,8,16,3\) given.*export with --batch"),
        ({"image": np.zeros((1, 8, 16, 3), np.float32)}, r"float32 \(1,8,16,3\) given, conv.trt takes uint8"),
        ({"image": [1]}, "list given, conv.trt takes a NumPy array"),
        ({}, "image: not given"),
    ],
)
def test_wrong_inputs_reach_no_gpu(opened, cuda, feeds, message):
    with opened() as trt:
        cuda.log.clear()
        with pytest.raises(InputError, match=message):
            trt.infer(feeds)
        assert cuda.log == []


def test_an_output_whose_shape_depends_on_the_data(opened, behaviour):
    behaviour.unknown_shape = ("labels",)
    with pytest.raises(InputError, match="the shape of labels depends on the data"):
        opened()


def twice(path, kind):
    """An engine that puts its input beside itself."""
    graph = helper.make_graph(
        [helper.make_node("Concat", ["x", "x"], ["y"], axis=1)],
        "g",
        [helper.make_tensor_value_info("x", kind, [1, 3])],
        [helper.make_tensor_value_info("y", kind, [1, 6])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize(("dtype", "kind"), [("float16", 10), ("int32", 6), ("int64", 7), ("uint8", 2), ("float32", 1)])
def test_every_dtype_goes_through(cuda, tmp_path, dtype, kind):
    engine = load_engine(twice(tmp_path / "twice.trt", kind), None, fake_tensorrt("10.3.0", cuda), "Fake GPU")
    x = np.array([[1, 2, 100]], dtype)
    with TrtRunner(engine, cuda) as trt:
        found = trt.infer({"x": x})["y"]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, [[1, 2, 100, 1, 2, 100]])


def test_a_dtype_that_artefacts_do_not_have(cuda, tmp_path):
    path = twice(tmp_path / "twice.trt", TensorProto.BOOL)
    with pytest.raises(InputError, match=r"twice\.trt: x has type BOOL"):
        load_engine(path, None, fake_tensorrt("10.3.0", cuda), "Fake GPU")


# -- graphs and their absence


def test_a_library_that_says_no_is_asked_once_and_runs_without(opened, cuda, behaviour, pixels, reference):
    behaviour.capturable = False
    with opened(version="rtx 1.7.1") as trt:
        assert trt.info.graph is False
        assert trt.info.graph_fallback_reason == "tensorrt_rtx says that this network cannot be captured"
        assert trt.info.label.endswith("cuda (Fake GPU), no CUDA graph")
        for _ in range(3):
            assert_same(trt.infer({"image": pixels()}), reference(pixels()))
        assert cuda.count("begin_capture") == 0


def test_a_capture_that_fails_leaves_a_runner_that_works(opened, cuda, behaviour, pixels, reference):
    behaviour.capturable = None
    with opened() as trt:
        assert trt.info.graph is False
        assert "the capture failed" in trt.info.graph_fallback_reason
        assert "operation not permitted when stream is capturing" in trt.info.graph_fallback_reason
        for _ in range(3):
            assert_same(trt.infer({"image": pixels()}), reference(pixels()))
        assert (cuda.count("begin_capture"), cuda.count("end_capture"), cuda.count("launch_graph")) == (1, 1, 0)


def test_a_graph_that_is_not_made(opened, cuda, pixels, reference):
    cuda.fail.add("begin_capture")
    with opened() as trt:
        assert trt.info.graph_fallback_reason.startswith("the capture failed: begin_capture failed: cudaErrorUnknown")
        assert_same(trt.infer({"image": pixels()}), reference(pixels()))


def test_a_provider_without_graphs(opened, cuda, pixels, reference):
    cuda.graph_problem = "pycuda has no CUDA graphs"
    with opened() as trt:
        assert (trt.info.graph, trt.info.graph_fallback_reason) == (False, "pycuda has no CUDA graphs")
        assert_same(trt.infer({"image": pixels()}), reference(pixels()))


def test_a_later_graph_that_fails_is_told_in_info(opened, cuda, behaviour, pixels):
    with opened("batch") as trt:
        assert trt.info.graph
        behaviour.capturable = None
        for _ in range(3):
            assert trt.infer({"image": pixels(4)})["labels"].shape == (4, 8, 16)
        assert trt.info.graph is False
        assert "the capture failed" in trt.info.graph_fallback_reason


# -- several contexts


def test_contexts_of_one_engine_on_threads(opened, cuda, behaviour, pixels, reference):
    images = [pixels(seed=seed) for seed in range(4)]
    expected = [reference(image) for image in images]
    failures = []

    def work(context, image, wanted):
        try:
            for _ in range(20):
                assert_same(context.infer({"image": image}), wanted)
        except AssertionError as error:
            failures.append(error)

    with opened() as first, first.new_context() as second, first.new_context() as third, second.new_context() as fourth:
        contexts = (first, second, third, fourth)
        assert behaviour.contexts == 4
        assert len({context._stream for context in contexts}) == 4
        jobs = zip(contexts, images, expected, strict=True)
        threads = [threading.Thread(target=work, args=job) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def test_a_context_outlives_the_runner_that_it_is_from(opened, pixels, reference):
    with opened() as first:
        second = first.new_context()
    with pytest.raises(RuntimeError, match="closed"):
        first.new_context()
    with second:
        assert_same(second.infer({"image": pixels()}), reference(pixels()))


# -- failures


def test_out_of_memory_names_what_was_asked_and_what_is_free(opened, cuda):
    cuda.total_bytes = 3000
    with pytest.raises(
        device_memory.OutOfMemoryError,
        # Of 3000 bytes the input has 4*384 and the labels 4*128.
        match=r"GPU memory: 8192 bytes \(0\.0 MiB\) asked on Fake GPU, 952 bytes of the GPU .* lower the batch",
    ) as caught:
        opened("batch")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("call", ["create_stream", "allocate_pinned", "h2d", "d2h", "synchronise_stream"])
def test_what_fails_while_it_opens_leaves_nothing_behind(opened, cuda, call):
    cuda.fail.add(call)
    with pytest.raises(device_memory.CudaError, match=r"failed: cudaError\w+ \(the test wants it\)"):
        opened()


def test_a_failing_inference_is_told_and_the_next_one_works(opened, behaviour, pixels, reference):
    with opened(graphs=False) as trt:
        behaviour.fail_enqueue = 1
        with pytest.raises(UnavailableError, match="refuses the inference: Error Code 1: Cuda Runtime"):
            trt.infer({"image": pixels()})
        assert_same(trt.infer({"image": pixels()}), reference(pixels()))


def test_an_error_while_closing_frees_the_rest(opened, cuda):
    with pytest.raises(device_memory.CudaError), opened():
        cuda.fail.add("synchronise_stream")


def test_a_first_inference_that_fails(opened, behaviour):
    behaviour.fail_enqueue = 1
    with pytest.raises(UnavailableError, match=r"conv\.trt: tensorrt 10\.3\.0 refuses the inference: Error Code 1"):
        opened()


def test_a_shape_or_an_address_that_the_library_refuses(opened, cuda, behaviour, pixels, reference):
    with opened("batch") as trt:
        behaviour.refuse_shape_of = ("image",)
        with pytest.raises(UnavailableError, match=r"refuses the shape \(3,8,16,3\) of image: IExecutionContext"):
            trt.infer({"image": pixels(3)})
        behaviour.refuse_shape_of = ()
        cuda.log.clear()
        assert_same(trt.infer({"image": pixels(2)}), reference(pixels(2), "batch"))
        assert cuda.count("launch_graph") == 0  # the graph was of a context that has been touched since
        assert_same(trt.infer({"image": pixels(3)}), reference(pixels(3), "batch"))
        behaviour.refuse_address_of = ("labels",)
        with pytest.raises(UnavailableError, match=r"refuses the address 0x\w+ of labels: it gave no reason"):
            trt.infer({"image": pixels(1)})


def test_no_context(opened, behaviour):
    behaviour.no_context = True
    with pytest.raises(UnavailableError, match=r"made no execution context \(Requested amount.*bytes of GPU memory"):
        opened()


def test_a_closed_runner_says_so(opened, pixels):
    with opened() as trt:
        pass
    for call in (lambda: trt.infer({"image": pixels()}), lambda: trt.infer_device({}), lambda: trt.gpu_compute_ms(1)):
        with pytest.raises(RuntimeError, match=r"the runner of conv\.trt is closed"):
            call()
    with trt:  # closing twice frees once
        pass


def test_time_on_the_gpu_is_that_of_the_network_alone(opened, pixels, reference):
    with opened() as trt:
        before = trt.infer({"image": pixels()})["labels"].copy()
        assert trt.gpu_compute_ms(10) == 1.0  # the fake GPU takes 1 ms for each operation, and there are no copies
        np.testing.assert_array_equal(trt.infer({"image": pixels()})["labels"], before)
        with pytest.raises(InputError, match="iterations 0: give at least 1"):
            trt.gpu_compute_ms(0)


# -- engines that do not fit


def test_an_engine_that_the_library_refuses(cuda, engine_file):
    path = engine_file()
    path.write_bytes(tensorrt_plan(8, 6, 1, 6, size=HEADER_BYTES) + b"which is no ONNX file")
    with pytest.raises(InputError) as caught:
        load_engine(path, load_manifest(path, trust=True), fake_tensorrt("11.4.0", cuda), "Fake GPU")
    message = str(caught.value)
    assert (
        "tensorrt 11.4.0 on Fake GPU cannot load it (IRuntime::deserializeCudaEngine: Error Code 1: magic tag)"
        in message
    )
    assert "it was built by tensorrt 10.3.0 for Fake GPU" in message
    assert "\n" not in message


def test_a_runtime_that_does_not_start(cuda, behaviour, engine_file):
    behaviour.start_error = "CUDA initialization failure with error: 35"
    with pytest.raises(UnavailableError, match=r"tensorrt 11\.4\.0 does not start: CUDA initialization failure"):
        load_engine(engine_file(), None, fake_tensorrt("11.4.0", cuda, behaviour), "Fake GPU")
    module = fake_tensorrt("10.3.0", cuda)

    def no_runtime(logger):
        raise TypeError("pybind11::init(): factory function returned nullptr")

    module.Runtime = no_runtime
    with pytest.raises(UnavailableError, match=r"10\.3\.0 does not start: pybind11::init"):
        load_engine(engine_file(), None, module, "Fake GPU")


def test_tensors_that_the_runner_does_not_feed(cuda, behaviour, engine_file):
    path = engine_file()
    behaviour.host_tensors = ("image",)
    with pytest.raises(InputError, match="image holds a shape and is read on the host"):
        load_engine(path, None, fake_tensorrt("10.3.0", cuda, behaviour), "Fake GPU")
    behaviour.host_tensors, behaviour.vectorised = (), ("logits",)
    with pytest.raises(InputError, match=r"logits has a vectorised layout \(Sixteen-wide"):
        load_engine(path, None, fake_tensorrt("10.3.0", cuda, behaviour), "Fake GPU")


@pytest.mark.parametrize(("version", "taken"), [("8.6.1", "int32"), ("10.3.0", "int64")])
def test_words_are_int64_whatever_the_engine_takes(version, taken, cuda, behaviour, write_artefact, tmp_path):
    table = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    token = {"name": "token", "dtype": "int64", "shape": (2,), "layout": "N", "meaning": ""}
    logits = {"name": "logits", "dtype": "float32", "shape": (2, 3), "layout": "NC", "meaning": ""}
    node = helper.make_node("Gather", ["table", "token"], ["logits"])
    path = write_artefact(tmp_path / "lm.trt", [node], [token], [logits], {"table": table})
    engine = load_engine(path, load_manifest(path), fake_tensorrt(version, cuda, behaviour), "Fake GPU")
    assert engine.dtypes["token"] == taken
    with TrtRunner(engine, cuda) as opened:
        assert [tensor.dtype for tensor in opened.inputs] == ["int64"]
        tokens = np.array([49, 7])
        np.testing.assert_array_equal(opened.infer({"token": tokens})["logits"], table[tokens])
        assert behaviour.fed[-1]["token"].dtype == taken
        if taken == "int32":
            with pytest.raises(InputError, match="token: 4294967303 is beyond int32"):
                opened.infer({"token": np.array([1, 7 + (1 << 32)])})


def test_the_manifest_of_another_engine(cuda, engine_file):
    path = engine_file()
    manifest = load_manifest(path)
    wrong = manifest.inputs[0].model_copy(update={"dtype": "float32"})
    with pytest.raises(CheckError, match=r"the file has image uint8 \(1,8,16,3\)"):
        load_engine(path, manifest.model_copy(update={"inputs": (wrong,)}), fake_tensorrt("10.3.0", cuda), "Fake GPU")


# -- open_runner


@pytest.fixture
def gpu_machine(monkeypatch, cuda, behaviour):
    """A machine whose driver answers, with TensorRT installed."""
    monkeypatch.setattr(runner, "probe_cuda", lambda: CudaProbe("Fake GPU", "found", compute_capability="8.7"))
    monkeypatch.setattr(runner, "_is_installed", lambda name: name in {"tensorrt", "onnxruntime"})
    monkeypatch.setattr(device_memory, "open_memory", lambda choice="auto": cuda)
    module = fake_tensorrt("10.3.0", cuda, behaviour)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    return module


def test_open_runner_takes_the_library_that_built_the_engine(gpu_machine, engine_file, pixels, reference):
    path = engine_file()
    for runtime in ("auto", "tensorrt"):
        with open_runner(path, runtime) as opened:
            assert (opened.info.runtime, opened.info.device, opened.info.device_name) == (
                "tensorrt",
                "cuda",
                "Fake GPU",
            )
            assert_same(opened.infer({"image": pixels()}), reference(pixels()))
    with pytest.raises(InputError, match="built by tensorrt, tensorrt_rtx was asked"):
        open_runner(path, "tensorrt_rtx")
    with pytest.raises(UnavailableError, match=r"tensorrt_rtx is not installed \(probed: CUDA device Fake GPU\)"):
        open_runner(engine_file(builder="tensorrt-rtx"))
    with pytest.raises(InputError, match="its builder 'tvm' is unknown"):
        open_runner(engine_file(builder="tvm"))


def test_open_runner_of_an_engine_without_a_manifest(gpu_machine, engine_file, pixels, monkeypatch):
    path = engine_file("batch")
    path.with_name(path.name + ".json").unlink()
    with open_runner(path, trust=True) as opened:
        (image,) = opened.inputs
        assert (image.dtype, image.shape) == ("uint8", ("dim0", 8, 16, 3))
        assert opened.infer({"image": pixels(3)})["logits"].shape == (3, 4, 8, 16)
    monkeypatch.setattr(runner, "_is_installed", lambda name: True)
    with pytest.raises(
        InputError, match=r"which library built it is unknown.*name the runtime: tensorrt or tensorrt_rtx"
    ):
        open_runner(path, trust=True)


def test_an_engine_of_another_version_is_told_the_way_out_before_it_is_read(gpu_machine, engine_file, monkeypatch):
    path = engine_file(plan_version=(8, 6, 1, 6), builder_version="8.6.1.6")
    monkeypatch.setattr(gpu_machine, "Runtime", lambda logger: pytest.fail("the file reached the library"))
    with pytest.raises(UnavailableError) as caught:
        open_runner(path)
    message = str(caught.value)
    assert "built by TensorRT 8.6.1.6 for sm 8.7 (Fake GPU); here is TensorRT 10.3.0 on sm 8.7 (Fake GPU)" in message
    assert f"run: espnet-export {path.with_suffix('.onnx')} --out {path.parent} --engine tensorrt" in message


def test_an_engine_of_trtexec_runs_in_tensorrt(gpu_machine, engine_file):
    with open_runner(engine_file(builder="trtexec")) as opened:
        assert opened.info.runtime == "tensorrt"


def test_a_changed_engine_is_not_deserialised(gpu_machine, engine_file, monkeypatch):
    path = engine_file()
    path.write_bytes(path.read_bytes() + b"\0")
    monkeypatch.setattr(gpu_machine, "Runtime", lambda logger: pytest.fail("the file reached the library"))
    with pytest.raises(CheckError, match="sha256"):
        open_runner(path)


def test_without_a_driver_the_library_is_not_touched(gpu_machine, engine_file, monkeypatch):
    path = engine_file()
    monkeypatch.setattr(runner, "probe_cuda", lambda: CudaProbe(None, "no CUDA driver: libcuda.so.1 is not there"))
    monkeypatch.setattr(runner, "_load", lambda name: pytest.fail("the library was imported"))
    with pytest.raises(UnavailableError) as caught:
        open_runner(path)
    message = str(caught.value)
    assert "(probed: no CUDA driver: libcuda.so.1 is not there; tensorrt is installed; tensorrt_rtx is not" in message
    assert f"run the ONNX file beside it: --engine {path.with_suffix('.onnx')}" in message


def test_espnet_bench_measures_an_engine_beside_its_onnx_file(gpu_machine, engine_file, behaviour, command, tmp_path):
    onnx_file = engine_file().with_suffix(".onnx")
    engine, out = onnx_file.with_suffix(".trt"), tmp_path / "result.json"
    quick = ("--rounds", 2, "--iterations", 1, "--warmup", 0, "--json", out)
    assert command(cli_bench.main, "--engine", engine, *quick).code == 0
    result = read_result(out)
    (line,) = result.lines
    assert line.name == line.runtime == "tensorrt"
    assert line.graph is True
    assert line.device_name == "Fake GPU"
    assert list(result.latency.lines[0].stages) == ["enqueue", "h2d", "compute", "d2h"]
    behaviour.capturable = None
    outcome = command(
        cli_bench.main,
        *("--engine", engine, "--engine", onnx_file, "--runtime", "onnxruntime,tensorrt", "--threads", 1),
        *quick,
    )
    assert outcome.code == 0, outcome.err
    result = read_result(out)
    assert [line.device for line in result.lines] == ["cuda", "cpu"]
    assert any("conv.trt tensorrt ran without a CUDA graph (the capture failed" in doubt for doubt in result.doubts)


def test_espnet_run_runs_an_engine(gpu_machine, engine_file, command, tmp_path, pixels):
    path, photo = engine_file(), tmp_path / "photo.png"
    Image.fromarray(pixels()[0]).save(photo)
    options = ("--out", tmp_path / "out", "--allow-random-weights")
    found = {}
    for engine in (path, path.with_suffix(".onnx")):
        assert command(cli_run.main, "--engine", engine, photo, *options).code == 0
        found[engine] = (tmp_path / "out" / "photo.labels.png").read_bytes()
    assert found[path] == found[path.with_suffix(".onnx")]


def test_the_names_of_the_runner_are_in_the_real_tensorrt_rtx():
    trt = pytest.importorskip("tensorrt_rtx")
    runtime, engine, context, dtypes = VERSIONS["rtx 1.7.1"]
    for kind, names in ((trt.Runtime, runtime), (trt.ICudaEngine, engine), (trt.IExecutionContext, context)):
        assert [name for name in names if not hasattr(kind, name)] == []
    assert set(dtypes) <= trt.DataType.__members__.keys()
    assert {"INPUT", "OUTPUT"} <= trt.TensorIOMode.__members__.keys()
    assert "DEVICE" in trt.TensorLocation.__members__
    assert "LINEAR" in trt.TensorFormat.__members__
    assert {"ERROR", "INTERNAL_ERROR"} <= trt.ILogger.Severity.__members__.keys()
