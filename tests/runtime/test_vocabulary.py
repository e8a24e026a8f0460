import pytest

from espnet_edge.errors import InputError
from espnet_edge.runtime.vocabulary import Vocabulary, read_vocabulary


def test_a_vocabulary_comes_back_as_written(tmp_path):
    words = Vocabulary(("the", "sea", "<unk>", "<eos>", "é"))
    path = tmp_path / "words.txt"
    path.write_text(words.as_text(), encoding="utf-8")
    assert read_vocabulary(path) == words
    assert words.tokens["é"] == 4
    path.write_text(words.as_text().rstrip("\n"), encoding="utf-8")
    assert read_vocabulary(path) == words


def test_text_becomes_tokens():
    words = Vocabulary(("the", "sea", "<unk>", "<eos>"))
    assert words.encode(" the  sea\nthe Sea ") == ([0, 1, 3, 0, 2], ["Sea"])
    assert words.encode("") == ([], [])
    assert Vocabulary(("a", "b")).encode("a\nb") == ([0, 1], [])
    with pytest.raises(InputError, match=r"'c' is none of the 2 words.*no <unk>"):
        Vocabulary(("a", "b")).encode("a c")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"one\ntwo\none\n", "'one' is on line 1 and on line 3"),
        (b"one\n\ntwo\n", "line 2 is ''"),
        (b"one\ntwo words\n", "line 2 is 'two words'"),
        (b"", "1 lines, a vocabulary has 2"),
        (b"alone\n", "1 lines, a vocabulary has 2"),
        (b"\n".join(b"%d" % i for i in range(70_000)), "70000 lines, a vocabulary has 2 to 65536"),
        (b"one\n\xff\n", "not UTF-8 text at byte 4"),
    ],
)
def test_what_is_no_vocabulary(tmp_path, content, message):
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_vocabulary(path)


def test_too_large_and_missing(tmp_path):
    path = tmp_path / "words.txt"
    with pytest.raises(InputError, match="no such file"):
        read_vocabulary(path)
    with path.open("wb") as file:
        file.truncate(9 << 20)
    with pytest.raises(InputError, match="9437184 bytes, a vocabulary has at most"):
        read_vocabulary(path)
