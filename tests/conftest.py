"""What several tests need: the reference data beside the project, and the formula input that it was made with."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

SHARED = Path(os.environ.get("ESPNET_EDGE_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not SHARED.is_dir():
        reason = f"the reference data is not at {SHARED}; set ESPNET_EDGE_SHARED"
        if os.environ.get("ESPNET_EDGE_REQUIRE_SHARED"):
            pytest.exit(reason, returncode=1)
        for item in items:
            if item.get_closest_marker("shared"):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def shared() -> Path:
    return SHARED


def formula_input(height: int, width: int, phase: float = 0.0) -> NDArray[np.float32]:
    """The deterministic input of the golden data, (1, 3, height, width); values are multiples of 1/4096."""
    c = np.arange(3, dtype=np.float64)[:, None, None]
    i = np.arange(height, dtype=np.float64)[:, None]
    j = np.arange(width, dtype=np.float64)
    value = (
        1.10 * np.sin(2 * np.pi * (i / 37 + c / 3 + phase)) * np.cos(2 * np.pi * (j / 53 - c / 5))
        + 0.70 * np.sin(2 * np.pi * (i * j) / 4096 + c + 2 * phase)
        + 0.40 * np.cos(2 * np.pi * (i + 2 * j) / 11 + 0.5 * c - phase)
    )
    return (np.rint(value * 4096) / 4096).astype(np.float32)[None]
