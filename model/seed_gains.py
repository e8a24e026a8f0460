"""How strong seeded weights are, by kind of layer: each family of networks needs its own to keep the signal alive."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SeedGains:
    """Gains of depth-wise and other convolutions and of linear layers; see `seeded.load_seeded_weights`."""

    depthwise: float = 0.5
    pointwise: float = 1.6
    linear: float = 0.6
