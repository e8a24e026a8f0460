import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import helper
from torch import nn

from espnet_edge.errors import CheckError, InputError, UnavailableError
from espnet_edge.model.deploy import network_from_manifest_fields
from espnet_edge.runtime import RunnerInfo, open_runner, runner
from espnet_edge.runtime.cuda_probe import CudaProbe
from espnet_edge.runtime.manifest import TensorInfo, load_manifest, manifest_path
from espnet_edge.runtime.ort_runner import OrtRunner
from espnet_edge.runtime.torch_runner import TorchRunner

FILE_RUNTIMES = ["onnxruntime", "openvino"]


class ConvNetwork(nn.Module):
    """The network of `conv_artefact`."""

    def __init__(self, weights):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 4, 1, bias=False)
        tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
        self.load_state_dict(
            {"first.weight": tensors["w1"], "first.bias": tensors["b1"], "second.weight": tensors["w2"]}
        )

    def forward(self, pixels):
        logits = self.second(self.first(pixels.float().permute(0, 3, 1, 2)).relu())
        return logits.argmax(dim=1).to(torch.uint8), logits


def without(monkeypatch, *libraries):
    for name in libraries:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("runtime", FILE_RUNTIMES)
def test_a_cpu_has_no_stages(conv_artefact, pixels, runtime):
    with open_runner(conv_artefact(), runtime, threads=1) as opened:
        assert not opened.has_stages
        with pytest.raises(RuntimeError, match=f"{runtime} .* does not tell the parts of an inference apart"):
            opened.staged({"image": pixels()})


@pytest.mark.parametrize("batch", [1, "batch"])
def test_the_runtimes_agree(conv_artefact, conv_weights, pixels, batch):
    path = conv_artefact(batch)
    manifest = load_manifest(path)
    image = pixels(1 if batch == 1 else 3)
    with TorchRunner(ConvNetwork(conv_weights), manifest.inputs, manifest.outputs, threads=1) as reference:
        expected = reference.infer({"image": image})
    for runtime in FILE_RUNTIMES:
        with open_runner(path, runtime, threads=1) as opened:
            found = opened.infer({"image": image})
        assert list(found) == ["labels", "logits"]
        assert (found["labels"].dtype, found["logits"].dtype) == (np.uint8, np.float32)
        # Sums of 27 and 6 products of order 1, in another order: a few units of the last place.
        np.testing.assert_allclose(found["logits"], expected["logits"], atol=2e-5)
        np.testing.assert_array_equal(found["labels"], expected["labels"])


@pytest.mark.parametrize("runtime", FILE_RUNTIMES)
def test_inputs_and_outputs_are_the_manifests(conv_artefact, runtime):
    path = conv_artefact()
    manifest = load_manifest(path)
    with open_runner(path, runtime) as opened:
        assert opened.inputs == manifest.inputs
        assert opened.outputs == manifest.outputs


@pytest.mark.parametrize("runtime", FILE_RUNTIMES)
def test_outputs_keep_the_order_of_the_manifest(conv_artefact, pixels, runtime):
    path = conv_artefact()
    manifest = load_manifest(path)
    manifest.model_copy(update={"outputs": manifest.outputs[::-1]}).write(path)
    with open_runner(path, runtime) as opened:
        found = opened.infer({"image": pixels()})
    assert list(found) == ["logits", "labels"]
    assert found["logits"].shape == (1, 4, 8, 16)


@pytest.mark.parametrize("runtime", FILE_RUNTIMES)
def test_a_batch_of_pictures_is_each_of_them(conv_artefact, pixels, runtime):
    with open_runner(conv_artefact("batch"), runtime) as opened:
        both = opened.infer({"image": pixels(2)})["logits"].copy()
        for i in range(2):
            one = opened.infer({"image": pixels(2)[i : i + 1]})["logits"]
            np.testing.assert_allclose(one[0], both[i], atol=2e-5)


