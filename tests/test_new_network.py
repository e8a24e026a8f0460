"""What CONTRIBUTING says of a new network: one file and one entry in the registry, and every command knows it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# The file of the network, its entry, and then the command that is named on the command line.
NEW_NETWORK = """
import importlib
import sys

from torch import Tensor, nn

from espnet_edge.model.registry import register_model
from espnet_edge.model.spec import ModelSpec


class ToyNet(nn.Module):
    def __init__(self, width_mult: float = 1.0, num_classes: int = 1000) -> None:
        super().__init__()
        channels = int(8 * width_mult)
        self.features = nn.Sequential(nn.Conv2d(3, channels, 3, 4, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())
        self.output = nn.Linear(channels, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        return self.output(self.features(image).mean(dim=(2, 3)))


register_model(
    ModelSpec(
        name="toynet",
        task="classification",
        widths=(1.0, 2.0),
        default_width=2.0,
        default_sizes={"imagenet": (32, 32)},
    ),
    ToyNet,
)
command = sys.argv.pop(1)
importlib.import_module(command).main()
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toynet") / "program.py"
    path.write_text(NEW_NETWORK)
    return path


def run(program: Path, command: str, *arguments: object) -> str:
    line = [sys.executable, str(program), f"espnet_edge.{command}", *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_listed(program: Path) -> None:
    out = run(program, "model.cli", "toynet")
    assert [line.split()[:6] for line in out.splitlines()[1:3]] == [
        ["toynet", "1", "imagenet", "32x32", f"{8 * 27 + 16 + 9 * 1000:,}", "0.01"],
        ["toynet", "2", "imagenet", "32x32", f"{16 * 27 + 32 + 17 * 1000:,}", "0.03"],
    ]


def test_it_is_exported_benched_and_run(program: Path, tmp_path: Path) -> None:
    out, photo = tmp_path / "out", tmp_path / "photo.png"
    Image.fromarray(np.arange(40 * 50 * 3, dtype=np.uint8).reshape(40, 50, 3)).save(photo)
    run(program, "export.cli", "toynet", "--out", out, "--weights", "random")
    assert json.loads((out / "toynet.parity.json").read_text())["passed"]
    table = run(
        program, "runtime.cli_bench", "--engine", out / "toynet.onnx", "--rounds", 1, "--iterations", 1, "--warmup", 0
    )
    for runtime in ("onnxruntime", "openvino", "torch"):
        assert runtime in table
    answer = run(program, "runtime.cli_run", "--engine", out / "toynet.onnx", photo, "--allow-random-weights")
    assert "photo.png" in answer
