"""The 498 sources of ROOTS, and the sources that a user brings as folders.

Facts, and who states them, are kept apart from what is only inferred. Where the table comes from, and what
its columns mean: roots/tables/README.md.
"""

from __future__ import annotations

import csv
import dataclasses
import difflib
import functools
import io
import re
from collections.abc import Collection
from importlib import resources
from typing import Any

from roots import languages

# name -> number of sources; data-preparation, analysis/document-sizes/slurm-scrips/count_len_doc.slurm
KINDS = {"catalogue": 337, "pseudo_crawl": 147, "oscar": 13, "github_code": 1}
SUB_KINDS = (
    "wikimedia",
    "nigercongo_aggregated",
    "indo4b_component",
    "the_pile_component",
    "stackexchange",
    "s2orc",
)
ACCURACIES = ("exact", "rounded", "estimated")
AUTHORITIES = ("hub_tag", "hub_text", "metadata_analysis", "source_sheet")
PII_REDACTIONS = ("listed", "unclear", "none_seen")

HUB_ORGANISATION = "bigscience-data"
FOLDER_NAME = re.compile(r"(?:cleaned_)?lm_(?P<language>[^_]+)_(?P<origin>.+)")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One row of sources.csv; "" or None where the fact is not known. Columns: roots/tables/README.md."""

    name: str
    published_name: str
    published_name_status: str
    language: str
    kind: str
    sub_kind: str
    hub_dataset: str
    title: str
    homepage: str
    raw_bytes: int | None
    raw_bytes_accuracy: str
    raw_documents: int | None
    final_documents_rounded: int | None
    licence: str
    licence_words: str
    licence_authority: str
    licence_disagreeing: str
    licence_disagreeing_authority: str
    licence_inferred: str
    licence_inferred_because: str
    sheet_entry: str
    steps: tuple[str, ...]
    pii_redaction: str
    seed_id: int | None
    tokenizer_ratio: float | None
    training_sampling_ratio: float
    notes: str
    fact_sources: tuple[str, ...]

    @property
    def published_dataset(self) -> str:
        """The data set on the hub that holds the source as published; behind a gate."""
        return f"{HUB_ORGANISATION}/{self.published_name}"

    @property
    def licences(self) -> tuple[str, ...]:
        """The identifiers stated, `unknown` alone where nothing is; never what is only inferred."""
        return tuple(self.licence.split()) or ("unknown",)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FolderSource:
    """A source that a user brought: a name, and as much as the recipe or its manifest says of it.

    language  ROOTS code, None where it is not stated
    licence   as stated, an identifier or words, "" where nothing was; licence_authority says by whom
    origin    what the documents are and where they come from, in one or two sentences
    """

    name: str
    language: str | None = None
    title: str = ""
    homepage: str = ""
    licence: str = ""
    licence_words: str = ""
    licence_authority: str = ""
    origin: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """A cleaning step of the original: its name, whether it maps, filters or deduplicates, and its effect."""

    name: str
    kind: str
    effect: str


@dataclasses.dataclass(frozen=True, slots=True)
class FactSource:
    """A public file that facts were read from, at the commit that was read."""

    key: str
    repository: str
    commit: str
    path: str
    what: str

    @property
    def url(self) -> str:
        return f"https://github.com/{self.repository}/blob/{self.commit}/{self.path}"


@functools.cache
def load() -> tuple[Source, ...]:
    """The 498 sources by name; read and validated once."""
    return parse(_text("sources.csv"))


@functools.cache
def steps() -> dict[str, Step]:
    """Every cleaning step that some source names, by name."""
    return {row["name"]: Step(**row) for row in csv.DictReader(io.StringIO(_text("cleaning_steps.csv")))}


@functools.cache
def fact_sources() -> dict[str, FactSource]:
    """The public files behind the catalogue, by key; `hub_card` means a source's own card on the hub."""
    return {row["key"]: FactSource(**row) for row in csv.DictReader(io.StringIO(_text("fact_sources.csv")))}


def find(name: str) -> Source:
    """The source of a name (`lm_en_wikiquote_filtered`) or a published name (`roots_en_wikiquote`).

    raises  ValueError with the nearest name where there is none
    """
    known = _by_name()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else "`roots sources list` shows all names"
    raise ValueError(f"source '{name}' is not in sources.csv; {hint}")


def get(name: str) -> Source | None:
    """The source of a name or a published name, None where there is none."""
    return _by_name().get(name)