@pytest.mark.parametrize("runtime", FILE_RUNTIMES)
def test_inputs_of_any_memory_order_are_read_and_not_changed(conv_artefact, pixels, runtime):
    image = pixels()
    strided = np.asfortranarray(image)
    frozen = image.copy()
    frozen.flags.writeable = False
    with open_runner(conv_artefact(), runtime) as opened:
        expected = opened.infer({"image": image})["logits"].copy()
        for other in (strided, frozen, image[:, ::-1][:, ::-1]):
            np.testing.assert_array_equal(opened.infer({"image": other})["logits"], expected)
    np.testing.assert_array_equal(image, frozen)


@pytest.mark.parametrize("runtime", FILE_RUNTIMES)
def test_several_inputs_in_any_order(write_artefact, tmp_path, runtime):
    def info(name):
        return {"name": name, "dtype": "float32", "shape": (1, 2), "layout": "NC", "meaning": ""}

    nodes = [helper.make_node("Sub", ["a", "b"], ["difference"])]
    path = write_artefact(tmp_path / "two.onnx", nodes, [info("a"), info("b")], [info("difference")])
    a, b = np.array([[5, 6]], np.float32), np.array([[1, 3]], np.float32)
    with open_runner(path, runtime) as opened:
        np.testing.assert_array_equal(opened.infer({"b": b, "a": a})["difference"], [[4, 3]])


@pytest.mark.parametrize("runtime", FILE_RUNTIMES)
@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        (
            {"image": np.zeros((1, 3, 8, 8), np.float32)},
            r"image: float32 \(1,3,8,8\) given, conv.onnx takes uint8 \(1,8,16,3\); prepare it",
        ),
        (
            {"image": np.zeros((1, 8, 16, 3), np.float32)},
            r"float32 \(1,8,16,3\) given, conv.onnx takes uint8 \(1,8,16,3\)",
        ),
        ({"image": np.zeros((2, 8, 16, 3), np.uint8)}, r"uint8 \(2,8,16,3\) given.*export with --batch"),
        ({"image": np.zeros((8, 16, 3), np.uint8)}, r"uint8 \(8,16,3\) given"),
        ({"image": np.uint8(3)[...]}, r"image: uint8 \(\) given"),
        ({"image": [1, 2]}, "image: list given, conv.onnx takes a NumPy array"),
        ({"picture": np.zeros(1)}, "picture: no such input, conv.onnx takes image"),
        ({"image": np.zeros(1), "x": np.zeros(1)}, "x: no such input"),
        ({}, "image: not given, conv.onnx takes image"),
    ],
)
def test_wrong_inputs(conv_artefact, runtime, feeds, message):
    with open_runner(conv_artefact(), runtime) as opened, pytest.raises(InputError, match=message):
        opened.infer(feeds)


def test_wrong_inputs_of_a_free_batch(conv_artefact):
    with open_runner(conv_artefact("batch"), "onnxruntime") as opened:
        with pytest.raises(InputError, match=r"\(0,8,16,3\) given, conv.onnx takes uint8 \(batch,8,16,3\)"):
            opened.infer({"image": np.zeros((0, 8, 16, 3), np.uint8)})
        with pytest.raises(InputError, match=r"\(2,8,15,3\) given"):
            opened.infer({"image": np.zeros((2, 8, 15, 3), np.uint8)})


def test_byte_order_counts():
    info = TensorInfo(name="x", dtype="float32", shape=(1,), layout="N", meaning="")
    with pytest.raises(InputError, match=">f4"):
        runner.checked_feeds({"x": np.zeros(1, ">f4")}, (info,), "f")


@pytest.mark.parametrize("runtime", FILE_RUNTIMES)
def test_a_closed_runner_says_so(conv_artefact, pixels, runtime):
    with open_runner(conv_artefact(), runtime) as opened:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        opened.infer({"image": pixels()})


