"""examples/train_lm.py as a user runs it: it learns, it goes on after an interruption, it compares fairly."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from espnet_edge.model.checkpoint import load_checkpoint
from espnet_edge.model.eru_lm import LanguageModel

ROOT = Path(__file__).resolve().parents[2]
SENTENCES = ["the cat sat on the mat", "the dog sat on the log", "a cat and a dog ran to the sea", "the sea is wide"]
SMALL = ("--units", "16", "--embedding-size", "16", "--layers", "1", "--batch", "4", "--bptt", "8", "--lr", "5")

# So small products take longer to share out than to compute, above all beside other programs.
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    for split, repeats in (("train", 40), ("valid", 4), ("test", 4)):
        (folder / f"{split}.txt").write_text("\n".join(SENTENCES * repeats) + "\n")
    return folder


def train(texts: Path, out: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "examples/train_lm.py"), "--data", str(texts), "--out", str(out)]
    return subprocess.run(
        [*command, *SMALL, *options], capture_output=True, text=True, check=False, timeout=120, env=ONE_THREAD
    )


def curve(folder: Path) -> list[dict[str, str]]:
    with (folder / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in {"seconds", "words_per_second"}} for row in rows]


STUCK = ("--lr", "400", "--clip", "1")  # so large steps that the weights are averaged soon


def test_a_training_with_averaged_weights_goes_on_with_the_same_numbers(texts: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(texts, whole, "--epochs", "12", *STUCK).returncode == 0
    averaged = [row["averaged"] for row in curve(whole)]
    begin = averaged.index("1")
    assert begin < 10, "the weights were not averaged in time to be resumed"
    assert train(texts, parts, "--epochs", str(begin + 1), *STUCK).returncode == 0
    assert train(texts, parts, "--epochs", "12", "--resume", *STUCK).returncode == 0
    assert curve(parts) == curve(whole)


def test_ctrl_c_stops_it_and_it_goes_on(texts: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(texts, whole, "--epochs", "3").returncode == 0
    command = [sys.executable, str(ROOT / "examples/train_lm.py"), "--data", str(texts), "--out", str(parts), *SMALL]
    command += ["--epochs", "100000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ONE_THREAD) as process:
        assert process.stderr is not None
        said = next(line for line in process.stderr if "epoch 1/" in line)
        process.send_signal(signal.SIGINT)
        said += process.stderr.read()
    assert process.returncode == 130
    assert "the same command with --resume goes on" in said
    done = len(curve(parts))
    assert train(texts, parts, "--epochs", str(done + 1), "--resume").returncode == 0
    assert curve(parts)[:3] == curve(whole)[: done + 1]


def test_it_learns_and_compares(texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = train(texts, out, "--epochs", "12", "--dropout", "0", "--compare-lstm")
    assert done.returncode == 0, done.stderr
    result = json.loads((out / "result.json").read_text())
    eru, lstm = result["models"]
    assert eru["test_perplexity"] < 0.5 * result["unigram"]["test"]
    assert abs(lstm["parameters"] / eru["parameters"] - 1) < 0.05  # so few units come in coarse steps
    verdict = done.stdout.strip().splitlines()[-1]
    better = eru["test_perplexity"] < lstm["test_perplexity"]
    assert verdict.endswith(f"the ERU is {'better' if better else 'NOT better'}, with this seed")
    words = (out / "vocabulary.txt").read_text().split()
    assert words[:2] == ["<eos>", "the"] or words[:2] == ["the", "<eos>"]
    assert "<unk>" in words
    model = LanguageModel(len(words), 16, embedding_size=16, num_layers=1)
    load_checkpoint(model, out / "best.pth")
    assert model.embedding.weight.isfinite().all()


def test_an_interrupted_training_goes_on_with_the_same_numbers(texts: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(texts, whole, "--epochs", "4").returncode == 0
    assert train(texts, parts, "--epochs", "2").returncode == 0
    done = train(texts, parts, "--epochs", "4", "--resume")
    assert done.returncode == 0, done.stderr
    assert curve(parts) == curve(whole)
    states = [torch.load(folder / "best.pth", weights_only=True) for folder in (whole, parts)]
    assert all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values(), strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--units", "20"), "--units 20: a multiple of 16 is needed"),
        (("--lr", "nan"), "--lr nan: it must be above 0"),
        (("--dropout", "1"), "--dropout 1: it must be at least 0 and below 1"),
        (("--batch", "4000"), "words, --batch 4000 x"),
        (("--resume",), "holds no last.pth to --resume"),
        (("--device", "tpu"), "--device tpu: choose auto, cpu or cuda"),
        (("--width", "1.0"), "both say how many units"),
    ],
)
def test_wrong_requests(texts: Path, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    done = train(texts, tmp_path / "out", *options)
    assert (done.returncode, done.stderr.strip().count("Traceback")) == (2, 0)
    assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_texts_that_are_not_there_or_empty(texts: Path, tmp_path: Path) -> None:
    (texts / "test.txt").write_text("")
    done = train(texts, tmp_path / "out")
    assert (done.returncode, "test.txt: holds no word" in done.stderr) == (2, True)
    (texts / "test.txt").unlink()
    done = train(texts, tmp_path / "out")
    assert (done.returncode, "neither test.txt nor ptb.test.txt" in done.stderr) == (2, True)


def test_resuming_something_else_is_refused(texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert train(texts, out, "--epochs", "1").returncode == 0
    before = (out / "last.pth").read_bytes()
    done = train(texts, out, "--epochs", "2", "--resume", "--clip", "0.5")
    assert (done.returncode, "--clip was 0.25 when it began, now it is 0.5" in done.stderr) == (2, True)
    done = train(texts, out, "--epochs", "2")
    assert (done.returncode, "holds a training; --resume goes on" in done.stderr) == (2, True)
    with (texts / "train.txt").open("a") as file:
        file.write("one more line\n")
    done = train(texts, out, "--epochs", "2", "--resume")
    assert (done.returncode, "when it began, now it is" in done.stderr) == (2, True)
    assert (out / "last.pth").read_bytes() == before
    (out / "last.pth").write_bytes(before[:1000])
    done = train(texts, out, "--epochs", "2", "--resume")
    assert (done.returncode, "damaged or not a training" in done.stderr) == (2, True)
