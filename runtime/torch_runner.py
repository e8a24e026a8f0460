"""The network itself in PyTorch, eagerly: the reference that the other runtimes are measured against."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..errors import CheckError, InputError
from .boxes import prior_boxes_in_pixels
from .manifest import Manifest, Preprocessing
from .runner import Array, BaseRunner, RunnerInfo, Tensors


class TorchRunner(BaseRunner):
    """A PyTorch module on the CPU, in inference mode and without compilation.

    The number of threads is a setting of the whole process in PyTorch: `infer` sets it where it differs and leaves it
    so, which other users of PyTorch in the process then see.

    Args:
        module: takes the inputs in order as tensors and gives a tuple of tensors, the outputs in order.
        inputs: what the module takes.
        outputs: what it gives.
        threads: that one operator is spread over.
        source: name for messages.
    """

    def __init__(
        self, module: nn.Module, inputs: Tensors, outputs: Tensors, threads: int, source: str = "the network"
    ) -> None:
        super().__init__(inputs, outputs, RunnerInfo("torch", str(torch.__version__), "cpu", threads), source)
        self._module: nn.Module | None = module.eval()

    def _infer(self, feeds: dict[str, Array]) -> dict[str, Array]:
        assert self._module is not None
        if torch.get_num_threads() != self.info.threads:
            torch.set_num_threads(self.info.threads)
        # PyTorch has no read-only tensors, so an array that must not be written is copied.
        tensors = [torch.from_numpy(np.require(array, requirements="W")) for array in feeds.values()]
        with torch.inference_mode():
            results = self._module(*tensors)
        return {tensor.name: result.numpy() for tensor, result in zip(self.outputs, results, strict=True)}

    def _close(self) -> None:
        self._module = None


def torch_runner_from_manifest(artefact: Path, manifest: Manifest | None, threads: int) -> TorchRunner:
    """The reference network that the manifest of `artefact` names, with its weights, inputs and outputs.

    Raises:
        InputError: there is no manifest, or the network or the file of weights that it names is not there.
        UnavailableError: the published weights are neither in the cache nor within reach.
        CheckError: the weights are not those that the manifest names, or the manifest normalises otherwise than they
            were trained with.
    """
    if manifest is None:
        raise InputError(
            f"{artefact}: torch rebuilds the network from the manifest, and there is none; "
            "use onnxruntime or openvino, or export it again"
        )
    if manifest.precision != "fp32":
        raise InputError(f"{artefact}: torch computes in fp32, the file is {manifest.precision}; use onnxruntime")
    return TorchRunner(_network(artefact, manifest), manifest.inputs, manifest.outputs, threads, artefact.name)


def _network(artefact: Path, manifest: Manifest) -> nn.Module:
    from ..model.deploy import network_from_manifest_fields

    if manifest.preprocessing is not None:
        _check_normalisation(artefact, manifest, manifest.preprocessing)
    return network_from_manifest_fields(
        network=manifest.network,
        width_mult=manifest.width_mult,
        dataset=manifest.dataset,
        num_classes=manifest.num_classes,
        io=manifest.io,
        weights_source=manifest.weights.source,
        weights_sha256=manifest.weights.sha256,
        weights_random=manifest.weights.random,
        priors=(
            prior_boxes_in_pixels((manifest.image.height, manifest.image.width))
            if manifest.task == "detection"
            else None
        ),
    )


def _check_normalisation(artefact: Path, manifest: Manifest, preprocessing: Preprocessing) -> None:
    from ..model.registry import get_spec

    spec = get_spec(manifest.network)
    # A file for DeepStream takes pixels as they are and normalises them by itself.
    expected = ((0, 0, 0), (1, 1, 1)) if manifest.io == "deepstream" else (spec.mean, spec.std)
    if expected != (preprocessing.mean, preprocessing.std):
        raise CheckError(
            f"{artefact}: its manifest normalises with mean {preprocessing.mean} and std {preprocessing.std}, "
            f"{manifest.network} with {expected[0]} and {expected[1]}; export it again, or leave torch out"
        )
