"""Inputs that a network is fed with where only its speed counts."""

import numpy as np
import pytest

from espnet_edge.errors import InputError
from espnet_edge.runtime.feeds import described, random_feeds
from espnet_edge.runtime.manifest import TensorInfo


def info(dtype, shape):
    return TensorInfo(name="x", dtype=dtype, shape=shape, layout="any", meaning="")


def test_random_feeds_have_dtype_shape_and_seed():
    for dtype in ("float32", "float16", "uint8", "int32", "int64"):
        array = random_feeds([info(dtype, (2, 300))], batch=None, seed=1, source="f")["x"]
        assert (array.dtype, array.shape) == (dtype, (2, 300))
        np.testing.assert_array_equal(array, random_feeds([info(dtype, (2, 300))], batch=2, seed=1, source="f")["x"])
        assert (array != random_feeds([info(dtype, (2, 300))], batch=None, seed=2, source="f")["x"]).any()
        if dtype.startswith("int"):
            assert set(array.ravel()) == {0, 1}
        if dtype == "uint8":
            assert array.min() < 5
            assert array.max() > 250


def test_batch_of_random_feeds():
    assert random_feeds([info("uint8", ("batch", 4))], batch=None, seed=0, source="f")["x"].shape == (1, 4)
    assert random_feeds([info("uint8", ("batch", 4))], batch=3, seed=0, source="f")["x"].shape == (3, 4)
    with pytest.raises(InputError, match=r"--batch 3: f\.onnx has the fixed batch 1.*--batch 1,3,3"):
        random_feeds([info("uint8", (1, 4))], batch=3, seed=0, source="f.onnx")
    with pytest.raises(InputError, match="x has the free size 'width'"):
        random_feeds([info("uint8", (1, "width"))], batch=None, seed=0, source="f.onnx")
    with pytest.raises(InputError, match="no memory for inputs of shape"):
        random_feeds([info("uint8", ("batch", 1 << 20, 1 << 20))], batch=1 << 20, seed=0, source="f.onnx")


def test_feeds_are_described_by_name_type_and_shape():
    feeds = {"image": np.zeros((1, 2), np.uint8), "token": np.zeros(3, np.int64)}
    assert described(feeds) == ("image uint8 (1,2)", "token int64 (3)")
