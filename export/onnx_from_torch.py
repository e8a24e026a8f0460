"""A PyTorch module as an ONNX file that TensorRT 8.5 to 11, ONNX Runtime and OpenVINO read: opset 17, IR 8, one file.

PyTorch's exporter writes opset 18; the graph is lowered to 17 here, because TensorRT 8.5 and 8.6 end there.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import onnx
import torch
from onnx import version_converter
from torch import Tensor, nn

from ..runtime.manifest import TensorInfo
from ..version import __version__
from .batch import BATCH_NAME, Batch
from .operator_support import check_portable

OPSET, IR_VERSION = 17, 8


def onnx_from_torch(
    module: nn.Module,
    inputs: Sequence[TensorInfo],
    *,
    output_names: Sequence[str],
    batch: Batch,
    metadata: Mapping[str, str],
) -> onnx.ModelProto:
    """`module` as ONNX, checked and shape-inferred.

    Args:
        module: takes tensors and gives a tuple of tensors.
        inputs: what it takes; a size that is a name is free within `batch`.
        output_names: of the outputs, in order.
        batch: sizes that the file accepts.
        metadata: key and value pairs stored in the file.

    Raises:
        RuntimeError: the graph holds a node that not every supported TensorRT accepts, or fails ONNX's own checks.
    """
    model = _traced(module, inputs, output_names, batch)
    _use_global_pooling(model.graph)
    model = version_converter.convert_version(model, OPSET)
    model.ir_version = IR_VERSION
    _drop_defaults_and_traces(model.graph)
    _order_initializers(model.graph)
    model.producer_name, model.producer_version = "espnet-edge", __version__
    onnx.helper.set_model_props(model, dict(metadata))
    check_portable(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def _traced(
    module: nn.Module, inputs: Sequence[TensorInfo], output_names: Sequence[str], batch: Batch
) -> onnx.ModelProto:
    free = torch.export.Dim(BATCH_NAME, min=1, max=max(batch.maximum, 2))
    dynamic_shapes = tuple({i: free for i, size in enumerate(info.shape) if isinstance(size, str)} for info in inputs)
    with _quiet_exporter():
        program = torch.onnx.export(
            module,
            tuple(map(_example, inputs)),
            dynamo=True,
            opset_version=18,
            input_names=[info.name for info in inputs],
            output_names=list(output_names),
            dynamic_shapes=dynamic_shapes if batch.is_dynamic else None,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def _example(info: TensorInfo) -> Tensor:
    # A traced batch of one would be taken for a constant.
    shape = [2 if isinstance(size, str) else size for size in info.shape]
    return torch.zeros(shape, dtype=getattr(torch, info.dtype))


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence what the exporter says of its own insides: deprecations in PyTorch, optional packages."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _use_global_pooling(graph: onnx.GraphProto) -> None:
    """Means over height and width as GlobalAveragePool, which has one form in all opsets.

    Raises:
        RuntimeError: there is a mean over other axes.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        graph.node.extend([node] if node.op_type != "ReduceMean" else _global_pooling(node, constants))
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _global_pooling(mean: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> list[onnx.NodeProto]:
    axes = sorted(int(axis) % 4 for axis in onnx.numpy_helper.to_array(constants[mean.input[1]]))
    if axes != [2, 3]:
        raise RuntimeError(
            f"{mean.name}: a mean over axes {axes}; only means over height and width, axes 2 and 3 of 4, are lowered"
        )
    keeps = all(attribute.i == 1 for attribute in mean.attribute if attribute.name == "keepdims")
    pooled = mean.output[0] if keeps else f"{mean.output[0]}_pooled"
    pool = onnx.helper.make_node("GlobalAveragePool", [mean.input[0]], [pooled], name=mean.name)
    if keeps:
        return [pool]
    return [pool, onnx.helper.make_node("Flatten", [pooled], [mean.output[0]], name=f"{mean.name}_flat", axis=1)]


def _drop_defaults_and_traces(graph: onnx.GraphProto) -> None:
    """Take out what says nothing about the function: source positions of the exporting machine, resize leftovers."""
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
        if node.op_type == "Resize":
            meaningful = [a for a in node.attribute if a.name in {"mode", "coordinate_transformation_mode"}]
            del node.attribute[:]
            node.attribute.extend(meaningful)
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
    del graph.metadata_props[:]
    graph.doc_string = ""
    graph.name = "espnet_edge"


def _order_initializers(graph: onnx.GraphProto) -> None:
    """Sort the weights by name, so that equal networks give equal bytes."""
    ordered = sorted(graph.initializer, key=lambda tensor: tensor.name)
    del graph.initializer[:]
    graph.initializer.extend(ordered)