def test_info(conv_artefact):
    with open_runner(conv_artefact(), threads=1) as opened:
        assert opened.info == RunnerInfo("onnxruntime", onnxruntime.__version__, "cpu", 1)
        assert opened.info.label == f"onnxruntime {onnxruntime.__version__}, cpu, 1 thread"
    with open_runner(conv_artefact(), "openvino", threads=2) as opened:
        assert (opened.info.runtime, opened.info.threads) == ("openvino", 2)
        assert opened.info.version[:3] == "202"
        assert "-" not in opened.info.version


def test_default_threads_are_the_usable_cores(conv_artefact, monkeypatch):
    monkeypatch.setattr(runner, "usable_cores", lambda: 7)
    with open_runner(conv_artefact()) as opened:
        assert opened.info.threads == 7


def test_the_libraries_are_told_the_threads(conv_artefact):
    path = conv_artefact()
    with open_runner(path, "onnxruntime", threads=2) as opened:
        options = opened._session.get_session_options()
        assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    with open_runner(path, "openvino", threads=1) as opened:
        compiled = opened._request.get_compiled_model()
        assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
        assert compiled.get_property("NUM_STREAMS") == 1
        assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"


def test_auto_takes_the_first_installed(conv_artefact, monkeypatch):
    assert runner.available_runtimes() == ("onnxruntime", "openvino", "torch")
    without(monkeypatch, "onnxruntime")
    with open_runner(conv_artefact()) as opened:
        assert opened.info.runtime == "openvino"
    without(monkeypatch, "openvino", "torch")
    with pytest.raises(UnavailableError, match=r"probed: onnxruntime, openvino, torch.*pip install"):
        open_runner(conv_artefact())


@pytest.mark.parametrize("library", ["onnxruntime", "openvino", "torch"])
def test_a_missing_library_names_the_extra(conv_artefact, monkeypatch, library):
    without(monkeypatch, library)
    extra = {"torch": "export"}.get(library, library)
    with pytest.raises(UnavailableError, match=rf"{library} is not installed.*pip install 'espnet-edge\[{extra}\]'"):
        open_runner(conv_artefact(), library)


def test_a_library_that_does_not_load(conv_artefact, monkeypatch, tmp_path):
    (tmp_path / "openvino.py").write_text("raise ImportError('libopenvino.so: cannot open')")
    monkeypatch.delitem(sys.modules, "openvino", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnavailableError, match=r"does not load: libopenvino\.so"):
        open_runner(conv_artefact(), "openvino")


def test_unknown_options(conv_artefact):
    path = conv_artefact()
    with pytest.raises(InputError, match="'tflite' is unknown; there are auto, onnxruntime, openvino, torch, tensorrt"):
        open_runner(path, "tflite")
    with pytest.raises(InputError, match="'tpu' is unknown; there are cpu, cuda"):
        open_runner(path, device="tpu")
    with pytest.raises(InputError, match="threads 0"):
        open_runner(path, threads=0)


def test_no_cuda(conv_artefact):
    path = conv_artefact()
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(UnavailableError, match=r"has no CUDAExecutionProvider, only .*CPUExecutionProvider"):
            open_runner(path, "onnxruntime", "cuda")
    with pytest.raises(UnavailableError, match="openvino runs on cpu only"):
        open_runner(path, "openvino", "cuda")


def test_a_provider_that_falls_back_is_an_error(conv_artefact, monkeypatch):
    # ONNX Runtime drops a provider that does not start and goes on with the CPU.
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda *args, **kwargs: SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"]),
    )
    with pytest.raises(UnavailableError, match="could not start CUDAExecutionProvider"):
        OrtRunner(conv_artefact(), None, "cuda", 1)


@pytest.mark.parametrize("runtime", FILE_RUNTIMES)
@pytest.mark.parametrize("content", [b"", b"not a network", b"\x08\x08" + b"\0" * 40])
def test_a_broken_file(conv_artefact, runtime, content):
    path = conv_artefact()
    manifest_path(path).unlink()
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{path.name}: .*{runtime}"):
        open_runner(path, runtime, trust=True)


