"""What a deployed file computes around the network: pixels in, labels, the best classes or boxes out.

These wrappers define the four kinds of input and output, `raw`, `deploy`, `deepstream` and `lowres`, once for every
user of them: the export, the parity proof and the PyTorch runner.
"""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .espnetv2_det import VARIANCES
from .registry import create_model, get_spec
from .seeded import load_seeded_weights
from .spec import Task
from .weights import reopen

Io = Literal["raw", "deploy", "deepstream", "lowres"]
PIXEL_IO = ("deploy", "lowres")  # those that take pixels as they are, uint8 (N, H, W, 3)
TOP = 5  # how many classes a deployed classifier answers with


class Normalise(nn.Module):
    """Pixels to the network's input. pixels: uint8 (N, H, W, 3) RGB -> float32 (N, 3, H, W), (x / 255 - mean) / std."""

    offset: Tensor
    scale: Tensor

    def __init__(self, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        super().__init__()
        # Double precision until the constants are final.
        offset = 255 * torch.tensor(mean, dtype=torch.float64)
        scale = 1 / (255 * torch.tensor(std, dtype=torch.float64))
        self.register_buffer("offset", offset.float().reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", scale.float().reshape(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalise. The cast comes first: TensorRT takes uint8 at the network's edge only."""
        return self.planes(pixels.float().permute(0, 3, 1, 2).contiguous())

    def planes(self, image: Tensor) -> Tensor:
        """The same for pixels that are float32 (N, 3, H, W) already."""
        return (image - self.offset) * self.scale


class DeployNetwork(nn.Module):
    """`network` between uint8 pixels and answers. pixels: uint8 (N, H, W, 3) RGB ->

    segmentation: labels uint8 (N, H, W), the class of the highest logit;
    classification: classes int32 (N, 5) and scores float32 (N, 5), softmax probabilities, highest first;
    multi_label: scores float32 (N, classes), the sigmoid probability of each class; the threshold is left to the host;
    detection: boxes float32 (N, P, 4), left, top, right, bottom in pixels of the input, and scores float32
    (N, P, classes), softmax probabilities. The weak and the doubled among them are left to the host: how many boxes
    stay depends on the picture, and engines are best with shapes that do not.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        task: Task,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        priors: NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.network = network
        self.task = task
        self.decode = None if priors is None else BoxDecoder(priors)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Answers for each picture."""
        return self.answers(self.normalise(pixels))

    def answers(self, image: Tensor) -> tuple[Tensor, ...]:
        """Answers for each normalised picture, float32 (N, 3, H, W)."""
        if self.task == "detection":
            assert self.decode is not None, "detection needs its prior boxes"
            confidences, locations = self.network(image)
            return self.decode(locations), torch.softmax(confidences, dim=2)
        logits = self.network(image)
        if self.task == "segmentation":
            # By way of float32: TensorRT 8.5 converts nothing else to uint8.
            return (logits.argmax(dim=1).float().to(torch.uint8),)
        if self.task == "multi_label":
            return (torch.sigmoid(logits),)
        scores, classes = torch.softmax(logits, dim=1).topk(TOP, dim=1)
        return classes.to(torch.int32), scores


class DeepStreamNetwork(DeployNetwork):
    """`network` between what DeepStream's nvinfer feeds and reads. pixels: float32 (N, 3, H, W), RGB, 0 to 255 ->

    segmentation: probabilities float32 (N, classes, H, W), of which nvinfer takes the highest above 0: with logits, it
    would give no class to a pixel whose logits are all negative;
    classification: probabilities float32 (N, classes);
    multi_label and detection: as `DeployNetwork`.

    nvinfer scales all colours by one factor and gives float32, so that neither a normalisation with a standard
    deviation for each colour nor uint8 can be fed by it: normalisation is in the graph.
    """

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Answers for each picture."""
        return self.answers(self.normalise.planes(pixels))

    def answers(self, image: Tensor) -> tuple[Tensor, ...]:
        """Probabilities of all classes where nvinfer chooses among them itself."""
        if self.task in {"segmentation", "classification"}:
            return (torch.softmax(self.network(image), dim=1),)
        return super().answers(image)


class LowResolutionNetwork(nn.Module):
    """A segmentation `network` up to its last upsampling. pixels: uint8 (N, H, W, 3) RGB -> logits float32
    (N, classes, ceil(H/2), ceil(W/2)).

    Bilinear upsampling to (H, W) and the choice of the best class are left to the host, which can do both at once and
    row by row, without ever writing the logits of all pixels.
    """

    def __init__(
        self, network: nn.Module, *, mean: tuple[float, float, float], std: tuple[float, float, float]
    ) -> None:
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Logits of each picture."""
        logits: Tensor = self.network.low_resolution_logits(self.normalise(pixels))  # type: ignore[operator]
        return (logits,)


class BoxDecoder(nn.Module):
    """Locations to boxes. locations: (N, P, 4) -> left, top, right, bottom (N, P, 4), in the unit of the priors.

    Args:
        priors: (P, 4), centre x, centre y, width, height.
    """

    centres: Tensor
    steps: Tensor
    half_sizes: Tensor

    def __init__(self, priors: NDArray[np.float32]) -> None:
        super().__init__()
        centres, sizes = torch.split(torch.from_numpy(priors.astype(np.float64)), 2, dim=1)
        self.register_buffer("centres", centres.float(), persistent=False)
        self.register_buffer("steps", (VARIANCES[0] * sizes).float(), persistent=False)
        self.register_buffer("half_sizes", (sizes / 2).float(), persistent=False)

    def forward(self, locations: Tensor) -> Tensor:
        """Decode."""
        centres = locations[:, :, :2] * self.steps + self.centres
        half_sizes = torch.exp(locations[:, :, 2:] * VARIANCES[1]) * self.half_sizes
        return torch.cat([centres - half_sizes, centres + half_sizes], dim=2)


class RawNetwork(nn.Module):
    """`network` with its outputs in a tuple, as `DeployNetwork` has them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Logits of each image; for detection confidences and locations."""
        return as_tuple(self.network(image))


def as_tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What a network gives, one tensor or several, as a tuple."""
    return (outputs,) if isinstance(outputs, Tensor) else outputs


def with_io(
    network: nn.Module,
    io: Io,
    *,
    name: str,
    dataset: str,
    priors: NDArray[np.float32] | None = None,
) -> nn.Module:
    """`network`, `name` in the registry, made for `dataset`, with the inputs and outputs that `io` stands for.

    `priors`, prior boxes in pixels of the input (P, 4), are what a deployed detection network needs besides.
    """
    spec = get_spec(name).for_dataset(dataset)
    if spec.task == "language_modelling":
        return network.eval()  # words and states come and go as they are: there is nothing to add
    if io == "raw":
        return RawNetwork(network).eval()
    if io == "lowres":
        return LowResolutionNetwork(network, mean=spec.mean, std=spec.std).eval()
    wrapper = DeepStreamNetwork if io == "deepstream" else DeployNetwork
    return wrapper(network, task=spec.task, mean=spec.mean, std=spec.std, priors=priors).eval()


def network_from_manifest_fields(
    *,
    network: str,
    width_mult: float,
    dataset: str,
    num_classes: int,
    io: Io,
    weights_source: str,
    weights_sha256: str | None,
    weights_random: bool,
    priors: NDArray[np.float32] | None = None,
) -> nn.Module:
    """The reference network behind an artefact, rebuilt from what its manifest says, with the same inputs and outputs.

    `priors`: see `with_io`.

    Raises:
        InputError: the network is unknown or the weights are not where the manifest says.
        CheckError: the weights are not the ones that the manifest names.
    """
    weights = None if weights_random else reopen(weights_source, weights_sha256)
    model = create_model(network, width_mult=width_mult, num_classes=num_classes, weights=weights)
    if weights_random:
        load_seeded_weights(model)
    return with_io(model, io, name=network, dataset=dataset, priors=priors)
