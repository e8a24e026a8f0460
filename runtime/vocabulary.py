"""The words of a language model: one per line, and the line's number, from 0 on, is the word's token."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import InputError

END_OF_SENTENCE, UNKNOWN = "<eos>", "<unk>"
_MAX_WORDS = 65_536  # as many classes as a manifest may have
_MAX_BYTES = 8 << 20


@dataclass(frozen=True)
class Vocabulary:
    """The words in the order of their tokens; each is there once, and none holds white space."""

    words: tuple[str, ...]

    @cached_property
    def tokens(self) -> dict[str, int]:
        """The token of each word."""
        return {word: token for token, word in enumerate(self.words)}

    def as_text(self) -> str:
        """What `read_vocabulary` reads."""
        return "".join(f"{word}\n" for word in self.words)

    def encode(self, text: str) -> tuple[list[int], list[str]]:
        """The tokens of a text and the words that were unknown; words are what white space separates.

        A line's end is `<eos>` and an unknown word `<unk>`, where the vocabulary has these; without `<eos>` a line's
        end is white space.

        Raises:
            InputError: a word is unknown and there is no `<unk>`.
        """
        line_end = f" {END_OF_SENTENCE} " if END_OF_SENTENCE in self.tokens else " "
        words = text.replace("\n", line_end).split()
        unknown = [word for word in words if word not in self.tokens]
        if unknown and UNKNOWN not in self.tokens:
            raise InputError(
                f"{unknown[0]!r} is none of the {len(self.words)} words of the vocabulary, which has no {UNKNOWN}; "
                "use words that it has (punctuation and capitals count)"
            )
        return [self.tokens[word if word in self.tokens else UNKNOWN] for word in words], unknown


def read_vocabulary(path: Path) -> Vocabulary:
    """The vocabulary in the UTF-8 file `path`.

    Raises:
        InputError: missing, too large, not UTF-8, empty, or with a line that is empty, not one word, or there twice.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; a vocabulary has one word per line, in the order of training")
    if (size := path.stat().st_size) > _MAX_BYTES:
        raise InputError(f"{path}: {size} bytes, a vocabulary has at most {_MAX_BYTES}; check the path")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text at byte {error.start}; save it as UTF-8") from None
    words = text.removesuffix("\n").split("\n")
    _check(path, words)
    return Vocabulary(tuple(words))


def _check(path: Path, words: list[str]) -> None:
    if not 2 <= len(words) <= _MAX_WORDS:
        raise InputError(f"{path}: {len(words)} lines, a vocabulary has 2 to {_MAX_WORDS} words; check the path")
    lines: dict[str, int] = {}
    for number, word in enumerate(words, 1):
        if word.split() != [word]:
            raise InputError(f"{path}: line {number} is {word[:40]!r}; give one word per line")
        first = lines.setdefault(word, number)
        if first != number:
            raise InputError(f"{path}: {word[:40]!r} is on line {first} and on line {number}; a word has one number")