def test_the_manifest_is_checked_before_the_file_is_parsed(conv_artefact, monkeypatch):
    path = conv_artefact()
    path.write_bytes(b"anything")
    monkeypatch.setattr(runner, "_opened", lambda *args: pytest.fail("the file reached a runtime"))
    with pytest.raises(CheckError, match="sha256"):
        open_runner(path)


@pytest.mark.parametrize("runtime", FILE_RUNTIMES)
@pytest.mark.parametrize("batch", [1, "batch"])
def test_trust_without_manifest(conv_artefact, pixels, runtime, batch):
    path = conv_artefact(batch)
    manifest_path(path).unlink()
    with pytest.raises(CheckError, match="no manifest"):
        open_runner(path, runtime)
    with open_runner(path, runtime, trust=True) as opened:
        (image,) = opened.inputs
        assert (image.name, image.dtype, image.shape[1:]) == ("image", "uint8", (8, 16, 3))
        assert isinstance(image.shape[0], str) == (batch != 1)
        assert [tensor.name for tensor in opened.outputs] == ["labels", "logits"]
        assert opened.infer({"image": pixels()})["labels"].shape == (1, 8, 16)


@pytest.mark.parametrize("runtime", FILE_RUNTIMES)
@pytest.mark.parametrize(
    "change", [{"name": "photo"}, {"dtype": "float32"}, {"shape": (1, 8, 16, 4)}, {"shape": ("batch", 8, 16, 3)}]
)
def test_trust_with_the_manifest_of_another_file(conv_artefact, runtime, change):
    path = conv_artefact()
    manifest = load_manifest(path)
    wrong = manifest.inputs[0].model_copy(update=change)
    manifest.model_copy(update={"inputs": (wrong,)}).write(path)
    with pytest.raises(CheckError, match=r"the file has image uint8 \(1,8,16,3\)"):
        open_runner(path, runtime, trust=True)


@pytest.mark.parametrize("runtime", FILE_RUNTIMES)
def test_an_output_that_the_manifest_does_not_name(conv_artefact, runtime):
    path = conv_artefact()
    manifest = load_manifest(path)
    manifest.model_copy(update={"outputs": manifest.outputs[:1]}).write(path)
    with pytest.raises(CheckError, match="it has logits, which its manifest does not name"):
        open_runner(path, runtime)


def test_a_type_that_artefacts_do_not_have():
    with pytest.raises(InputError, match=r"f\.onnx: x has type tensor\(double\)"):
        runner.bare_tensor("x", None, "tensor(double)", (1,), "f.onnx")


def test_an_engine_without_a_gpu_names_what_was_probed_and_the_way_out(conv_artefact, monkeypatch):
    onnx_path = conv_artefact()
    engine = onnx_path.with_suffix(".trt")
    engine.write_bytes(b"an engine")
    monkeypatch.setattr(runner, "probe_cuda", lambda: CudaProbe(None, "no CUDA driver: libcuda.so.1 is not there"))
    for runtime in ("auto", "tensorrt", "tensorrt_rtx"):
        with pytest.raises(UnavailableError, match=rf"runs on a GPU \(probed: no CUDA driver.*--engine {onnx_path}"):
            open_runner(engine, runtime, trust=True)
    with pytest.raises(InputError, match=r"onnxruntime runs \.onnx files"):
        open_runner(engine, "onnxruntime", trust=True)
    with pytest.raises(CheckError, match="no manifest"):
        open_runner(engine)
    onnx_path.unlink()
    with pytest.raises(UnavailableError, match="run the ONNX file that it was built from"):
        open_runner(engine, trust=True)


def test_other_files_and_runtimes(conv_artefact, tmp_path):
    with pytest.raises(InputError, match=r"tensorrt runs engines \(\.trt\)"):
        open_runner(conv_artefact(), "tensorrt")
    (tmp_path / "photo.png").write_bytes(b"png")
    with pytest.raises(InputError, match=r"ends in \.onnx or \.trt is needed"):
        open_runner(tmp_path / "photo.png", trust=True)
    with pytest.raises(InputError, match="no such file"):
        open_runner(tmp_path / "none.onnx")


