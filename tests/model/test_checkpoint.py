"""Checkpoints that fit, and every kind that does not."""

import json
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from espnet_edge.errors import InputError
from espnet_edge.model.checkpoint import load_checkpoint, read_checkpoint
from espnet_edge.model.espnetv2_names import official_detection_name, official_name
from espnet_edge.model.registry import create_model
from espnet_edge.model.seeded import load_seeded_weights


@pytest.fixture(scope="module")
def source() -> nn.Module:
    model = create_model("seg", width_mult=0.5)
    load_seeded_weights(model, salt="source")
    return model


def official_state(model: nn.Module) -> dict[str, Tensor]:
    return OrderedDict((official_name(name), tensor) for name, tensor in model.state_dict().items())


def save(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


def assert_same_weights(a: nn.Module, b: nn.Module) -> None:
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        assert torch.equal(x, y), name


@pytest.mark.parametrize("form", ["ours", "official", "parallel", "wrapped", "legacy"])
def test_forms_that_fit(form: str, source: nn.Module, tmp_path: Path) -> None:
    official = official_state(source)
    content: Any = {
        "ours": source.state_dict(),
        "official": official,
        "parallel": {f"module.{name}": tensor for name, tensor in official.items()},
        "wrapped": {"state_dict": official, "epoch": 3},
        "legacy": official,
    }[form]
    path = tmp_path / "weights.pth"
    torch.save(content, path, _use_new_zipfile_serialization=form != "legacy")
    model = create_model("seg", width_mult=0.5)
    load_checkpoint(model, path)
    assert_same_weights(model, source)


def refusal(model: nn.Module, path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_checkpoint(model, path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def test_another_width_names_both(source: nn.Module, tmp_path: Path) -> None:
    message = refusal(create_model("seg", width_mult=2.0), save(official_state(source), tmp_path / "w.pth"))
    assert "holds ESPNetv2 segmentation, width 0.5, 20 classes" in message
    assert "asked for is ESPNetv2 segmentation, width 2.0, 20 classes" in message


def test_other_classes_names_both(source: nn.Module, tmp_path: Path) -> None:
    message = refusal(
        create_model("seg", width_mult=0.5, num_classes=21), save(source.state_dict(), tmp_path / "w.pth")
    )
    assert "width 0.5, 20 classes; asked for is ESPNetv2 segmentation, width 0.5, 21 classes" in message


@pytest.mark.parametrize(("found", "asked"), [(1000, 80), (80, 1000)])
def test_a_classifier_of_other_classes_names_both(found: int, asked: int, tmp_path: Path) -> None:
    path = save(official_state(create_model("cls", width_mult=0.5, num_classes=found)), tmp_path / "w.pth")
    message = refusal(create_model("cls", width_mult=0.5, num_classes=asked), path)
    assert f"holds ESPNetv2 classification, width 0.5, {found} classes; asked for is" in message
    assert f"width 0.5, {asked} classes (classifier.weight is ({found}, 1024), not ({asked}, 1024))" in message
    assert "choose the options that fit the file, or another --weights" in message


def test_another_task_names_both(source: nn.Module, tmp_path: Path) -> None:
    message = refusal(create_model("cls", width_mult=0.5), save(official_state(source), tmp_path / "w.pth"))
    assert "holds ESPNetv2 segmentation, width 0.5" in message
    assert "asked for is ESPNetv2 classification, width 0.5, 1000 classes" in message


@pytest.mark.parametrize(
    ("rename", "expected"),
    [
        (lambda name: f"net.{name}", "obsolete segmentation network"),
        (lambda name: name.replace("base_net.", "base_net.basenet."), "ESPNetv2 detection, width 0.5"),
    ],
)
def test_relatives_are_recognised(rename: Any, expected: str, source: nn.Module, tmp_path: Path) -> None:
    state = {rename(name): tensor for name, tensor in official_state(source).items()}
    assert expected in refusal(create_model("seg", width_mult=0.5), save(state, tmp_path / "w.pth"))


def test_detection_is_loaded_by_its_official_names(tmp_path: Path) -> None:
    source = create_model("det", num_classes=21)
    load_seeded_weights(source, salt="source")
    state = OrderedDict((official_detection_name(name), tensor) for name, tensor in source.state_dict().items())
    path = save(state, tmp_path / "w.pth")
    model = create_model("det", num_classes=21, weights=path)
    assert_same_weights(model, source)
    message = refusal(create_model("det"), path)
    assert "holds ESPNetv2 detection, width 2.0, 21 classes" in message
    assert "asked for is ESPNetv2 detection, width 2.0, 81 classes" in message
    assert "ESPNetv2 detection, width 2.0, 21 classes" in refusal(create_model("cls"), path)


def test_another_network(tmp_path: Path) -> None:
    path = save(nn.Linear(2, 3).state_dict(), tmp_path / "w.pth")
    assert "holds an unknown network (2 tensors, 9 numbers, first weight)" in refusal(
        create_model("seg", width_mult=0.5), path
    )


@pytest.mark.parametrize("name", ["mobilenetv1", "mobilenetv2", "shufflenetv1", "shufflenetv2"])
def test_a_rival_of_another_width_or_number_of_classes_names_both(name: str, tmp_path: Path) -> None:
    path = save(create_model(name, width_mult=1.0, num_classes=10).state_dict(), tmp_path / "w.pth")
    message = refusal(create_model(name, width_mult=0.5), path)
    assert f"holds {name}, width 1.0, 10 classes; asked for is {name}, width 0.5, 1000 classes" in message
    assert f"holds {name}, width 1.0, 10 classes" in refusal(create_model("det"), path)


def test_our_own_names_are_recognised_where_another_network_is_asked_for(tmp_path: Path) -> None:
    path = save(create_model("cls", width_mult=1.5).state_dict(), tmp_path / "w.pth")
    assert "holds espnetv2_cls, width 1.5, 1000 classes; asked for is ESPNetv2 detection" in refusal(
        create_model("det"), path
    )


@pytest.mark.shared
@pytest.mark.parametrize(
    ("file", "name", "width"),
    [("mobilenet_v2_w0.5", "mobilenetv2", 0.5), ("shufflenet_v2_x1_5", "shufflenetv2", 1.5)],
)
def test_torchvision_files_of_another_width(file: str, name: str, width: float, shared: Path, tmp_path: Path) -> None:
    keys = json.loads((shared / f"golden/baselines/keys_{file}.json").read_text())
    state = {key["key"]: torch.zeros(key["shape"], dtype=getattr(torch, key["dtype"])) for key in keys}
    path = save(state, tmp_path / "w.pth")
    create_model(name, width_mult=width, weights=path)
    message = refusal(create_model(name, width_mult=1.0), path)
    assert f"holds {name}, width {width}, 1000 classes; asked for is {name}, width 1.0, 1000 classes" in message


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_a_changed_key_set(change: str, source: nn.Module, tmp_path: Path) -> None:
    state = official_state(source)
    if change == "missing":
        del state["bu_br_l2.0.weight"]
    else:
        state["surprise"] = torch.zeros(1)
    message = refusal(create_model("seg", width_mult=0.5), save(state, tmp_path / "w.pth"))
    assert {"missing": "bu_br_l2.0.weight is missing", "extra": "surprise has no place"}[change] in message


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("keep", [0, 10, 100, 0.5, 0.95])
def test_truncated(legacy: bool, keep: float, source: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(source.state_dict(), path, _use_new_zipfile_serialization=not legacy)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    assert "truncated or not a checkpoint" in refusal(create_model("seg", width_mult=0.5), path)


@pytest.mark.parametrize("content", [b"<html>404</html>", b"\x89PNG\r\n\x1a\n" + bytes(64), b"PK\x03\x04" + bytes(99)])
def test_not_a_checkpoint(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    assert "not a checkpoint" in refusal(create_model("seg", width_mult=0.5), path)


class Trap:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("by_torch", [True, False])
def test_code_in_a_pickle_does_not_run(by_torch: bool, tmp_path: Path) -> None:
    sprung, path = tmp_path / "sprung", tmp_path / "w.pth"
    content = {"weight": Trap(sprung)}
    if by_torch:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    message = refusal(create_model("seg", width_mult=0.5), path)
    assert "would run code" in message
    assert not sprung.exists()


@pytest.mark.parametrize(
    "content",
    [
        [torch.zeros(2)],
        {"weight": 3},
        torch.zeros(2),
        {},
        {"weight": torch.zeros(2, dtype=torch.complex64)},
        {"weight": torch.zeros(2, 2).to_sparse()},
        {"weight": torch.zeros(2, device="meta")},
        {"state_dict": {"state_dict": {"weight": torch.zeros(2)}}},
    ],
)
def test_other_content(content: Any, tmp_path: Path) -> None:
    path = save(content, tmp_path / "w.pth")
    assert "not a dictionary of dense, real tensors" in refusal(create_model("seg", width_mult=0.5), path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_checkpoint(tmp_path / "nowhere.pth")


def test_damage_of_single_bytes(tmp_path: Path) -> None:
    """Whatever a byte is changed to, the file loads or is refused in one line."""
    path = tmp_path / "w.pth"
    state = {f"layer{i}.weight": torch.arange(3.0) for i in range(4)}
    torch.save(state, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(1500):
        damaged = bytearray(data)
        damaged[generator.integers(len(data))] = generator.integers(256)
        path.write_bytes(damaged)
        try:
            read_checkpoint(path)
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017  It may or may not be raised.
