"""Recipes: strict TOML into frozen dataclasses. Everything that changes the result of a run stands here.

A recipe may start from another (`base = "base.toml"`, beside it): its tables are laid over the base's, key by key.
An unknown key, a wrong type or an impossible number is an error that names the file, the line, the key and the
nearest valid name.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from pipelines import storage
from roots import clean, pii_rules, quality, shingles, substring

PACKAGE = "package:"  # a path inside the installed package, e.g. package:roots/models/langid.ftz


class RecipeError(ValueError):
    """The recipe is not valid; the message says where and what would be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How the work is cut. Sizes here decide the shards, so they are part of the recipe."""

    task_bytes: int  # text that one task reads, about
    removed_sample: int  # removed documents kept for inspection, per task and reason


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """How one source is read, where it differs from the default of its format."""

    language: str = ""  # ROOTS code, needed where the name does not state it; mul: several, to be parted
    path: str = ""  # a folder or file outside `sources.folder`; python:stdlib is the interpreter's library
    format: str = ""  # jsonl, parquet, csv, tsv, warc, lines (a document a line), text (a document a file), pydoc
    glob: str = ""  # which files, e.g. *.py
    text: str = "text"  # column of the text
    id: str = ""  # column of the id; "" numbers the records
    metadata: tuple[str, ...] = ()  # columns that become `meta`; () takes `meta`, or else all other columns
    dataset: str = ""  # name of a data set on the Hugging Face hub, or a local folder of one
    config: str = ""
    split: str = "train"
    revision: str = ""  # commit of the hub's data set; "" asks the hub and records the answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Which documents come in: every sub-folder of a folder, or names of the catalogue."""

    folder: str = ""  # every sub-folder is a source, named like it
    names: tuple[str, ...] = ()  # only these; without a folder: names of the catalogue
    languages: tuple[str, ...] = ()  # only these, ROOTS codes
    kinds: tuple[str, ...] = ()  # only these kinds of the catalogue
    extra: tuple[str, ...] = ()  # names in `options` that have a path or a data set of their own
    options: dict[str, SourceOptions] = field(default_factory=dict)  # by source name, or a pattern with *


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingest:
    """How much damage is borne before the stage fails."""

    record_bytes_max: int  # a larger record is rejected
    rejected_share_max: float  # of the records of a source
    damaged_files_max: int  # files of a source that end early or cannot be read


@dataclass(frozen=True, slots=True, kw_only=True)
class Clean:
    """The ordered cleaning steps of each source."""

    catalogue: bool = True  # a source of the catalogue has the steps that stand there, unless its name is in `steps`
    steps: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by source name or pattern; first match counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """The model that identifies languages. Without one, every document passes on its source's word."""

    model: str = ""
    sha256: str = ""
    untrusted: tuple[str, ...] = ()  # short codes that the model knows too badly: their sources pass on provenance
    wrong_score_min: float = 1.0  # a label other than the source's removes a document at this score or above


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """How the documents of a language are measured; roots.quality.Parameters says what the values mean."""

    char_ngram: int
    word_ngram: int
    augmentation: str | None = None
    words_by_code_point: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Perplexity:
    """The two model files by which the perplexity of a language is measured (extra: perplexity)."""

    kenlm: str
    sentencepiece: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How documents are measured, and which are held to which limits."""

    sources: tuple[str, ...] = ("*",)  # the sources (or patterns) that are held to the limits; all are measured
    measures: dict[str, Measures] = field(default_factory=dict)  # language, or "default"
    flagged_words: dict[str, str] = field(default_factory=dict)  # language -> a file, a word a line
    perplexity: dict[str, Perplexity] = field(default_factory=dict)  # language -> models; none is shipped
    limits: dict[str, quality.Limits] = field(default_factory=dict)  # language -> limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Shingles:
    """What the documents of one language are compared by."""

    unit: str
    ngram: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SimHash:
    """The original's near duplicates; roots.simhash."""

    distance_max: int  # bits of 64 in which near documents may differ
    blocks: int  # of bits, by which they are searched; more than distance_max


