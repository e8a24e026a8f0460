"""Inferences on arrays that are on the GPU: where they are read, what is refused, and in which order things happen."""

import ctypes

import numpy as np
import pytest
import torch

from espnet_edge.errors import InputError
from espnet_edge.runtime.device_arrays import DeviceArray, stream_handle
from espnet_edge.runtime.manifest import load_manifest
from espnet_edge.runtime.ort_runner import OrtRunner
from espnet_edge.runtime.trt_runner import TrtRunner, load_engine
from fake_cuda import Op
from fake_tensorrt import at, fake_tensorrt

CODES = {"i": 0, "u": 1, "f": 2, "b": 6}


class OnDevice:
    """An array in the fake GPU's memory, with `__cuda_array_interface__` as Numba gives it."""

    def __init__(self, cuda, array, stream=None, **changes):
        self.cuda, self.shape, self.dtype = cuda, array.shape, array.dtype
        self.pointer = cuda.allocate(max(array.nbytes, 1) + 256)
        self.array = at(self.pointer, array.dtype, array.shape)
        self.array[...] = array
        self.__cuda_array_interface__ = {
            "version": 3,
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (self.pointer, False),
            "strides": None,
            "stream": stream,
            **changes,
        }

    def free(self):
        self.cuda.free(self.pointer)


class Producer:
    """An object with DLPack's protocol, which notes for which stream it was asked."""

    def __init__(self, capsule, device=(2, 0)):
        self.capsule, self.device, self.asked = capsule, device, []

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, *, stream):
        self.asked.append(stream)
        return self.capsule


class Device(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int32), ("id", ctypes.c_int32))


class Managed(ctypes.Structure):
    """DLManagedTensor as dlpack.h of version 0.8 lays it out."""

    _fields_ = (
        ("data", ctypes.c_uint64),
        ("device", Device),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


class Versioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", Managed),  # its last two fields are not part of it, and nobody reads them
    )


KEPT = []  # the structures behind capsules


def capsule(pointer, shape, dtype, device=(2, 0), strides=None, lanes=1, offset=0, version=None, flags=0, name=None):
    def numbers(values):
        return None if values is None else (ctypes.c_int64 * len(values))(*values)

    dtype = np.dtype(dtype)
    tensor = Managed(
        pointer,
        Device(*device),
        len(shape),
        CODES[dtype.kind],
        8 * dtype.itemsize,
        lanes,
        numbers(shape),
        numbers(strides),
        offset,
    )
    whole = tensor if version is None else Versioned(*version, None, None, flags, tensor)
    name = name or (b"dltensor" if version is None else b"dltensor_versioned")
    KEPT.append((tensor, whole, name))
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return new(ctypes.addressof(whole), name, None)


@pytest.fixture
def on_device(cuda):
    """on_device(array, **changes) -> the array on the fake GPU; freed at the end, before the GPU is checked."""
    arrays = []

    def make(array, stream=None, **changes):
        arrays.append(OnDevice(cuda, array, stream, **changes))
        return arrays[-1]

    yield make
    for array in arrays:
        array.free()


@pytest.fixture
def trt(cuda, conv_artefact):
    with opened(cuda, conv_artefact("batch")) as runner:
        yield runner


@pytest.fixture
def expected(conv_artefact):
    def run(image):
        path = conv_artefact("batch", name="reference.onnx")
        with OrtRunner(path, load_manifest(path), "cpu", 1) as reference:
            return {name: array.copy() for name, array in reference.infer({"image": image}).items()}

    return run


def opened(cuda, path):
    return TrtRunner(load_engine(path, load_manifest(path), fake_tensorrt("10.3.0", cuda), "Fake GPU"), cuda)


def outputs_for(on_device, batch=1):
    return {
        "labels": on_device(np.zeros((batch, 8, 16), np.uint8)),
        "logits": on_device(np.zeros((batch, 4, 8, 16), np.float32)),
    }


def test_arrays_of_others_are_used_in_place(trt, cuda, on_device, pixels, expected):
    image, outputs = on_device(pixels(2)), outputs_for(on_device, 2)
    cuda.log.clear()
    found = trt.infer_device({"image": image}, outputs)
    assert found == outputs
    assert cuda.log == ["destroy_graph", "compute", "synchronise_stream"]  # no copies
    for name, array in expected(pixels(2)).items():
        np.testing.assert_array_equal(outputs[name].array, array)
    # The same arrays again, with other pixels: the graph reads them where they are.
    for seed in (5, 6):
        cuda.log.clear()
        image.array[...] = pixels(2, seed)
        trt.infer_device({"image": image}, outputs)
        assert (cuda.count("launch_graph"), cuda.count("compute")) == (1, 2 if seed == 5 else 1)
        np.testing.assert_array_equal(outputs["labels"].array, expected(pixels(2, seed))["labels"])


