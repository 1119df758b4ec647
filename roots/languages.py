"""The 46 natural and 13 programming languages of ROOTS: codes, names, published sizes.

A ROOTS code carries a family prefix (`indic-hi`, `nigercongo-sw`), a short code does not (`hi`, `sw`). To the
corpus all code is one language, `code`. Where the figures come from: roots/tables/README.md.
"""

from __future__ import annotations

import csv
import dataclasses
import difflib
import functools
import io
import re
from decimal import Decimal, InvalidOperation
from importlib import resources
from typing import Any

NATURAL_COUNT = 46  # summary of arXiv 2211.05100; Simplified and Traditional Chinese count as two
PROGRAMMING_COUNT = 13  # the same
PUBLISHED_BYTES = 1_614_479_114_961  # sum of the 46 rows and of code in Table 1 of arXiv 2211.05100

SEVERAL = "mul"  # of a source that is to be parted by language first: ISO 639-2, several languages

# `zh` names as data-preparation cleans them (clean_helpers/utils.py); any other `zh*` is an error there
CHINESE = {"zh": "zhs", "zh-cn": "zhs", "zhs": "zhs", "zh-tw": "zht", "zht": "zht"}

PATTERNS = {
    "code": r"(indic-|nigercongo-)?[a-z]{2,4}",
    "iso639_3": r"([a-z]{3})?",
    "bcp47": r"([a-z]{2,3}(-[A-Z][a-z]{3})?)?",
    "script": r"([A-Z][a-z]{3})?",
    "oscar": "yes|no",
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Language:
    """One row of languages.csv; None or "" where nothing is published.

    code                ROOTS code; short_code the same without its family prefix
    iso639_3            None for the two Chinese rows, as published
    script              ISO 15924
    published_bytes     UTF-8 bytes of text in the published corpus
    model_card_percent  share printed on the model card, for Niger-Congo and Indic languages only
    readme_percent      share printed in the training README of the 176B model
    lid176_label        label of fastText's lid.176, None where that model does not know the language
    oscar               a part of OSCAR is in the corpus
    """

    code: str
    short_code: str
    iso639_3: str | None
    bcp47: str | None
    english_name: str
    native_name: str
    genus: str
    family: str
    macroarea: str
    script: str | None
    published_bytes: int
    model_card_percent: Decimal | None
    readme_percent: Decimal | None
    lid176_label: str | None
    oscar: bool
    published_sources: int
    note: str

    @property
    def lid176_covers(self) -> bool:
        """Whether fastText's lid.176 has a label for the language; one label serves both Chinese rows."""
        return self.lid176_label is not None

    @property
    def group(self) -> str:
        """`indic`, `nigercongo`, or "" for a code without a prefix. Indic holds Dravidian languages too."""
        return self.code.rpartition("-")[0]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ProgrammingLanguage:
    """A programming language with its published file count per extension, in published order, case kept."""

    name: str
    files: tuple[tuple[str, int], ...]
    note: str

    @property
    def published_files(self) -> int:
        return sum(count for _, count in self.files)


def load() -> tuple[Language, ...]:
    """The 46 natural languages, by English name as published; `code` is not among them (see `code`)."""
    return _table()[:-1]


def code() -> Language:
    """All programming languages as one language, the corpus' group `code`."""
    return _table()[-1]


def codes() -> tuple[str, ...]:
    """The 47 codes that the `language` column of a document may hold."""
    return tuple(language.code for language in _table())


@functools.cache
def programming() -> tuple[ProgrammingLanguage, ...]:
    """The 13 programming languages, by published file count of the first extension."""
    return parse_programming(_text("programming_languages.csv"))


def find(code: str) -> Language:
    """The language of a ROOTS code or a short code.

    raises  ValueError with the nearest code where there is none
    """
    try:
        return _by_code()[code]
    except KeyError:
        raise ValueError(f"language '{code}' is not in languages.csv{hint(code)}") from None


def short(code: str) -> str:
    """The short code of a ROOTS code: `indic-hi` -> `hi`; raises ValueError for an unknown code."""
    return find(code).short_code


def nearest(code: str) -> str | None:
    """The ROOTS code that `code` most likely means, None where nothing is near; the smallest code on a tie.

    Codes, short codes, BCP-47 tags, ISO 639-3 codes and English names count.
    """
    wanted = code.lower()
    if wanted in CHINESE:
        return CHINESE[wanted]
    scores = {
        language.code: max(
            difflib.SequenceMatcher(None, wanted, name.lower()).ratio()
            for name in (
                language.code,
                language.short_code,
                language.bcp47,
                language.iso639_3,
                language.english_name,
            )
            if name
        )
        for language in _table()
    }
    best = min(scores, key=lambda known: (-scores[known], known))
    return best if scores[best] >= 0.6 else None


def hint(code: str) -> str:
    """The end of an error about `code`: `; did you mean 'zhs'?`, or where to look."""
    found = nearest(code)
    return f"; did you mean '{found}'?" if found else "; `roots sources list` shows the languages of all sources"


def parse(text: str) -> tuple[Language, ...]:
    """The rows of a languages.csv.

    raises  ValueError that names line and column for a wrong code or number, or a code that comes twice
    """
    rows = csv.DictReader(io.StringIO(text))
    seen: dict[str, int] = {}
    parsed = []
    for row in rows:
        where = f"languages.csv line {rows.line_num}"
        language = _language(row, where)
        for name in {language.code, language.short_code}:
            if name in seen:
                raise ValueError(f"{where}: code '{name}' was already used in line {seen[name]}; codes are unique")
            seen[name] = rows.line_num
        parsed.append(language)
    return tuple(parsed)


def parse_programming(text: str) -> tuple[ProgrammingLanguage, ...]:
    """The rows of a programming_languages.csv; raises ValueError that names the line of a malformed count."""
    rows = csv.DictReader(io.StringIO(text))
    parsed = []
    for row in rows:
        counts = [re.fullmatch(r"([A-Za-z0-9+]+)=([0-9]+)", part) for part in row["files_by_extension"].split()]
        if not counts or None in counts:
            raise ValueError(
                f"programming_languages.csv line {rows.line_num}: files_by_extension is "
                f"'{row['files_by_extension']}', expected 'extension=files' parts separated by spaces"
            )
        files = tuple((match[1], int(match[2])) for match in counts if match)
        parsed.append(ProgrammingLanguage(name=row["name"], files=files, note=row["note"]))
    return tuple(parsed)


def _language(row: dict[str, Any], where: str) -> Language:
    for column, pattern in PATTERNS.items():
        if not re.fullmatch(pattern, row[column]):
            raise ValueError(f"{where}: {column} '{row[column]}' does not have the form {pattern}")
    if row["short_code"] != row["code"].rpartition("-")[2]:
        raise ValueError(
            f"{where}: short_code '{row['short_code']}' is not code '{row['code']}' without its family prefix"
        )
    numbers = {
        "published_bytes": int,
        "published_sources": int,
        "model_card_percent": Decimal,
        "readme_percent": Decimal,
    }
    values = {column: _number(row, column, kind, where) for column, kind in numbers.items()}
    optional = {column: row[column] or None for column in ("iso639_3", "bcp47", "script", "lid176_label")}
    return Language(**{**row, **values, **optional, "oscar": row["oscar"] == "yes"})


def _number(row: dict[str, str], column: str, kind: type, where: str) -> int | Decimal | None:
    if kind is Decimal and not row[column]:
        return None
    try:
        return kind(row[column])
    except (ValueError, InvalidOperation):
        raise ValueError(f"{where}: {column} is '{row[column]}', expected a number") from None


@functools.cache
def _table() -> tuple[Language, ...]:
    return parse(_text("languages.csv"))


@functools.cache
def _by_code() -> dict[str, Language]:
    return {name: language for language in _table() for name in (language.code, language.short_code)}


def _text(table: str) -> str:
    return (resources.files("roots.tables") / table).read_text(encoding="utf-8")
