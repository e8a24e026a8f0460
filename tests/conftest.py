"""What several tests need: the reference data beside the project, and the formula input that it was made with."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from espnet_edge.model.seeded import formula_image

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
    """The deterministic input of the golden data, (1, 3, height, width)."""
    return formula_image(height, width, phase)[None]