@dataclass(frozen=True, slots=True, kw_only=True)
class Substring:
    """Text that stands elsewhere already, within what stays of the documents; roots.substring."""

    action: str  # off; mark: report the spans; cut: and take them out of the corpus
    bytes_min: int  # UTF-8 bytes that must agree
    across_sources: bool  # or within each source alone
    sources: tuple[str, ...] = ("*",)  # the sources (or patterns) that are looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Dedup:
    """Duplicates over all sources, and which of them stays."""

    exact: bool
    near: bool
    method: str  # of near duplicates: minhash, or simhash as the original
    num_perm: int  # values of a MinHash signature
    seed: int
    unit: str  # of a shingle; roots.shingles says what the units are
    ngram: int  # tokens of a shingle
    threshold: float  # true Jaccard at which two documents are near duplicates
    recall_min: float  # share of pairs at the threshold that the bands must find
    bucket_max: int  # documents of a bucket that are compared all with all
    survivor: tuple[str, ...]  # what decides which duplicate stays, in order: priority, length (longest); then the id
    removed_share_max: float  # of a source's documents; where more are duplicates the run stops
    guarded_documents_min: int  # sources of fewer documents are not held to removed_share_max
    simhash: SimHash
    substring: Substring
    after: str = "annotate"  # the stage whose documents are compared; documents: as they were ingested, for the tool
    priority: tuple[str, ...] = ()  # sources (or patterns) whose copies stay before the others'
    shingles: dict[str, Shingles] = field(default_factory=dict)  # of languages that have others


@dataclass(frozen=True, slots=True, kw_only=True)
class Redact:
    """Which personal data are replaced; roots.pii says what the presets and tags mean."""

    preset: str
    tags: tuple[str, ...]  # in prose
    code_tags: tuple[str, ...]  # in the language "code"
    stdnum: tuple[str, ...]  # modules of python-stdnum for further national identifiers; wants the extra `stdnum`
    key_file: str  # a secret of 16 to 64 bytes for the digests of what was replaced; "" = none are written
    pseudonyms: bool  # replace by PI:EMAIL:kdmf..., the same for the same value under the same key


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer:
    """What the tokenizer is learned from, how far, and how it is judged."""

    vocab_size: int
    min_frequency: int
    max_token_length: int  # bytes; 0 = no limit
    special_collisions: str  # refuse or allow merges that spell a special token; allow is what Hugging Face does
    sample_bytes_max: int  # text of the corpus that the tokenizer sees
    alpha: float  # a language weighs its size to this power
    language_bytes_total: int  # sizes of languages are cut, the largest first, to this sum before they are weighed
    held_out_ratio: float  # of the sample's documents, which are judged by and not learned from
    dedup_lines: bool  # lines that came before anywhere in the sample are dropped, but those of code
    seed: int  # of the choice of documents
    baseline_vocab_size: int  # of the monolingual tokenizer that each language is compared with
    parallel: str = ""  # sources (or a pattern) whose documents are translations of each other
    parallel_key: str = ""  # regular expression on a document's `meta.path`; its group is the same in all languages
    file: str = ""  # a tokenizer.json to use instead of learning one
    end_of_document: str = "</s>"  # the token that ends a document in a shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Shards:
    """The mix file beside the shards."""

    train_ratio: float  # of each shard's documents, the first ones; the others are held out of training


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A whole run. Each stage depends on its own table and on nothing else."""

    name: str
    about: str = ""
    run: Run
    sources: Sources
    ingest: Ingest
    clean: Clean
    language: Language
    quality: Quality
    dedup: Dedup
    redact: Redact
    tokenizer: Tokenizer
    shards: Shards


def load(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a file, with `table.key=value` overrides laid over it and checked like it.

    path  a file, or the name of a shipped recipe (sample.toml, folder.toml, roots.toml)
    """
    file = find(path)
    table = _read(file)
    for override in overrides:
        _override(table, override)
    _anchor(table, Path.cwd())
    try:
        recipe = _build(Recipe, table, (), file)
    except RecipeError as error:
        shipped = f" (overrides: {', '.join(overrides)})" if overrides else ""
        raise RecipeError(f"{error}{shipped}") from None
    _check(recipe, file)
    return recipe