@pytest.mark.parametrize("graphs", [True, False])
def test_stages_in_between_leave_each_its_addresses(cuda, conv_artefact, on_device, pixels, expected, graphs):
    path = conv_artefact("batch")
    engine = load_engine(path, load_manifest(path), fake_tensorrt("10.3.0", cuda), "Fake GPU")
    image, outputs = on_device(pixels(seed=1)), outputs_for(on_device)
    with TrtRunner(engine, cuda, graphs=graphs) as runner:
        own = runner.infer({"image": pixels()})["labels"]
        for seed in range(2, 6):
            runner.infer_device({"image": image}, outputs)
            np.testing.assert_array_equal(outputs["labels"].array, expected(pixels(seed=1))["labels"])
            outputs["labels"].array[...] = 99
            runner.staged({"image": pixels(seed=seed)})
            np.testing.assert_array_equal(own, expected(pixels(seed=seed))["labels"])
            assert (outputs["labels"].array == 99).all()


def test_a_graph_of_other_addresses_is_not_used(trt, on_device, pixels, expected):
    images = [on_device(pixels(seed=seed)) for seed in range(3)]
    outputs = outputs_for(on_device)
    for _ in range(3):
        trt.infer_device({"image": images[0]}, outputs)
    for image, seed in ((images[1], 1), (images[2], 2), (images[0], 0)):
        trt.infer_device({"image": image}, outputs)
        np.testing.assert_array_equal(outputs["logits"].array, expected(pixels(seed=seed))["logits"])
    np.testing.assert_array_equal(trt.infer({"image": pixels(seed=7)})["logits"], expected(pixels(seed=7))["logits"])


def test_outputs_that_nobody_gave_are_the_runners(trt, on_device, pixels, expected):
    labels = on_device(np.zeros((1, 8, 16), np.uint8))
    found = trt.infer_device({"image": on_device(pixels())}, {"labels": labels})
    assert list(found) == ["labels", "logits"]
    assert found["labels"] is labels
    logits = found["logits"]
    assert isinstance(logits, DeviceArray)
    interface = logits.__cuda_array_interface__
    assert {**interface, "data": None} == {
        "version": 3,
        "shape": (1, 4, 8, 16),
        "typestr": "<f4",
        "data": None,
        "strides": None,
        "stream": None,
    }
    np.testing.assert_array_equal(at(interface["data"][0], logits.dtype, logits.shape), expected(pixels())["logits"])


def test_an_output_of_one_network_is_the_input_of_another(trt, cuda, write_artefact, tmp_path, on_device, pixels):
    from onnx import helper

    def info(name):
        return {"name": name, "dtype": "float32", "shape": (1, 4, 8, 16), "layout": "NCHW", "meaning": ""}

    negated = write_artefact(tmp_path / "neg.onnx", [helper.make_node("Neg", ["x"], ["y"])], [info("x")], [info("y")])
    with opened(cuda, negated) as other:
        stream = cuda.create_stream()
        first = trt.infer_device({"image": on_device(pixels())}, stream=stream)
        # The result is not there yet; its interface says which stream to wait for.
        assert first["logits"].__cuda_array_interface__["stream"] == trt._stream
        second = other.infer_device({"x": first["logits"]})["y"]
        found = at(second.__cuda_array_interface__["data"][0], np.dtype(np.float32), (1, 4, 8, 16))
        np.testing.assert_array_equal(-found, trt.infer({"image": pixels()})["logits"])
        cuda.synchronise_stream(stream)
        cuda.destroy_stream(stream)


# -- the order of streams


def late_write(cuda, array, values, stream):
    """Work of another library that is queued and not done."""

    def do():
        array.array[...] = values

    cuda.queue(stream, Op("late write", do, (), ((array.pointer, array.array.nbytes),)))


def test_the_stream_of_the_array_interface_is_waited_for(trt, cuda, on_device, pixels, expected):
    stream = cuda.foreign_stream()
    image = on_device(np.zeros_like(pixels()), stream=stream)
    outputs = outputs_for(on_device)
    late_write(cuda, image, pixels(), stream)
    trt.infer_device({"image": image}, outputs)
    np.testing.assert_array_equal(outputs["labels"].array, expected(pixels())["labels"])


