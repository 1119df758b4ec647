"""What a tokenizer does to text: how many tokens each language takes, and which tokens are of no use.

Bytes per token compare vocabularies on one text; tokens per word (fertility) is what BLOOM was judged by, and
says little where words are not set apart by spaces; tokens per code point compares scripts.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from roots import kernel, utf8
from tokenizer import encode, spec

ALL = "all"  # the row of all languages together
LONGEST_TOKENS = 20  # how many the report shows


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """The counts of one language. Words are runs between White_Space; end-of-document tokens do not count."""

    language: str
    documents: int
    bytes: int
    code_points: int
    words: int
    tokens: int

    @property
    def bytes_per_token(self) -> float:
        """nan where there is no token."""
        return _ratio(self.bytes, self.tokens)

    @property
    def tokens_per_word(self) -> float:
        """Fertility; nan where there is no word."""
        return _ratio(self.tokens, self.words)

    @property
    def tokens_per_code_point(self) -> float:
        """nan where there is no code point."""
        return _ratio(self.tokens, self.code_points)


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """What the tokens of a vocabulary are, and which of them the measured text used."""

    size: int
    unused_ratio: float  # of the tokens that text can give, that is all but the special ones
    special_in_text: int  # ids 0 to 3 that text was encoded to; anything but 0 is a fault
    invalid_utf8_ratio: float  # tokens whose bytes are no whole characters, of all but the special ones
    longest: tuple[tuple[int, bytes], ...]  # id and bytes, longest first, of equal ones the smaller id


def rows(texts: Iterable[tuple[str, pa.StringArray]], encoder: encode.Encoder) -> tuple[list[Row], np.ndarray]:
    """Encode texts and count: a row per language, by name, then one for all; and how often each token came.

    texts   (language, [docs] utf8) in any order and any number of times per language
    returns rows; counts int64 [vocab_size]
    """
    counts = np.zeros(encoder.vocab_size, np.int64)
    totals: dict[str, np.ndarray] = {}
    for language, text in texts:
        ids, _ = encoder.encode(text)
        counts += np.bincount(ids, minlength=encoder.vocab_size)
        data, offsets = utf8.view(text)
        size, (points, words) = offsets[-1] - offsets[0], _points_and_words(data, offsets, _whitespace())
        sizes = [len(text), size, points, words, len(ids)]
        totals[language] = totals.get(language, np.zeros(5, np.int64)) + np.array(sizes, np.int64)
    every = sum(totals.values(), np.zeros(5, np.int64))
    return [_row(name, total) for name, total in [*sorted(totals.items()), (ALL, every)]], counts


def vocabulary(encoder: encode.Encoder, counts: np.ndarray) -> Vocabulary:
    """The facts of a vocabulary, of which each token came `counts` times: int64 [vocab_size], see `rows`."""
    special = len(spec.SPECIALS)
    tokens = encoder.tokens()
    ordered = sorted(range(special, len(tokens)), key=lambda n: (-len(tokens[n]), n))
    invalid = sum(not _is_utf8(token) for token in tokens[special:])
    return Vocabulary(
        size=len(tokens),
        unused_ratio=float(np.mean(counts[special:] == 0)),
        special_in_text=int(counts[:special].sum()),
        invalid_utf8_ratio=invalid / (len(tokens) - special),
        longest=tuple((n, tokens[n]) for n in ordered[:LONGEST_TOKENS]),
    )


def markdown(table: list[Row], facts: Vocabulary) -> str:
    """The report as a page."""
    lines = [
        "# Tokenizer report",
        "",
        "| language | documents | bytes | tokens | bytes/token | tokens/word | tokens/code point |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {row.language} | {row.documents:,} | {row.bytes:,} | {row.tokens:,} | "
            f"{row.bytes_per_token:.3f} | {row.tokens_per_word:.3f} | {row.tokens_per_code_point:.3f} |"
            for row in table
        ),
        "",
        f"- Vocabulary: {facts.size:,} tokens",
        f"- Not used by this text: {facts.unused_ratio:.1%}",
        f"- Not whole characters: {facts.invalid_utf8_ratio:.1%}",
        f"- Special ids (0 to 3) that text was encoded to: {facts.special_in_text:,}",
        "",
        "| id | bytes | longest tokens |",
        "| ---: | ---: | --- |",
        *(f"| {n} | {len(token)} | {_shown(token)} |" for n, token in facts.longest),
    ]
    return "\n".join(lines) + "\n"


def table_csv(table: list[Row]) -> str:
    """The rows as CSV, ratios with six decimals."""
    counts = [field.name for field in dataclasses.fields(Row)]
    ratios = ["bytes_per_token", "tokens_per_word", "tokens_per_code_point"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*counts, *ratios])
    for row in table:
        writer.writerow([getattr(row, n) for n in counts] + [f"{getattr(row, n):.6f}" for n in ratios])
    return out.getvalue()


def write(folder: Path, table: list[Row], facts: Vocabulary) -> None:
    """Write report.md and report.csv, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("report.csv", table_csv(table)), ("report.md", markdown(table, facts))):
        temporary = folder / f".{name}.tmp"
        temporary.write_text(text, encoding="utf-8", newline="")
        temporary.replace(folder / name)


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


def _whitespace() -> np.ndarray:
    table = np.zeros(max(spec.WHITESPACE) + 1, np.bool_)
    table[list(spec.WHITESPACE)] = True
    return table


def _row(language: str, total: np.ndarray) -> Row:
    documents, size, points, words, tokens = total.tolist()
    return Row(language=language, documents=documents, bytes=size, code_points=points, words=words, tokens=tokens)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _is_utf8(token: bytes) -> bool:
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True


def _shown(token: bytes) -> str:
    """A token in a table cell: escapes for what would break the row, cut after 60 characters."""
    text = token.decode("utf-8", "backslashreplace")
    visible = "".join(c if c.isprintable() and c not in "`|" else f"\\u{ord(c):04x}" for c in text)
    return f"`{visible[:60]}{'…' if len(visible) > 60 else ''}`"
