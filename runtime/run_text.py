"""The part of espnet-run that continues a text."""

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..commands import console
from ..errors import CheckError, InputError
from ..files import sha256_of
from .manifest import Manifest
from .vocabulary import END_OF_SENTENCE, UNKNOWN, Vocabulary, read_vocabulary

if TYPE_CHECKING:
    from .runner import Runner


@dataclass(frozen=True)
class TextOptions:
    """What the user asked for. `text` None: nothing was given."""

    text: str | None
    vocabulary: Path | None
    words: int
    temperature: float
    top: int
    seed: int

    def check(self) -> None:
        """Raise InputError where a number makes no sense."""
        if self.words < 1:
            raise InputError(f"--words {self.words}: give at least 1")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise InputError(f"--temperature {self.temperature}: give 0 (always the most probable word) or more")
        if self.top < 1:
            raise InputError(f"--top {self.top}: give at least 1")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: give at least 0")


def find_vocabulary(engine: Path, manifest: Manifest, given: Path | None) -> Vocabulary:
    """The vocabulary that was given, or the one that was exported with the network.

    Raises:
        InputError: there is none, it is not a vocabulary, or it has another number of words than the network.
        CheckError: the exported one was changed.
    """
    path = given or _exported_vocabulary(engine, manifest)
    vocabulary = read_vocabulary(path)
    if len(vocabulary.words) != manifest.num_classes:
        raise InputError(
            f"{path}: {len(vocabulary.words)} words, the network has {manifest.num_classes}; "
            "give the vocabulary that it was trained with"
        )
    recorded = manifest.vocabulary
    if given is not None and recorded is not None and sha256_of(given) != recorded.sha256:
        _note(f"{given}: is not {recorded.name} that was exported with the network; its words may be the wrong ones")
    return vocabulary


def continue_text(runner: "Runner", manifest: Manifest, vocabulary: Vocabulary, options: TextOptions) -> dict[str, Any]:
    """Print the text and its continuation, word by word, and give what --json says of it.

    Raises:
        InputError: a word of the text is not in the vocabulary, or there is no word in it.
    """
    from .text import Choice, continued

    assert options.text is not None
    tokens, unknown = vocabulary.encode(options.text)
    if not tokens:
        raise InputError("--text has no word; give at least one")
    if unknown:
        _note(f"not in the vocabulary, read as {UNKNOWN}: {' '.join(dict.fromkeys(unknown))}")
    choice = Choice(options.temperature, options.top, options.seed)
    # It stands for words that nobody can read; a text is better without.
    never = [vocabulary.tokens[UNKNOWN]] if UNKNOWN in vocabulary.tokens else []
    print(" ".join(options.text.split()), end="", flush=True)
    chosen, at_line_start = [], False
    for word in itertools.islice(continued(runner, manifest, tokens, choice, never=never), options.words):
        chosen.append(word)
        text = vocabulary.words[word.token]
        if text == END_OF_SENTENCE:
            print(flush=True)
        else:
            print(text if at_line_start else f" {text}", end="", flush=True)
        at_line_start = text == END_OF_SENTENCE
    if not at_line_start:
        print()
    return {
        "text": options.text,
        "unknown_words": unknown,
        "temperature": options.temperature,
        "top": options.top,
        "seed": options.seed,
        "words": [{"word": vocabulary.words[w.token], "token": w.token, "probability": w.probability} for w in chosen],
    }


def _exported_vocabulary(engine: Path, manifest: Manifest) -> Path:
    if manifest.vocabulary is None:
        raise InputError(
            f"{engine}: was exported without a vocabulary; give the one it was trained with: --vocabulary FILE"
        )
    # The name alone: a manifest from elsewhere must not lead out of its folder.
    path = engine.with_name(Path(manifest.vocabulary.name).name)
    if not path.is_file():
        raise InputError(f"{path}: no such file; put it back beside {engine.name}, or give one with --vocabulary FILE")
    if (actual := sha256_of(path)) != manifest.vocabulary.sha256:
        raise CheckError(
            f"{path}: sha256 {actual[:16]}..., the manifest says {manifest.vocabulary.sha256[:16]}...; "
            "export again, or give the right one with --vocabulary FILE"
        )
    return path


def _note(message: str) -> None:
    console().print(f"espnet-run: {message}", markup=False)