@pytest.mark.parametrize("runs", [1, 2, 3])
def test_a_given_stream_comes_before_and_after_and_nobody_waits(trt, cuda, on_device, pixels, expected, runs):
    stream = cuda.foreign_stream()
    image, outputs = on_device(np.zeros_like(pixels())), outputs_for(on_device)
    copy = on_device(np.zeros((1, 8, 16), np.uint8))
    for run in range(runs):  # without a graph, in the capture, from the graph
        late_write(cuda, image, pixels(seed=run), stream)
        cuda.done.clear()
        trt.infer_device({"image": image}, outputs, stream=stream)
        assert cuda.done == []
        late_read = Op("late read", lambda: copy.array.__setitem__(..., outputs["labels"].array))
        cuda.queue(stream, late_read)
        cuda.synchronise_stream(stream)
        assert cuda.done[-1] == "late read"
        np.testing.assert_array_equal(copy.array, expected(pixels(seed=run))["labels"])


def test_another_shape_waits_for_the_inference_under_way(trt, cuda, on_device, pixels, expected):
    stream, first = cuda.foreign_stream(), outputs_for(on_device, 2)
    cuda.done.clear()
    trt.infer_device({"image": on_device(pixels(2))}, first, stream=stream)
    assert cuda.done == []
    second = trt.infer({"image": pixels(3)})["labels"]
    np.testing.assert_array_equal(second, expected(pixels(3))["labels"])
    np.testing.assert_array_equal(first["labels"].array, expected(pixels(2))["labels"])


def test_dlpack_is_asked_for_the_runners_stream(trt, on_device, pixels, expected):
    image = on_device(pixels())
    producer = Producer(capsule(image.pointer, image.shape, image.dtype))
    labels = on_device(np.zeros((1, 8, 16), np.uint8))
    sink = Producer(capsule(labels.pointer, labels.shape, labels.dtype))
    trt.infer_device({"image": producer}, {"labels": sink})
    assert producer.asked == sink.asked == [trt._stream]
    np.testing.assert_array_equal(labels.array, expected(pixels())["labels"])


@pytest.mark.parametrize("version", [None, (1, 0), (1, 1)])
def test_capsules(trt, on_device, pixels, expected, version):
    image, outputs = on_device(pixels()), outputs_for(on_device)
    strides = (8 * 16 * 3, 16 * 3, 3, 1)
    for changes in ({}, {"strides": strides}, {"strides": (7, *strides[1:])}):  # the stride of a size 1 says nothing
        given = capsule(image.pointer, image.shape, image.dtype, version=version, **changes)
        trt.infer_device({"image": given}, outputs)
        np.testing.assert_array_equal(outputs["labels"].array, expected(pixels())["labels"])


def test_a_capsule_with_an_offset(trt, on_device, pixels, expected):
    both = on_device(np.concatenate([pixels(2, seed=0), pixels(seed=9)]))
    outputs = outputs_for(on_device)
    given = capsule(both.pointer, (1, 8, 16, 3), np.uint8, offset=2 * 8 * 16 * 3)  # 768, a multiple of 256
    trt.infer_device({"image": given}, outputs)
    np.testing.assert_array_equal(outputs["labels"].array, expected(pixels(seed=9))["labels"])


# -- what is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"typestr": "<f4"}, r"image: float32 \(1,8,16,3\) given, conv\.onnx has uint8 \(batch,8,16,3\)"),
        ({"shape": (8, 16, 3)}, r"uint8 \(8,16,3\) given"),
        ({"shape": (1, 8, 15, 3)}, r"image: shape \(1,8,15,3\) given, conv\.onnx was built for \(1,8,16,3\) to \(4,"),
        ({"shape": (5, 8, 16, 3)}, r"\(5,8,16,3\) given"),
        ({"shape": (0, 8, 16, 3)}, r"\(0,8,16,3\) given"),
        ({"strides": (384, 1, 8, 128)}, r"strides \(384,1,8,128\) in elements for shape.*make it contiguous"),
        ({"strides": (384, 48, 6, 2)}, r"strides \(384,48,6,2\)"),
        ({"mask": object()}, "has a mask"),
        ({"stream": 0}, "its stream is 0, which the protocol forbids"),
    ],
)
def test_arrays_that_do_not_fit(trt, cuda, on_device, pixels, changes, message):
    image = on_device(pixels(), **changes)
    cuda.log.clear()
    with pytest.raises(InputError, match=message):
        trt.infer_device({"image": image})
    assert cuda.count("compute") == 0