def select(
    names: Collection[str] = (),
    languages: Collection[str] = (),
    kinds: Collection[str] = (),
    licences: Collection[str] = (),
) -> tuple[Source, ...]:
    """The sources that meet every criterion given, in the table's order; an empty criterion asks nothing.

    languages  ROOTS or short codes
    licences   identifiers; a source with several meets each; `unknown` asks for those without a statement.
               An inferred licence never counts
    raises     ValueError with the nearest value for one that no source has
    """
    wanted_names = {find(name).name for name in names}
    wanted_languages = {_language(code) for code in languages}
    stated = sorted({licence for source in load() for licence in source.licences})
    for value, known, what in (
        *((k, KINDS, "kind") for k in kinds),
        *((x, stated, "licence") for x in licences),
    ):
        _known(value, known, what, "of sources.csv")
    return tuple(
        source
        for source in load()
        if (not names or source.name in wanted_names)
        and (not languages or source.language in wanted_languages)
        and (not kinds or source.kind in kinds)
        and (not licences or not set(licences).isdisjoint(source.licences))
    )


def from_folder_name(folder: str) -> str | None:
    """The ROOTS code that a folder's name states: `lm_indic-hi_wikisource` -> `indic-hi`.

    The language is the text between `lm_` and the next `_`, a ROOTS or a short code; `zh` and `zh-cn` are
    `zhs`, `zh-tw` is `zht`. None for a name of another form: the recipe has to say.
    raises  ValueError with the nearest code where the language is unknown
    source  data-preparation, 01a_catalogue_cleaning_and_filtering/clean_helpers/utils.py
    """
    match = FOLDER_NAME.fullmatch(folder)
    if match is None:
        return None
    code = languages.CHINESE.get(match["language"], match["language"])
    try:
        return languages.find(code).code
    except ValueError as error:
        raise ValueError(f"folder '{folder}': {error}") from None


def parse(text: str) -> tuple[Source, ...]:
    """The rows of a sources.csv.

    raises  ValueError that names line and column for a name that comes twice, a language, kind, step,
            authority or file that no table knows, a licence without an authority, a number that is none
    """
    rows = csv.DictReader(io.StringIO(text))
    parsed: list[Source] = []
    lines: dict[str, int] = {}
    for row in rows:
        where = f"sources.csv line {rows.line_num}"
        for name in (row["name"], row["published_name"]):
            if name in lines:
                raise ValueError(f"{where}: name '{name}' was already used in line {lines[name]}; names are unique")
            lines[name] = rows.line_num
        try:
            parsed.append(_source(row))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    return tuple(parsed)


def _source(row: dict[str, Any]) -> Source:
    if row["language"] not in languages.codes():
        raise ValueError(f"language '{row['language']}' is not in languages.csv{languages.hint(row['language'])}")
    _known(row["kind"], KINDS, "kind", "a kind of source")
    for column, known in (
        ("sub_kind", SUB_KINDS),
        ("raw_bytes_accuracy", ACCURACIES),
        ("licence_authority", AUTHORITIES),
        ("licence_disagreeing_authority", AUTHORITIES),
    ):
        if row[column]:
            _known(row[column], known, column, f"a {column}")
    _known(row["pii_redaction"], PII_REDACTIONS, "pii_redaction", "a pii_redaction")
    for step in row["steps"].split():
        _known(step, steps(), "step", "in cleaning_steps.csv")
    for key in row["fact_sources"].split():
        _known(key, [*fact_sources(), "hub_card"], "fact source", "in fact_sources.csv")
    for stated, by in (
        ("licence", "licence_authority"),
        ("licence_disagreeing", "licence_disagreeing_authority"),
        ("licence_inferred", "licence_inferred_because"),
        ("raw_bytes", "raw_bytes_accuracy"),
    ):
        if bool(row[stated]) != bool(row[by]):
            raise ValueError(f"{stated} is '{row[stated]}' and {by} is '{row[by]}'; a fact and its ground go together")
    return Source(**{**row, **_numbers(row)})


def _numbers(row: dict[str, str]) -> dict[str, Any]:
    whole = ("raw_bytes", "raw_documents", "final_documents_rounded", "seed_id")
    ratio = ("tokenizer_ratio", "training_sampling_ratio")
    values: dict[str, Any] = {}
    for column in (*whole, *ratio):
        try:
            parse_cell = int if column in whole else float
            optional = column != "training_sampling_ratio"
            values[column] = parse_cell(row[column]) if row[column] or not optional else None
        except ValueError:
            raise ValueError(f"{column} is '{row[column]}', expected a {'whole ' * (column in whole)}number") from None
    for column in ratio:
        value = values[column]
        if value is not None and not 0 < value <= 1:
            raise ValueError(f"{column} is {row[column]}, expected a share above 0 and at most 1")
    return {**values, **{column: tuple(row[column].split()) for column in ("steps", "fact_sources")}}


def _known(value: str, known: Collection[str], what: str, where: str) -> None:
    if value not in known:
        near = difflib.get_close_matches(value, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(sorted(known)[:12])}"
        raise ValueError(f"{what} '{value}' is not {where}; {hint}")


def _language(code: str) -> str:
    return languages.find(code).code


@functools.cache
def _by_name() -> dict[str, Source]:
    return {name: source for source in load() for name in (source.name, source.published_name)}


def _text(table: str) -> str:
    return (resources.files("roots.tables") / table).read_text(encoding="utf-8")
