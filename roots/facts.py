"""What is known of a set of documents, and of a run over a source: counts only.

Every value is a whole number, so the sum over shards is the same in any order and grouping. No text of a
document is ever kept here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from roots import languages, schema

RATIO_BINS = 20  # a measure between 0 and 1 is counted in bins of 1/20
DOUBLING = ("word_count", "perplexity")  # measures counted by powers of two, like lengths
NOT_MEASURED = "null"  # key of the documents that a measure has no value for
NOT_ASKED = "not_asked"  # key of the documents that no language model was asked about
OTHER_EXTENSION = "other"
UNREQUESTED_EXTENSIONS = (
    "c",
    "h",
)  # the original's collection asked for .C and .H only (programming_languages.csv)
WITNESSES_MAX = 10  # sources named as holding the surviving copy of a removed duplicate

Counts = Mapping[str, int]

# RE2: the letters after the last dot of the value of "path"
_EXTENSION = r'"path"\s*:\s*"(?:[^"\\]|\\.)*\.(?P<extension>[A-Za-z0-9+]+)"'


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Facts of a set of documents. `a + b` are the facts of both sets, `Facts.zero()` those of none.

    text_bytes     bytes of UTF-8; code_points, characters
    lengths        documents by bit length of their bytes: "0" is empty, "k" holds 2**(k-1) to 2**k - 1 bytes
    lang_labels    documents by label, "not_asked" where no model was asked; empty before annotation
    extensions     documents of code by file extension, "other" for one that no programming language claims
    measures       measure -> documents by bin: "0" to "19" for a ratio, bit length for a count, "null"
    pii_documents  documents with at least one redacted span; pii_spans, spans; pii_tags, spans by tag
    """

    documents: int = 0
    text_bytes: int = 0
    code_points: int = 0
    pii_documents: int = 0
    pii_spans: int = 0
    lengths: Counts = dataclasses.field(default_factory=dict)
    lang_labels: Counts = dataclasses.field(default_factory=dict)
    extensions: Counts = dataclasses.field(default_factory=dict)
    pii_tags: Counts = dataclasses.field(default_factory=dict)
    measures: Mapping[str, Counts] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in _numbers(self):
            if type(value) is not int or value < 0:
                raise ValueError(f"facts: {name} is {value!r}, expected a whole number of at least 0")
        if sum(self.lengths.values()) != self.documents:
            raise ValueError(
                f"facts: lengths count {sum(self.lengths.values())} documents, but there are {self.documents}"
            )
        if sum(self.pii_tags.values()) > self.pii_spans:  # fewer: parts whose tags were not told
            raise ValueError(
                f"facts: pii_tags count {sum(self.pii_tags.values())} spans, but there are {self.pii_spans}"
            )

    @classmethod
    def zero(cls) -> Self:
        return cls()

    @classmethod
    def of(cls, docs: pa.RecordBatch, pii_tags: Counts | None = None) -> Self:
        """The facts of a batch with the columns of any stage (`roots.schema`).

        pii_tags  spans by tag, which the batch does not hold
        raises    ValueError where pii_tags and the column `pii_count` do not count the same spans
        """
        names = set(docs.schema.names)
        sizes = pc.binary_length(docs["text"]).to_numpy(zero_copy_only=False)
        pii = docs["pii_count"].to_numpy(zero_copy_only=False) if "pii_count" in names else np.empty(0, np.int32)
        if pii_tags is not None and sum(pii_tags.values()) != pii.sum(dtype=np.int64):
            raise ValueError(
                f"facts: pii_tags count {sum(pii_tags.values())} spans, but column pii_count has {pii.sum()}"
            )
        return cls(
            documents=len(docs),
            text_bytes=int(sizes.sum(dtype=np.int64)),
            code_points=int(pc.sum(pc.utf8_length(docs["text"]), min_count=0).as_py()),
            pii_documents=int(np.count_nonzero(pii)),
            pii_spans=int(pii.sum(dtype=np.int64)),
            lengths=_tally(_bit_length(sizes)),
            lang_labels=_values(docs["lang_label"], NOT_ASKED) if "lang_label" in names else {},
            extensions=_extensions(docs) if {"language", "meta"} <= names else {},
            pii_tags=dict(pii_tags or {}),
            measures={name: _bins(name, docs[name]) for name in schema.MEASURES.names if name in names},
        )

    def __add__(self, other: Facts) -> Facts:
        mine, theirs = dataclasses.asdict(self), dataclasses.asdict(other)
        return Facts(**{name: _add(value, theirs[name]) for name, value in mine.items()})

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: str | Mapping[str, Any]) -> Self:
        """The inverse of `to_json`, from the object or its text.

        raises  ValueError for text that is no JSON object, an unknown key, a count that is none
        """
        return _build(cls, _load(value, "facts"))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StageCounts:
    """What a stage did to a source: documents in = kept + removed by reason + rejected by reason.

    removed   judged and dropped: reason -> documents; rejected, not readable as a document: reason -> records
    """

    name: str
    documents_in: int
    kept: int
    removed: Counts = dataclasses.field(default_factory=dict)
    rejected: Counts = dataclasses.field(default_factory=dict)
    text_bytes_in: int = 0
    text_bytes_kept: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Duplicates:
    """Documents removed as duplicates of one that was kept.

    witnesses  source of the copy that was kept -> documents of this source removed for it; the ten
               largest, a tie goes to the smaller name
    """

    exact: int = 0
    near: int = 0
    witnesses: Counts = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, exact: int, near: int, witnesses: Counts) -> Self:
        """The same from the counts of all witnesses, of which the ten largest are kept."""
        top = sorted(witnesses.items(), key=lambda item: (-item[1], item[0]))[:WITNESSES_MAX]
        return cls(exact=exact, near=near, witnesses=dict(top))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SourceRun:
    """What one run tells of one source, in the order of its stages; refuses counts that do not conserve.

    source         name, as in the catalogue or the folder
    language       ROOTS code, None where the source states none
    stages         at least one; each takes in what the one before kept
    corpus         facts of the documents that the last stage kept
    steps          cleaning steps applied, in order
    language_note  how the language was judged where no model could, for example "passed on provenance: the
                   model does not know tw"; "" where a model judged it
    """

    source: str
    language: str | None
    stages: tuple[StageCounts, ...]
    corpus: Facts
    duplicates: Duplicates = dataclasses.field(default_factory=Duplicates)
    steps: tuple[str, ...] = ()
    language_note: str = ""

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError(f"run of {self.source}: no stage; a run has at least one")
        for stage, before in zip(self.stages, (None, *self.stages), strict=False):
            _conserve(self.source, stage, before)
        last, corpus = self.stages[-1], self.corpus
        if (last.kept, last.text_bytes_kept) != (corpus.documents, corpus.text_bytes):
            raise ValueError(
                f"run of {self.source}: stage {last.name} kept {last.kept} documents with "
                f"{last.text_bytes_kept} bytes, but the facts of the corpus count {corpus.documents} with "
                f"{corpus.text_bytes}"
            )
        removed = sum(self.removed.values())
        if self.duplicates.exact + self.duplicates.near > removed:
            raise ValueError(
                f"run of {self.source}: {self.duplicates.exact} exact and {self.duplicates.near} near "
                f"duplicates, but only {removed} documents were removed in all stages"
            )

    @property
    def documents_in(self) -> int:
        return self.stages[0].documents_in

    @property
    def removed(self) -> dict[str, int]:
        """Documents removed in all stages, by reason."""
        return sum_counts(stage.removed for stage in self.stages)

    @property
    def rejected(self) -> dict[str, int]:
        """Records rejected in all stages, by reason."""
        return sum_counts(stage.rejected for stage in self.stages)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; stages, steps and witnesses stay in their order."""
        document = dataclasses.asdict(self)
        document["duplicates"]["witnesses"] = list(self.duplicates.witnesses.items())
        return document

    @classmethod
    def from_json(cls, value: str | Mapping[str, Any]) -> Self:
        """The inverse of `to_json`; raises ValueError as that does, and for counts that do not conserve."""
        document = _load(value, "run")
        document["stages"] = tuple(_build(StageCounts, stage) for stage in document.get("stages", ()))
        document["corpus"] = _build(Facts, document.get("corpus", {}))
        duplicates = document.get("duplicates", {})
        document["duplicates"] = _build(Duplicates, {**duplicates, "witnesses": dict(duplicates.get("witnesses", ()))})
        document["steps"] = tuple(document.get("steps", ()))
        return _build(cls, document)


def dump(value: Facts | SourceRun) -> str:
    """JSON text, keys sorted, two spaces of indent: equal values give equal text."""
    return orjson.dumps(value.to_json(), option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2).decode() + "\n"


def size(k: int) -> str:
    """The smallest size in the bin of bit length k: `0`, `1 B`, `512 B`, `2 KiB`, `1 GiB`."""
    if k == 0:
        return "0"
    power, unit = divmod(k - 1, 10)
    return f"{2**unit} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def total(parts: Iterable[Facts]) -> Facts:
    """The facts of all parts together; those of no document where there is none."""
    return sum(parts, Facts.zero())


def sum_counts(parts: Iterable[Counts]) -> dict[str, int]:
    """The counts of all parts together, key by key."""
    together: dict[str, int] = {}
    for part in parts:
        together = _add(together, part)
    return together


def _conserve(source: str, stage: StageCounts, before: StageCounts | None) -> None:
    removed, rejected = sum(stage.removed.values()), sum(stage.rejected.values())
    if any(value < 0 for _, value in _numbers(stage)):
        raise ValueError(f"run of {source}, stage {stage.name}: a count is negative: {stage}")
    if stage.documents_in != stage.kept + removed + rejected:
        raise ValueError(
            f"run of {source}, stage {stage.name}: {stage.documents_in} documents in, but "
            f"{stage.kept} kept + {removed} removed + {rejected} rejected = {stage.kept + removed + rejected}"
        )
    if before is not None and stage.documents_in != before.kept:
        raise ValueError(
            f"run of {source}: stage {before.name} kept {before.kept} documents, "
            f"but stage {stage.name} took in {stage.documents_in}"
        )


def _bit_length(values: np.ndarray) -> np.ndarray:
    """Bit length of each whole part, 0 for values below 1; exact, because a float64's exponent is."""
    return np.frexp(np.floor(values.astype(np.float64)))[1].astype(np.int64)


