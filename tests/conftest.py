"""What several tests need: the reference data beside the project, and the formula input that it was made with."""

import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from espnet_edge.runtime.cuda_probe import probe_cuda

SHARED = Path(os.environ.get("ESPNET_EDGE_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    _skip_what_needs_a_gpu(items)
    if not SHARED.is_dir():
        reason = f"the reference data is not at {SHARED}; set ESPNET_EDGE_SHARED"
        if os.environ.get("ESPNET_EDGE_REQUIRE_SHARED"):
            pytest.exit(reason, returncode=1)
        for item in items:
            if item.get_closest_marker("shared"):
                item.add_marker(pytest.mark.skip(reason=reason))


def _skip_what_needs_a_gpu(items: list[pytest.Item]) -> None:
    probe = probe_cuda()
    reasons = {}
    if probe.device is None:
        reasons = dict.fromkeys(("gpu", "tensorrt"), f"no GPU: {probe.reason}")
    elif importlib.util.find_spec("tensorrt") is None:
        reasons = {"tensorrt": "TensorRT is not installed"}
    for item in items:
        for mark, reason in reasons.items():
            if item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def shared() -> Path:
    return SHARED


def formula_input(height: int, width: int, phase: float = 0.0) -> NDArray[np.float32]:
    """The deterministic input of the golden data, (1, 3, height, width)."""
    from espnet_edge.model.seeded import formula_image  # needs torch; the tests of runtime run without

    return formula_image(height, width, phase)[None]


@dataclass(frozen=True)
class Outcome:
    """What a command did: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        return self.err.strip().splitlines()[-1] if self.err.strip() else ""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs the `main` of a command in this process: command(main, "seg", "--out", path) -> Outcome."""

    def run(main: Callable[[], None], *arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        printed = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return Outcome(caught.value.code, printed.out, printed.err)

    return run


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test touches the user's cache of weights or finds anything in it."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("ESPNET_EDGE_CACHE", str(folder))
    return folder
