"""What a tokenizer does to each language: how many tokens, how many words whole, and against a tokenizer of its own.

All is measured on counted pieces (`count`), of documents that were held out of learning where there are some. A word is
a piece that is no run of separators; fertility alone divides by words between White_Space, as published figures do.

source  fertility, continued words: Rust et al. 2021, How Good is Your Tokenizer?; words kept whole: arXiv 2510.09947;
        parity on parallel text: Petrov et al. 2023; the criterion: not more than 10 points worse than a monolingual
        tokenizer, Scao et al. 2022 (BLOOM)
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa

from roots import kernel, utf8
from tokenizer import count, encode, learn, pieces, spec

LONG_BYTES = 64  # a token of more than so many bytes is a phrase that some page repeats
SHOWN_TOKENS = 20
URL = re.compile(rb"://|https?|www\b")  # what line de-duplication was brought in against
EXCESS_MAX = 0.10  # of tokens over those of the monolingual tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """The size of some texts. Words are runs between White_Space."""

    documents: int
    bytes: int
    code_points: int
    words: int

    @classmethod
    def zero(cls) -> Self:
        return cls(documents=0, bytes=0, code_points=0, words=0)

    @classmethod
    def of(cls, text: pa.StringArray) -> Self:
        data, offsets = utf8.view(text)
        points, words = _points_and_words(data, offsets, _whitespace())
        return cls(documents=len(text), bytes=int(offsets[-1] - offsets[0]), code_points=points, words=words)

    def __add__(self, other: Self) -> Self:
        return type(self)(**{name: getattr(self, name) + getattr(other, name) for name in self.__slots__})

    def to_json(self) -> dict[str, int]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, int]) -> Self:
        return cls(**value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The figures of one language.

    held_out   whether the text was held out of learning; a language of few documents is judged on what it gave
    words      pieces that are words;  continued  those of more than one token
    types      distinct words;  whole  those of one token
    baseline   tokens of the same text by the language's own tokenizer;  baseline_size  how large that is
    parallel   tokens of the documents that English has too;  english  tokens of those in English; 0 where none is known
    """

    language: str
    held_out: bool
    text: Text
    tokens: int
    words: int
    continued: int
    types: int
    whole: int
    baseline: int
    baseline_size: int
    parallel: int = 0
    english: int = 0

    @property
    def fertility(self) -> float:
        """Tokens per word between White_Space; nan where there is none."""
        return _ratio(self.tokens, self.text.words)

    @property
    def bytes_per_token(self) -> float:
        return _ratio(self.text.bytes, self.tokens)

    @property
    def code_points_per_token(self) -> float:
        return _ratio(self.text.code_points, self.tokens)

    @property
    def continued_ratio(self) -> float:
        return _ratio(self.continued, self.words)

    @property
    def whole_ratio(self) -> float:
        return _ratio(self.whole, self.types)

    @property
    def excess(self) -> float:
        """Tokens over those of the language's own tokenizer, as a share of them: 0.1 is the criterion's limit."""
        return _ratio(self.tokens, self.baseline) - 1

    @property
    def parity(self) -> float:
        """Tokens for one of English on parallel text; nan where there is none."""
        return _ratio(self.parallel, self.english)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        return cls(**{**value, "text": Text.from_json(value["text"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What the tokens of a vocabulary are. Ratios are of the tokens that text can give: all but the special ones."""

    size: int
    unused: int  # not once in the texts that it was learned from and judged on
    url_like: tuple[bytes, ...]
    long: tuple[bytes, ...]  # more than LONG_BYTES bytes, the longest first
    partial: int  # tokens whose bytes are no whole characters
    special_in_text: int  # special ids that text was encoded to; anything but 0 is a fault
    lost_points: int  # of all 1,112,064 code points, those that do not come back from their ids


def measure(
    language: str,
    learned: tuple[count.Counts, Text],
    held_out: tuple[count.Counts, Text],
    encoder: encode.Encoder,
    baseline_size: int,
) -> tuple[Row, np.ndarray]:
    """The row of a language, and how often each token came in all its text: int64 [vocab_size].

    learned, held_out  counted pieces and size of the text that the tokenizer was learned from, and of the other
    """
    apart = len(held_out[0]) > 0
    counts, text = held_out if apart else learned
    ids, ends = piece_ids(counts.pieces, encoder)
    sizes = np.diff(ends)
    used = _usage(ids, counts.counts, sizes, encoder.vocab_size)
    if apart:
        more, more_ends = piece_ids(learned[0].pieces, encoder)
        used += _usage(more, learned[0].counts, np.diff(more_ends), encoder.vocab_size)
    words = _are_words(*count.buffers(counts.pieces))
    own = learn.learn(learned[0], baseline_size)
    _, own_ends = encode.encode_pieces(counts.pieces, own.lookup())
    row = Row(
        language=language,
        held_out=apart,
        text=text,
        tokens=int(counts.counts @ sizes),
        words=int(counts.counts[words].sum()),
        continued=int(counts.counts[words & (sizes > 1)].sum()),
        types=int(words.sum()),
        whole=int((words & (sizes == 1)).sum()),
        baseline=int(counts.counts @ np.diff(own_ends)),
        baseline_size=own.vocab_size,
    )
    return row, used


def piece_ids(found: pa.LargeBinaryArray, encoder: encode.Encoder) -> tuple[np.ndarray, np.ndarray]:
    """The ids of pieces, each by itself, and where each one's end: int64 [pieces + 1].

    Exact for a tokenizer of BLOOM's split; one that cuts otherwise may make other tokens where pieces meet.
    """
    if encoder.merges is not None:
        return encode.encode_pieces(found, encoder.merges)
    return encoder.encode(found.cast(pa.binary()).cast(pa.string()))


def total(rows: Iterable[Row]) -> Row:
    """All languages together, under the name `all`; distinct words of two languages count twice."""
    found = list(rows)
    numbers = [f.name for f in dataclasses.fields(Row) if f.type == "int"]
    sums = {name: sum(getattr(row, name) for row in found) for name in numbers}
    text = sum((row.text for row in found), Text.zero())
    return Row(language="all", held_out=all(row.held_out for row in found), text=text, **sums)


def vocabulary(encoder: encode.Encoder, used: np.ndarray) -> Vocabulary:
    """The facts of a vocabulary of which each token came `used` times: int64 [vocab_size]."""
    special = np.zeros(encoder.vocab_size, bool)
    special[encoder.specials] = True
    tokens = [token for number, token in enumerate(encoder.tokens()) if not special[number]]
    ordered = sorted(tokens, key=lambda token: (-len(token), token))
    ids, lost = _round_trip(encoder)
    names = pa.array([encoder.tokens()[number].decode() for number in encoder.specials], pa.string())
    spelled, _ = encoder.encode(names)
    return Vocabulary(
        size=encoder.vocab_size,
        unused=int(((used == 0) & ~special).sum()),
        url_like=tuple(token for token in ordered if URL.search(token)),
        long=tuple(token for token in ordered if len(token) > LONG_BYTES),
        partial=sum(not _is_utf8(token) for token in tokens),
        special_in_text=int(used[special].sum() + special[spelled].sum() + special[ids].sum()),
        lost_points=lost,
    )


def _round_trip(encoder: encode.Encoder) -> tuple[np.ndarray, int]:
    """The ids of every code point, each a text by itself, and how many do not come back."""
    points = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    ids, ends = encoder.encode(pa.array(points, pa.string()))
    tokens = encoder.tokens()
    parts = [tokens[number] for number in ids.tolist()]
    lost = sum(
        b"".join(parts[start:end]) != point.encode()
        for point, start, end in zip(points, ends[:-1].tolist(), ends[1:].tolist(), strict=True)
    )
    return ids, lost


def _usage(ids: np.ndarray, counts: np.ndarray, sizes: np.ndarray, vocab_size: int) -> np.ndarray:
    return np.bincount(ids, np.repeat(counts, sizes), vocab_size).astype(np.int64)


@kernel.compiled
def _are_words(data, bounds):
    """Whether each piece is a word: it does not begin with a separator, but for one space before others."""
    words = np.empty(len(bounds) - 1, np.bool_)
    for i in range(len(words)):
        start, end = bounds[i], bounds[i + 1]
        if data[start] == pieces.SPACE and start + 1 < end:
            start += 1
        words[i] = pieces.separator(data, start, end) == 0
    return words


@kernel.compiled
def _points_and_words(data, offsets, whitespace):
    """Code points, and runs of them without White_Space, over all documents."""
    points = words = 0
    for document in range(len(offsets) - 1):
        i, inside = offsets[document], False
        while i < offsets[document + 1]:
            point, width = utf8.decode(data, i)
            space = whitespace[point] if point < len(whitespace) else False
            words += not inside and not space
            inside = not space
            points += 1
            i += width
    return points, words


@functools.cache
def _whitespace() -> np.ndarray:
    table = np.zeros(max(spec.WHITESPACE) + 1, np.bool_)
    table[list(spec.WHITESPACE)] = True
    return table


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _is_utf8(token: bytes) -> bool:
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True