def _tally(bins: np.ndarray) -> dict[str, int]:
    counts = np.bincount(bins) if len(bins) else np.empty(0, np.int64)
    return {str(i): int(counts[i]) for i in np.flatnonzero(counts)}


def _values(column: pa.Array, null_key: str) -> dict[str, int]:
    counted = pc.value_counts(column)
    return {
        null_key if value is None else value: count
        for value, count in zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True)
    }


def _bins(name: str, column: pa.Array) -> dict[str, int]:
    values = pc.fill_null(pc.cast(column, pa.float64()), float("nan")).to_numpy(zero_copy_only=False)
    measured = values[np.isfinite(values)]
    if name in DOUBLING:
        bins = _bit_length(np.maximum(measured, 0))
    else:
        scaled = measured.astype(np.float32) * np.float32(RATIO_BINS)  # in float32, 0.9 stays in the bin of 0.9
        bins = np.clip(np.floor(scaled), 0, RATIO_BINS - 1).astype(np.int64)
    unmeasured = len(values) - len(measured)
    return _tally(bins) | ({NOT_MEASURED: unmeasured} if unmeasured else {})


def _extensions(docs: pa.RecordBatch) -> dict[str, int]:
    code = docs["meta"].filter(pc.equal(docs["language"], "code"))
    if not len(code):
        return {}
    found = pc.struct_field(pc.extract_regex(code, pattern=_EXTENSION), "extension")
    claimed = [extension for language in languages.programming() for extension, _ in language.files]
    known = pa.array([*claimed, *UNREQUESTED_EXTENSIONS])
    return _values(pc.if_else(pc.is_in(found, value_set=known), found, OTHER_EXTENSION), OTHER_EXTENSION)


