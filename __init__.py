"""espnet-edge: ESPNetv2 from a PyTorch checkpoint to a fast file, with its latency and energy measured."""

from .version import __version__

__all__ = ["__version__"]