def find(path: Path) -> Path:
    """A recipe's file: as given, or shipped under that name."""
    if path.is_file():
        return path
    shipped = Path(str(resources.files("pipelines.recipes")))
    for name in (path.name, f"{path.name}.toml"):
        if len(path.parts) == 1 and (shipped / name).is_file():
            return shipped / name
    names = sorted(file.name for file in shipped.glob("*.toml"))
    raise RecipeError(f"{path}: no such recipe; give a file, or one of the shipped {', '.join(names)}")


def local_path(text: str) -> Path:
    """A path of a recipe on this machine: `package:` paths point into the installed package."""
    if text.startswith(PACKAGE):
        package, _, rest = text.removeprefix(PACKAGE).partition("/")
        return Path(str(resources.files(package))) / rest
    return Path(text)


def place(text: str) -> storage.Place:
    """A path of a recipe: a URL of a store, or a path on this machine."""
    return local_path(text) if text.startswith(PACKAGE) else storage.at(text)


def dump(recipe: Recipe) -> str:
    """The recipe as TOML that `load` reads back to an equal recipe, with no base."""
    lines: list[str] = []
    _dump(recipe, (), lines)
    return "\n".join(lines).strip() + "\n"


def settings(part: object) -> Any:
    """A part of a recipe as JSON values, for a stage's key."""
    return dataclasses.asdict(part) if dataclasses.is_dataclass(part) and not isinstance(part, type) else part


def matching(patterns: Mapping[str, Any], name: str) -> Any | None:
    """The value of a name itself, or else of the first pattern with * that fits it; None if there is none."""
    if name in patterns:
        return patterns[name]
    for pattern, value in patterns.items():
        if "*" in pattern and re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name):
            return value
    return None