def test_the_other_byte_order(cuda, on_device, write_artefact, tmp_path):
    from onnx import helper

    def info(name):
        return {"name": name, "dtype": "float32", "shape": (1, 2), "layout": "NC", "meaning": ""}

    path = write_artefact(tmp_path / "neg.onnx", [helper.make_node("Neg", ["x"], ["y"])], [info("x")], [info("y")])
    with opened(cuda, path) as runner, pytest.raises(InputError, match=">f4 has the other byte order"):
        runner.infer_device({"x": on_device(np.zeros((1, 2), ">f4"))})


def test_a_misaligned_array(trt, on_device, pixels):
    image = on_device(pixels())
    image.__cuda_array_interface__["data"] = (image.pointer + 48, False)
    with pytest.raises(InputError, match="a multiple of 256 is needed; copy it"):
        trt.infer_device({"image": image})
    image.__cuda_array_interface__["data"] = (0, False)
    with pytest.raises(InputError, match="starts at address 0x0"):
        trt.infer_device({"image": image})


@pytest.mark.parametrize("protocol", ["interface", "capsule"])
def test_read_only_arrays_are_inputs_and_no_outputs(trt, on_device, pixels, protocol):
    def read_only(array):
        if protocol == "capsule":
            return capsule(array.pointer, array.shape, array.dtype, version=(1, 0), flags=1)
        array.__cuda_array_interface__["data"] = (array.pointer, True)
        return array

    image, labels = on_device(pixels()), on_device(np.zeros((1, 8, 16), np.uint8))
    trt.infer_device({"image": read_only(image)})
    with pytest.raises(InputError, match="labels: is read-only"):
        trt.infer_device({"image": image}, {"labels": read_only(labels)})


def test_arrays_on_the_cpu(trt, pixels):
    for array in (torch.from_numpy(pixels()), pixels()):
        with pytest.raises(InputError, match="image: is on kDLCPU, kDLCUDA is needed; copy it to the GPU"):
            trt.infer_device({"image": array})
        with pytest.raises(InputError, match="is on kDLCPU"):
            trt.infer_device({"image": array.__dlpack__()})
    for array in ([1], b"x", None):
        with pytest.raises(InputError, match=r"given, an array on the GPU is needed"):
            trt.infer_device({"image": array})


def test_other_devices_and_capsules(trt, on_device, pixels):
    image = on_device(pixels())
    given = (image.pointer, image.shape, image.dtype)
    for device, message in (((2, 1), "is on GPU 1, the engine runs on GPU 0"), ((10, 0), "DLPack device type 10")):
        with pytest.raises(InputError, match=message):
            trt.infer_device({"image": capsule(*given, device=device)})
        with pytest.raises(InputError, match=message):
            trt.infer_device({"image": Producer(capsule(*given), device)})
    for changes, message in (
        ({"name": b"used_dltensor"}, "a capsule named 'used_dltensor'"),
        ({"version": (2, 0)}, r"of version 2\.0, 1 is understood"),
        ({"lanes": 4}, "vectors of 4"),
        ({"strides": (384, 1, 8, 128)}, "make it contiguous"),
    ):
        with pytest.raises(InputError, match=message):
            trt.infer_device({"image": capsule(*given, **changes)})
    with pytest.raises(InputError, match="image: bool8 "):
        trt.infer_device({"image": capsule(image.pointer, image.shape, np.bool_)})


def test_a_producer_that_refuses(trt):
    class Refusing(Producer):
        def __dlpack__(self, *, stream):
            raise BufferError("a gradient is needed")

    with pytest.raises(InputError, match=r"Refusing gives no DLPack capsule \(a gradient is needed\)"):
        trt.infer_device({"image": Refusing(None)})


def test_wrong_names_outputs_and_streams(trt, on_device, pixels):
    image = on_device(pixels())
    with pytest.raises(InputError, match=r"picture: no such tensor, conv\.onnx has image"):
        trt.infer_device({"picture": image})
    with pytest.raises(InputError, match="image: not given"):
        trt.infer_device({})
    with pytest.raises(InputError, match="mask: no such tensor"):
        trt.infer_device({"image": image}, {"mask": image})
    with pytest.raises(InputError, match=r"labels: shape \(2,8,16\) given, conv\.onnx writes \(1,8,16\)"):
        trt.infer_device({"image": image}, {"labels": on_device(np.zeros((2, 8, 16), np.uint8))})
    with pytest.raises(InputError, match="stream: str given, its handle is needed"):
        trt.infer_device({"image": image}, stream="main")


def test_stream_handles():
    class Stream:
        def __cuda_stream__(self):
            return (0, 4711)

    assert stream_handle(4711) == stream_handle(Stream()) == 4711
    assert stream_handle(0) == 0
    for wrong in (-1, True, 1.5):
        with pytest.raises(InputError):
            stream_handle(wrong)
