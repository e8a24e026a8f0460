"""Inputs that a network is fed with where only its speed counts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .manifest import TensorInfo

Feeds = Mapping[str, NDArray[Any]]


def random_feeds(inputs: Sequence[TensorInfo], *, batch: int | None, seed: int, source: str) -> dict[str, NDArray[Any]]:
    """Seeded random inputs of the right dtype and shape: pixels over the whole range, float numbers from N(0, 1).

    Integer inputs are 0 or 1, which are valid indices into any table.

    Args:
        inputs: what the network takes.
        batch: size of a free batch, 1 if None.
        seed: the same gives the same arrays.
        source: name of the file, for messages.

    Raises:
        InputError: `batch` differs from a fixed batch, another dimension is free, or there is not enough memory.
    """
    generator = np.random.default_rng(seed)
    shapes = {tensor.name: _fed_shape(tensor, batch, source) for tensor in inputs}
    try:
        return {tensor.name: _random_array(tensor.dtype, shapes[tensor.name], generator) for tensor in inputs}
    except MemoryError as error:
        raise InputError(f"{source}: no memory for inputs of shape {list(shapes.values())}; lower --batch") from error


def described(feeds: Feeds) -> tuple[str, ...]:
    """Name, type and shape of each input: "image uint8 (1,512,1024,3)"."""
    return tuple(f"{name} {array.dtype} ({','.join(map(str, array.shape))})" for name, array in feeds.items())


def _fed_shape(tensor: TensorInfo, batch: int | None, source: str) -> tuple[int, ...]:
    shape, axis = list(tensor.shape), tensor.batch_axis
    if shape and isinstance(shape[axis], str):
        shape[axis] = 1 if batch is None else batch
    elif shape and batch not in (None, shape[axis]):
        raise InputError(
            f"--batch {batch}: {source} has the fixed batch {shape[axis]}; leave the option out, "
            f"or export with --batch 1,{batch},{batch}"
        )
    if free := [size for size in shape if isinstance(size, str)]:
        raise InputError(
            f"{source}: {tensor.name} has the free size {free[0]!r}; export it with fixed height and width"
        )
    return tuple(size for size in shape if isinstance(size, int))


def _random_array(dtype: str, shape: tuple[int, ...], generator: np.random.Generator) -> NDArray[Any]:
    if dtype == "uint8":
        return generator.integers(0, 256, shape, dtype=np.uint8)
    if dtype.startswith("float"):
        return generator.standard_normal(shape, dtype=np.float32).astype(dtype, copy=False)
    return generator.integers(0, 2, shape).astype(dtype, copy=False)