def test_torch_sets_its_threads_when_it_runs(conv_weights, conv_artefact, pixels):
    manifest = load_manifest(conv_artefact())
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with TorchRunner(ConvNetwork(conv_weights), manifest.inputs, manifest.outputs, threads=2) as opened:
            assert torch.get_num_threads() == 1
            opened.infer({"image": pixels()})
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_torch_takes_read_only_arrays(conv_weights, conv_artefact, pixels):
    manifest = load_manifest(conv_artefact())
    frozen = pixels()
    frozen.flags.writeable = False
    with TorchRunner(ConvNetwork(conv_weights), manifest.inputs, manifest.outputs, threads=1) as opened:
        assert opened.infer({"image": frozen})["labels"].shape == (1, 8, 16)
        with pytest.raises(InputError, match="the network takes uint8"):
            opened.infer({"image": frozen.astype(np.float32)})


@pytest.fixture
def published_like(conv_artefact):
    """An artefact whose manifest names a network that torch can rebuild."""

    def info(name, dtype, shape):
        return {"name": name, "dtype": dtype, "shape": shape, "layout": "any", "meaning": ""}

    def build(**changes):
        fields = {
            "task": "classification",
            "network": "espnetv2_cls",
            "width_mult": 0.5,
            "num_classes": 10,
            "postprocessing": {"kind": "top5"},
            "inputs": [info("image", "uint8", (1, 64, 64, 3))],
            "outputs": [info("classes", "int32", (1, 5)), info("scores", "float32", (1, 5))],
        }
        return conv_artefact(name="cls.onnx", **{**fields, **changes})

    return build


def test_torch_rebuilds_the_network_of_the_manifest(published_like):
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    with open_runner(published_like(), "torch", threads=1) as opened:
        found = opened.infer({"image": image})
        assert opened.info == RunnerInfo("torch", torch.__version__, "cpu", 1)
    network = network_from_manifest_fields(
        network="espnetv2_cls",
        width_mult=0.5,
        dataset="custom",
        num_classes=10,
        io="deploy",
        weights_source="none",
        weights_sha256=None,
        weights_random=True,
    )
    with torch.inference_mode():
        classes, scores = network(torch.from_numpy(image))
    np.testing.assert_array_equal(found["classes"], classes.numpy())
    np.testing.assert_allclose(found["scores"], scores.numpy(), atol=1e-6)


def test_torch_refuses_what_it_cannot_rebuild(published_like):
    path = published_like(precision="fp16")
    with pytest.raises(InputError, match="torch computes in fp32, the file is fp16"):
        open_runner(path, "torch")
    preprocessing = load_manifest(path).preprocessing.model_copy(update={"mean": (0.5, 0.5, 0.5)})
    path = published_like(preprocessing=preprocessing.model_dump())
    with pytest.raises(CheckError, match=r"normalises with mean \(0\.5, 0\.5, 0\.5\)"):
        open_runner(path, "torch")
    with pytest.raises(InputError, match="tiny"):
        open_runner(published_like(network="tiny"), "torch")
    manifest_path(path).unlink()
    with pytest.raises(InputError, match="torch rebuilds the network from the manifest"):
        open_runner(path, "torch", trust=True)


def test_the_package_loads_without_heavy_libraries():
    program = """
import sys
heavy = ["torch", "onnx", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx"]
sys.modules.update(dict.fromkeys(heavy))
import espnet_edge.runtime as package
assert sorted(package.__all__) == package.__all__, package.__all__
assert all(hasattr(package, name) for name in package.__all__)
assert callable(package.bench)
from espnet_edge.runtime import bench, report, environment, cli_bench
assert callable(bench)
from espnet_edge.runtime.runner import available_runtimes
assert available_runtimes() == ()
environment.read_environment()
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
