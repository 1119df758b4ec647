"""Word lists: the stop words that the package ships, and lists that the user names."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from importlib import resources
from pathlib import Path


def stopwords(code: str) -> frozenset[str] | None:
    """The stop words of a language, in the form that words have when they are compared with them.

    code    short code (`sw`, `hi`, `zhs`), without a family prefix
    returns the words; None where the table has none (27 of the 46 languages, and code)
    source  tables/stopwords.tsv (stopwordsiso 0.7.1, MIT)
    """
    return _table().get(code)


def load_words(path: Path | str) -> frozenset[str]:
    """A word list of the user's: UTF-8 text, a word or phrase a line; a line that begins with # is a comment.

    returns the words, lower-cased and stripped of special characters like the words they are compared with
    raises  FileNotFoundError; ValueError where the file is not UTF-8 or holds no word
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"word list {path}: no such file; give a UTF-8 text file with a word a line")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"word list {path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    words = _comparable(line for line in lines if not line.startswith("#"))
    if not words:
        raise ValueError(f"word list {path}: expected a word a line, got none; leave the list out to skip the check")
    return words


@functools.cache
def special_characters() -> frozenset[str]:
    """The 1,599 characters that count as special and are stripped from the ends of words.

    source  tables/special_characters.csv, which names its own
    """
    table = (resources.files("roots.tables") / "special_characters.csv").read_text(encoding="utf-8")
    rows = [line.split(",") for line in table.splitlines() if not line.startswith("#")][1:]
    return frozenset(chr(c) for _, first, last in rows for c in range(int(first, 16), int(last, 16) + 1))


@functools.cache
def _table() -> dict[str, frozenset[str]]:
    table = (resources.files("roots.tables") / "stopwords.tsv").read_text(encoding="utf-8")
    lists: dict[str, list[str]] = {}
    for line in table.splitlines():
        if not line.startswith("#"):
            code, word = line.split("\t")
            lists.setdefault(code, []).append(word)
    return {code: _comparable(words) for code, words in lists.items()}


def _comparable(words: Iterable[str]) -> frozenset[str]:
    # Special characters include vowel signs of Devanagari and Bengali, so the measured words end without them
    # (the Hindi word U+0915 U+093E is measured as U+0915): an entry that kept its sign could never be found.
    special = "".join(special_characters())
    return frozenset(stripped for word in words if (stripped := word.lower().strip(special)))