def _read(file: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: not valid TOML: {error}") from error
    _anchor(table, file.parent)
    base = table.pop("base", None)
    if base is None:
        return table
    beside = file.parent / base
    return _overlay(_read(beside if beside.is_file() else find(Path(base))), table)


def _anchor(table: dict[str, Any], folder: Path) -> None:
    """Make the paths of a recipe absolute: those in a file are relative to its folder."""
    sources = table.get("sources")
    options = sources.get("options") if isinstance(sources, dict) else None
    places = [(sources, "folder"), (table.get("language"), "model"), (table.get("tokenizer"), "file")]
    places += [(table.get("redact"), "key_file")]
    places += [(part, "path") for part in options.values()] if isinstance(options, dict) else []
    judged = table.get("quality")
    listed, models = (judged.get(key) if isinstance(judged, dict) else None for key in ("flagged_words", "perplexity"))
    places += [(listed, language) for language in listed] if isinstance(listed, dict) else []
    places += [(pair, key) for pair in models.values() for key in pair] if isinstance(models, dict) else []
    for part, key in places:
        value = part.get(key) if isinstance(part, dict) else None
        if isinstance(part, dict) and isinstance(value, str) and value and ":" not in value:
            part[key] = str((folder / value).resolve())


def _overlay(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _overlay(merged[key], value) if both else value
    return merged


def _override(table: dict[str, Any], text: str) -> None:
    name, equals, value = text.partition("=")
    if not equals:
        raise RecipeError(f"--set {text}: expected TABLE.KEY=VALUE, e.g. --set sources.folder=DIR")
    *path, key = name.strip().split(".")
    for part in path:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise RecipeError(f"--set {text}: {part} is not a table of the recipe")
    try:
        table[key] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        table[key] = value  # plain words need no quotes on the command line


def _build(kind: Any, value: Any, path: tuple[str, ...], file: Path) -> Any:
    """`value` as `kind`, or a RecipeError that says where it stands."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _build(next(a for a in arguments if a is not type(None)), value, path, file)
    if dataclasses.is_dataclass(kind):
        return _build_table(typing.cast(type, kind), value, path, file)
    if origin is dict:
        _expect(dict, value, path, file)
        return {key: _build(arguments[1], item, (*path, key), file) for key, item in value.items()}
    if origin is tuple:
        _expect(list, value, path, file)
        return tuple(_build(arguments[0], item, path, file) for item in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    _expect(kind, value, path, file)
    return value


def _build_table(kind: type, value: Any, path: tuple[str, ...], file: Path) -> Any:
    _expect(dict, value, path, file)
    hints = typing.get_type_hints(kind)
    for key in value:
        if key not in hints:
            near = difflib.get_close_matches(key, hints, 1, 0.5)
            instead = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(hints)}"
            raise RecipeError(f"{_place((*path, key), file)}: unknown key; {instead}")
    required = {
        f.name
        for f in dataclasses.fields(kind)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    if missing := sorted(required - value.keys()):
        raise RecipeError(f"{_place(path, file)}: {', '.join(missing)} is missing; set it, or start from a base recipe")
    return kind(**{key: _build(hints[key], item, (*path, key), file) for key, item in value.items()})


def _expect(kind: type, value: Any, path: tuple[str, ...], file: Path) -> None:
    if type(value) is not kind:
        names = {
            dict: "a table",
            list: "a list",
            str: "a string",
            int: "a whole number",
            bool: "true or false",
        }
        raise RecipeError(
            f"{_place(path, file)}: expected {names.get(kind, 'a number')}, got {value!r} ({type(value).__name__})"
        )


def _place(path: tuple[str, ...], file: Path) -> str:
    """`file line n: table.key`; without the line where the key stands in the base or on the command line."""
    line = _line(path, file.read_text(encoding="utf-8").splitlines())
    return f"{file}{f' line {line}' if line else ''}: {'.'.join(path) or 'the recipe'}"


def _line(path: tuple[str, ...], lines: list[str]) -> int | None:
    table: list[str] = []
    for number, line in enumerate(lines, 1):
        if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line):
            table = [quoted or bare for quoted, bare in re.findall(r'"([^"]*)"|([\w*-]+)', header[1])]
            if tuple(table) == path:
                return number
        elif (key := re.match(r'\s*(?:"([^"]+)"|([\w-]+))\s*=', line)) and (*table, key[1] or key[2]) == path:
            return number
    return None


def _check(recipe: Recipe, file: Path) -> None:
    """Numbers that no run could use."""
    rules = (
        (("run", "task_bytes"), recipe.run.task_bytes >= 1, "at least 1"),
        (("run", "removed_sample"), recipe.run.removed_sample >= 0, "at least 0"),
        (
            ("ingest", "record_bytes_max"),
            1 <= recipe.ingest.record_bytes_max <= 2**30,
            "from 1 to 1,073,741,824",
        ),
        (("ingest", "rejected_share_max"), 0 <= recipe.ingest.rejected_share_max <= 1, "from 0 to 1"),
        (("ingest", "damaged_files_max"), recipe.ingest.damaged_files_max >= 0, "at least 0"),
        (("dedup", "threshold"), 0 < recipe.dedup.threshold <= 1, "above 0, at most 1"),
        (("dedup", "after"), recipe.dedup.after in ("annotate", "documents"), "annotate or documents"),
        (("dedup", "method"), recipe.dedup.method in ("minhash", "simhash"), "minhash or simhash"),
        (
            ("dedup", "simhash"),
            0 <= recipe.dedup.simhash.distance_max < recipe.dedup.simhash.blocks <= 16,
            "of distance_max below blocks, and at most 16 blocks",
        ),
        (
            ("dedup", "substring"),
            recipe.dedup.substring.action in ("off", "mark", "cut")
            and recipe.dedup.substring.bytes_min >= substring.GRAM,
            f"of the action off, mark or cut, and bytes_min of at least {substring.GRAM}",
        ),
        (("dedup", "unit"), recipe.dedup.unit in shingles.UNITS, f"one of {', '.join(shingles.UNITS)}"),
        (("dedup", "ngram"), recipe.dedup.ngram >= 1, "at least 1"),
        (
            ("dedup", "shingles"),
            all(of.unit in shingles.UNITS and of.ngram >= 1 for of in recipe.dedup.shingles.values()),
            f"of units {', '.join(shingles.UNITS)} and ngrams of at least 1",
        ),
        (("dedup", "survivor"), {*recipe.dedup.survivor} <= {"priority", "length"}, "of 'priority' and 'length'"),
        (("dedup", "removed_share_max"), 0 <= recipe.dedup.removed_share_max <= 1, "from 0 to 1"),
        (("dedup", "num_perm"), 2 <= recipe.dedup.num_perm <= 1024, "from 2 to 1,024"),
        (("redact", "tags"), {*recipe.redact.tags} <= {*pii_rules.TAGS}, f"of {', '.join(pii_rules.TAGS)}"),
        (("redact", "code_tags"), {*recipe.redact.code_tags} <= {*pii_rules.TAGS}, f"of {', '.join(pii_rules.TAGS)}"),
        (("redact", "preset"), recipe.redact.preset in pii_rules.PRESETS, f"one of {', '.join(pii_rules.PRESETS)}"),
        (
            ("redact", "pseudonyms"),
            not recipe.redact.pseudonyms or bool(recipe.redact.key_file),
            "false where redact.key_file is empty: who has no key could compute them",
        ),
        (
            ("tokenizer", "vocab_size"),
            recipe.tokenizer.vocab_size >= 260,
            "at least 260 (4 specials, 256 bytes)",
        ),
        (("tokenizer", "baseline_vocab_size"), recipe.tokenizer.baseline_vocab_size >= 260, "at least 260"),
        (
            ("tokenizer", "special_collisions"),
            recipe.tokenizer.special_collisions in ("refuse", "allow"),
            "refuse or allow",
        ),
        (("tokenizer", "alpha"), 0 <= recipe.tokenizer.alpha <= 1, "from 0 to 1"),
        (("tokenizer", "language_bytes_total"), recipe.tokenizer.language_bytes_total >= 1, "at least 1"),
        (("tokenizer", "sample_bytes_max"), recipe.tokenizer.sample_bytes_max >= 0, "at least 0"),
        (("tokenizer", "held_out_ratio"), 0 <= recipe.tokenizer.held_out_ratio < 1, "from 0 to below 1"),
        (("shards", "train_ratio"), 0 < recipe.shards.train_ratio < 1, "between 0 and 1"),
        (("quality", "measures"), "default" in recipe.quality.measures, "given for 'default' too"),
        (
            ("language", "sha256"),
            not recipe.language.model or recipe.language.sha256,
            "set where a model is named",
        ),
    )
    for path, holds, wanted in rules:
        if not holds:
            value = getattr(getattr(recipe, path[0]), path[1])
            raise RecipeError(f"{_place(path, file)}: must be {wanted}, got {value!r}")
    for source, names in recipe.clean.steps.items():
        try:
            clean.parse(names)
        except ValueError as error:
            raise RecipeError(f"{_place(('clean', 'steps', source), file)}: {error}") from error
    sources = recipe.sources
    if not sources.folder and not sources.names and not sources.extra and not (sources.languages or sources.kinds):
        raise RecipeError(
            f"{_place(('sources',), file)}: names no documents; set sources.folder (--set sources.folder=DIR), "
            "sources.names, sources.languages or sources.kinds"
        )


def _dump(table: Any, path: tuple[str, ...], lines: list[str]) -> None:
    items = (
        dict(table) if isinstance(table, dict) else {f.name: getattr(table, f.name) for f in dataclasses.fields(table)}
    )
    plain = {
        k: v for k, v in items.items() if v is not None and not isinstance(v, dict) and not dataclasses.is_dataclass(v)
    }
    if path and (plain or not items):
        lines += ["", "[" + ".".join(_key(part) for part in path) + "]"]
    lines += [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    for key, value in items.items():
        if isinstance(value, dict) or dataclasses.is_dataclass(value):
            _dump(value, (*path, key), lines)


def _key(text: str) -> str:
    return text if re.fullmatch(r"[\w-]+", text, re.ASCII) else _value(text)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
        return f'"{escaped}"'
    return repr(value)
