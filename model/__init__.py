"""What is computed: the PyTorch networks, their weights and their counts."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .counts import Counts, count
    from .registry import create_model, get_spec, list_models
    from .schedules import HybridLR, WarmRestartLR
    from .spec import ModelSpec

__all__ = ["Counts", "HybridLR", "ModelSpec", "WarmRestartLR", "count", "create_model", "get_spec", "list_models"]

__getattr__ = lazy_names(
    __name__,
    {
        "Counts": ".counts",
        "HybridLR": ".schedules",
        "ModelSpec": ".spec",
        "WarmRestartLR": ".schedules",
        "count": ".counts",
        "create_model": ".registry",
        "get_spec": ".registry",
        "list_models": ".registry",
    },
)