def _add(mine: Any, theirs: Any) -> Any:
    if not isinstance(mine, Mapping):
        return mine + theirs
    together = dict(mine)
    for key, value in theirs.items():
        together[key] = _add(together[key], value) if key in together else value
    return together


def _numbers(value: Any, name: str = "") -> Iterable[tuple[str, Any]]:
    """Every count in a dataclass or nested mapping, with its dotted name; texts are left out."""
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(inner, f"{name}.{key}" if name else str(key))
    elif not isinstance(value, str):
        yield name, value


def _load(value: str | Mapping[str, Any], what: str) -> dict[str, Any]:
    try:
        document = orjson.loads(value) if isinstance(value, str) else value
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{what}: not JSON: {error}") from None
    if not isinstance(document, Mapping):
        raise ValueError(f"{what}: expected a JSON object, got {type(document).__name__}")
    return dict(document)


def _build(cls: type[Any], document: dict[str, Any]) -> Any:
    fields = {field.name for field in dataclasses.fields(cls)}
    unknown = sorted(set(document) - fields)
    if unknown:
        raise ValueError(f"{cls.__name__}: unknown key '{unknown[0]}'; known: {', '.join(sorted(fields))}")
    try:
        return cls(**document)
    except TypeError as error:
        raise ValueError(f"{cls.__name__}: {error}") from None
