import builtins
import importlib
import shutil
import tempfile

import onnx
import pytest
from onnx import TensorProto, helper

from espnet_edge.errors import CheckError, InputError
from espnet_edge.runtime.operator_profile import breakdown, breakdown_lines, breakdown_rows
from espnet_edge.runtime.result import Line
from networks import multi_label_folder

ONE_IMAGE = {"file": "x", "version": "1", "device": "cpu", "threads": 1}


def line(runtime, **changes):
    return Line(**{"name": runtime, "runtime": runtime, **ONE_IMAGE, **changes})


@pytest.fixture(scope="module")
def artefact():
    """A whole classifier."""
    return multi_label_folder() / "cls.onnx"


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """Where profiles are written; nothing may be left."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "torch"])
def test_each_runtime_tells_where_its_time_goes(runtime, artefact, capfd):
    parts = breakdown(line(runtime), artefact, inferences=3)
    assert parts.unavailable is None
    assert sum(share.share for share in parts.shares) == pytest.approx(1)
    assert sum(share.time_ms for share in parts.shares) == pytest.approx(parts.profiled_ms)
    assert [share.share for share in parts.shares] == sorted((share.share for share in parts.shares), reverse=True)
    assert parts.source.startswith(runtime)
    assert "USDT" not in capfd.readouterr().err


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "torch"])
def test_operators_take_no_longer_than_the_inference_that_they_are_in(runtime, artefact):
    source = breakdown(line(runtime), artefact, inferences=3).source
    share = float(source.split("the operators take ")[1].split(" %")[0])
    # One thread, one operator after the other. What is left is the library's own work between them, and much of an
    # inference as short as this one.
    assert 0 < share <= 100


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "torch"])
def test_counts_are_those_of_one_inference_however_many_are_profiled(runtime, artefact):
    few, many = (breakdown(line(runtime), artefact, inferences=number) for number in (1, 4))
    assert few.kernels == many.kernels > 0
    assert {s.operator: s.count for s in few.shares} == {s.operator: s.count for s in many.shares}


def test_kernels_of_onnx_runtime_are_the_nodes_of_the_graph_that_it_runs(artefact, tmp_path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(artefact), options, providers=["CPUExecutionProvider"])
    optimised = onnx.load(tmp_path / "optimised.onnx")
    parts = breakdown(line("onnxruntime"), artefact, inferences=2)
    assert parts.kernels == len(optimised.graph.node)
    convolutions = sum(node.op_type == "Conv" for node in optimised.graph.node)
    assert {share.operator: share.count for share in parts.shares}["Conv"] == convolutions


def test_kernels_of_openvino_are_fewer_than_the_nodes_of_the_file(artefact):
    parts = breakdown(line("openvino"), artefact, inferences=1)
    assert 0 < parts.kernels < sum(parts.operators.values())


def test_torch_counts_what_the_network_calls(artefact):
    counts = {share.operator: share.count for share in breakdown(line("torch"), artefact, inferences=2).shares}
    convolutions = sum(node.op_type == "Conv" for node in onnx.load(artefact).graph.node)
    assert counts["aten::conv2d"] >= convolutions > 0


def test_counts_of_the_file_are_those_of_the_package_onnx(artefact):
    parts = breakdown(line("onnxruntime"), artefact, inferences=1)
    graph = onnx.load(artefact).graph
    types = [node.op_type for node in graph.node]
    assert parts.operators == {kind: types.count(kind) for kind in types}
    assert parts.weights_bytes == sum(onnx.numpy_helper.to_array(weight).nbytes for weight in graph.initializer)


# conv_artefact: image -Cast-> real -Transpose-> planes -Conv-> hidden -Relu-> positive -Conv-> logits -ArgMax-> class
# -Cast-> labels. Logits are an output and read by one node; labels are read by none.
PIXELS = 8 * 16
MOVED_BYTES = 2 * PIXELS * (4 * (3 + 3 + 6 + 6 + 4) + 8)


@pytest.mark.parametrize(("batch", "of_file"), [(1, 1), (1, "batch"), (3, "batch")])
def test_maps_count_once_written_and_once_for_each_reader(conv_artefact, batch, of_file):
    parts = breakdown(line("onnxruntime", batch=batch), conv_artefact(of_file), inferences=1)
    assert parts.activations_bytes == batch * MOVED_BYTES
    assert parts.weights_bytes == 4 * (6 * 3 * 3 * 3 + 6 + 4 * 6)
    assert parts.operators == {"Cast": 2, "Conv": 2, "Transpose": 1, "Relu": 1, "ArgMax": 1}


def test_a_map_with_two_readers_and_a_constant(write_artefact, tmp_path):
    four = {"name": "x", "dtype": "float32", "shape": (1, 4), "layout": "NC", "meaning": "for tests"}
    constant = helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0])
    nodes = [
        helper.make_node("Constant", [], ["two"], value=constant),
        helper.make_node("Mul", ["x", "two"], ["doubled"]),
        helper.make_node("Mul", ["doubled", "doubled"], ["squared"]),
        helper.make_node("Add", ["doubled", "squared"], ["y"]),
    ]
    path = write_artefact(tmp_path / "two.onnx", nodes, [four], [{**four, "name": "y"}])
    parts = breakdown(line("onnxruntime"), path, inferences=1)
    assert parts.activations_bytes == 16 * (1 + 2) + 16 * (1 + 1)  # "doubled" by two nodes, "squared" by one
    assert parts.weights_bytes == 4


def test_a_map_of_unknown_size_makes_the_bytes_unknown(write_artefact, tmp_path):
    x = {"name": "x", "dtype": "float32", "shape": (1, 4), "layout": "NC", "meaning": "for tests"}
    y = {**x, "name": "y", "dtype": "int64", "shape": (2, "found")}
    nodes = [helper.make_node("Relu", ["x"], ["positive"]), helper.make_node("NonZero", ["positive"], ["found"])]
    nodes.append(helper.make_node("Identity", ["found"], ["y"]))
    parts = breakdown(line("onnxruntime"), write_artefact(tmp_path / "f.onnx", nodes, [x], [y]), inferences=1)
    assert parts.activations_bytes is None
    assert "unknown of maps" in " ".join(breakdown_lines(parts))


@pytest.mark.parametrize("content", [b"", b"not an ONNX file", b"\x08\x08"])
def test_a_dead_file_is_the_users_error(content, tmp_path):
    dead = tmp_path / "dead.onnx"
    dead.write_bytes(content)
    with pytest.raises(InputError, match=r"dead\.onnx"):
        breakdown(line("onnxruntime"), dead, trust=True)
    with pytest.raises(CheckError, match="manifest"):
        breakdown(line("onnxruntime"), dead)


def test_inferences_are_at_least_one(artefact):
    with pytest.raises(InputError, match="inferences 0"):
        breakdown(line("onnxruntime"), artefact, inferences=0)


def test_without_the_package_onnx_there_is_the_profile_alone(artefact, monkeypatch):
    real_import = builtins.__import__

    def without_onnx(name, *arguments, **named):
        if name == "onnx":
            raise ModuleNotFoundError("No module named 'onnx'")
        return real_import(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without_onnx)
    parts = breakdown(line("onnxruntime"), artefact, inferences=1)
    assert (parts.operators, parts.weights_bytes, parts.activations_bytes) == ({}, None, None)
    assert parts.kernels > 0
    assert "no counts" in parts.unavailable
    assert "pip install onnx" in parts.unavailable


def test_a_runtime_that_is_not_here_leaves_the_counts(artefact, monkeypatch):
    def missing(name, package):
        raise ModuleNotFoundError("No module named 'openvino'")

    monkeypatch.setattr(importlib, "import_module", missing)
    parts = breakdown(line("openvino"), artefact, inferences=1)
    assert parts.operators["Conv"] > 0
    assert (parts.kernels, parts.shares, parts.profiled_ms, parts.source) == (None, (), None, None)
    assert "openvino is not here" in parts.unavailable
    assert breakdown_rows(parts) == []


def test_a_runtime_without_a_profile_says_so(artefact):
    assert "no profiler" in breakdown(line("abacus"), artefact).unavailable
    on_gpu = breakdown(line("onnxruntime", device="cuda"), artefact)
    assert "not the GPU" in on_gpu.unavailable
    assert on_gpu.operators["Conv"] > 0


def test_openvino_that_counts_nothing_gives_nothing(artefact, monkeypatch):
    from espnet_edge.runtime.openvino_runner import OpenVinoRunner

    monkeypatch.setattr(OpenVinoRunner, "executed_nodes", lambda self: [])
    parts = breakdown(line("openvino"), artefact, inferences=1)
    assert "counters are empty" in parts.unavailable
    assert parts.shares == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "not as expected"),
        ("{}", "not as expected"),
        ('[{"cat": "Node", "name": "n_kernel_time", "ts": -1, "dur": 3}]', "not as expected"),
        ("[]", "0 of 2 inferences"),
        ('[{"cat": "Session", "name": "model_run", "ts": 1, "dur": 3}]', "1 of 2 inferences"),
    ],
)
def test_a_profile_in_another_form_is_no_profile(text, said, artefact, monkeypatch):
    from espnet_edge.runtime.ort_runner import OrtRunner

    real = OrtRunner.end_profiling

    def replaced(self):
        path = real(self)
        path.write_text(text)
        return path

    monkeypatch.setattr(OrtRunner, "end_profiling", replaced)
    parts = breakdown(line("onnxruntime"), artefact, inferences=2)
    assert said in parts.unavailable
    assert parts.shares == ()
    assert parts.operators["Conv"] > 0


def test_a_profile_that_is_too_long_is_not_read(artefact, monkeypatch):
    from espnet_edge.runtime import ort_profile

    monkeypatch.setattr(ort_profile, "_MAX_BYTES", 1000)
    assert "1000 are read" in breakdown(line("onnxruntime"), artefact, inferences=1).unavailable


def test_rows_are_the_longest_operators_and_the_others_together(artefact):
    parts = breakdown(line("torch"), artefact, inferences=1)
    rows = breakdown_rows(parts, most=3)
    assert [row["operator"] for row in rows[:3]] == [share.operator for share in parts.shares[:3]]
    assert rows[3]["operator"] == f"{len(parts.shares) - 3} other kinds"
    assert sum(int(row["count"]) for row in rows) == sum(share.count for share in parts.shares)
    assert sum(float(row["share"].removesuffix(" %")) for row in rows) == pytest.approx(100, abs=0.3)


def test_lines_say_counts_bytes_and_where_the_profile_is_from(artefact):
    parts = breakdown(line("openvino"), artefact, inferences=1)
    text = " ".join(breakdown_lines(parts))
    assert f"{sum(parts.operators.values())} nodes in the file" in text
    assert f"{parts.kernels} operators are executed" in text
    assert parts.source in text


@pytest.mark.gpu
def test_torch_tells_the_kernels_on_the_gpu(artefact):
    parts = breakdown(line("torch", device="cuda"), artefact, inferences=3)
    assert parts.unavailable is None
    assert parts.kernels == sum(share.count for share in parts.shares) > 0
    assert sum(share.share for share in parts.shares) == pytest.approx(1)
    assert not any(share.operator.startswith(("Memcpy HtoD", "aten::")) for share in parts.shares)


def test_kernels_are_called_without_their_arguments():
    from espnet_edge.runtime.torch_profile import kernel_name

    assert kernel_name("void at::native::(anonymous namespace)::copy<float, 4>(int, float*)") == "at::native::copy"
    assert kernel_name("void cudnn::winograd::generate<true, float>(int)") == "cudnn::winograd::generate"
    assert kernel_name("Memset (Device)") == "Memset"
    assert kernel_name("sm80_xmma_fprop") == "sm80_xmma_fprop"


def test_a_moved_engine_has_no_counts(artefact, tmp_path):
    """An engine's counts are of the ONNX file beside it, if that is the one from which it was built."""
    from espnet_edge.runtime.manifest import file_info, load_manifest

    engine = tmp_path / "cls.trt"
    engine.write_bytes(b"an engine")
    load_manifest(artefact).model_copy(update={"file": file_info(engine)}).write(engine)
    on_gpu = line("tensorrt", device="cuda")
    alone = breakdown(on_gpu, engine)
    assert "is not beside it" in alone.unavailable
    shutil.copy(artefact, tmp_path / "cls.onnx")
    beside = breakdown(on_gpu, engine)
    assert beside.operators["Conv"] > 0
    assert "no profile" in beside.unavailable
    other = onnx.load(artefact)
    other.graph.doc_string = "another"
    onnx.save(other, tmp_path / "cls.onnx")
    assert "was not built from" in breakdown(on_gpu, engine).unavailable
