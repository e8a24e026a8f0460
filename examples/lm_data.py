"""Words for a language model: three text files as indices, cut into streams and sequences."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from espnet_edge.errors import InputError
from espnet_edge.runtime.vocabulary import END_OF_SENTENCE, UNKNOWN

SPLITS = ("train", "valid", "test")
_MAX_TEXT_BYTES = 1 << 30


@dataclass(frozen=True)
class Corpus:
    """The three texts as indices into `vocabulary`, each int64 (words,).

    `unknown`: the share of each text's words that are not in the vocabulary and count as <unk>.
    """

    vocabulary: tuple[str, ...]
    train: Tensor
    valid: Tensor
    test: Tensor
    unknown: dict[str, float]

    def texts(self) -> dict[str, Tensor]:
        """The texts by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    def digest(self) -> str:
        """SHA-256 that differs where any word of any text does."""
        digest = hashlib.sha256("\n".join(self.vocabulary).encode())
        for text in self.texts().values():
            digest.update(text.shape[0].to_bytes(8, "little"))
            digest.update(text.numpy().tobytes())
        return digest.hexdigest()


def read_corpus(folder: Path, vocabulary_size: int | None = None) -> Corpus:
    """Read train.txt, valid.txt and test.txt, or ptb.train.txt and so on, of `folder`.

    Words are separated by white space; the end of each line is the word <eos>. The vocabulary is that of the training
    text and <unk>; with `vocabulary_size` its most frequent words alone, as PTB's 10,000 were made.

    Raises:
        InputError: a file is missing, empty, too large or not UTF-8.
    """
    words = {split: _words_of(_file_of(folder, split)) for split in SPLITS}
    vocabulary = _vocabulary_of(words["train"], vocabulary_size)
    index = {word: i for i, word in enumerate(vocabulary)}
    texts = {split: torch.tensor([index.get(word, index[UNKNOWN]) for word in words[split]]) for split in SPLITS}
    unknown = {split: sum(word not in index for word in words[split]) / len(words[split]) for split in SPLITS}
    return Corpus(vocabulary, **texts, unknown=unknown)


def unigram_perplexity(corpus: Corpus, text: Tensor) -> float:
    """Perplexity of a model that knows nothing but how often each word is in the training text (add-one smoothing)."""
    counts = torch.bincount(corpus.train, minlength=len(corpus.vocabulary)).double() + 1
    return float(torch.exp(-(counts / counts.sum()).log()[text[1:]].mean()))


def as_streams(text: Tensor, streams: int) -> Tensor:
    """(words,) -> (steps, streams): the text cut into `streams` equal parts that are read side by side."""
    steps = text.shape[0] // streams
    return text[: steps * streams].reshape(streams, steps).t().contiguous()


def sequences(text: Tensor, lengths: Iterator[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and the words that follow them, both (length, streams), one after the other through the text."""
    start, last = 0, text.shape[0] - 1
    while start < last:
        end = min(start + next(lengths), last)
        yield text[start:end], text[start + 1 : end + 1]
        start = end


def random_lengths(bptt: int, seed: int) -> Iterator[int]:
    """Lengths of back-propagation as AWD-LSTM draws them: near `bptt`, or near its half in 1 of 20.

    So no word always stands at the start of a sequence, where the gradient ends. A seed gives the same lengths to
    every model that is compared.
    """
    generator = torch.Generator().manual_seed(seed)
    while True:
        half = torch.rand((), generator=generator).item() >= 0.95
        around = bptt / 2 if half else float(bptt)
        drawn = torch.normal(around, 5.0, (), generator=generator).item()
        yield max(min(5, bptt), int(drawn))


def _file_of(folder: Path, split: str) -> Path:
    names = (f"{split}.txt", f"ptb.{split}.txt")
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder}: has neither {names[0]} nor {names[1]}; give a folder with train, valid and test texts")


def _words_of(path: Path) -> list[str]:
    if (size := path.stat().st_size) > _MAX_TEXT_BYTES:
        raise InputError(f"{path}: {size} bytes, a text has at most {_MAX_TEXT_BYTES}; take a part of it")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8; convert the text to UTF-8") from None
    if not text.split():
        raise InputError(f"{path}: holds no word; give a text, words separated by spaces")
    return [word for line in text.rstrip("\n").split("\n") for word in [*line.split(), END_OF_SENTENCE]]


def _vocabulary_of(words: Sequence[str], size: int | None) -> tuple[str, ...]:
    """Most frequent first, equals in the alphabet's order: the same text always gives the same indices."""
    counts = Counter({END_OF_SENTENCE: 0, UNKNOWN: 0})
    counts.update(words)
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    if size is None or size >= len(ordered):
        return tuple(ordered)
    needed = {END_OF_SENTENCE, UNKNOWN}
    kept = needed | set([word for word in ordered if word not in needed][: size - len(needed)])
    return tuple(word for word in ordered if word in kept)
