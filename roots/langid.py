"""Language identification with fastText: a checked model, labels as short codes, training and scoring.

A model is lid.176 of fasttext.cc, our own (roots/models), or any supervised fastText model whose labels are
short codes of languages.csv, codes of lid.176, or codes of further languages, which all become "other".
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
import pyarrow as pa

from roots import fasttext_kernels, fasttext_model, langid_text, languages, utf8

PREFIX = "__label__"
OTHER = "other"  # a language outside the 46, and outside code

# fastText's initialisation is cut into tenths, one a thread (densematrix.cc, uniformThread), and an eleventh piece of
# what the division by ten leaves over: with fewer threads part of the matrix stays as the memory was, and training
# ends in NaN, with 1, 2 or 4 of them often, with 10 of them now and then.
THREADS = 11
LINES_AT_A_TIME = 10_000  # of a file of labelled lines; bounds memory, does not change a result


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A fastText model whose digest was checked before it was read.

    labels   as in the file, without prefix;   covered  the short codes that they mean
    tables   for our own predictor; None where it cannot take the model (see fasttext_model.unsupported)
    fasttext the library's model, only where tables is None
    """

    path: Path
    sha256: str
    labels: tuple[str, ...]
    covered: frozenset[str]
    tables: fasttext_kernels.Tables | None
    fasttext: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How a model is trained, with fastText's names in brackets; the values are those of the model that we
    ship.

    dimensions (dim)      epochs (epoch)   learning_rate (lr)   seed of the first vectors (seed)
    chars_min, chars_max  length of the character n-grams (minn, maxn)
    word_count_min        a word seen less often is known by its n-grams only (minCount)
    buckets               into which n-grams are hashed (bucket)
    quantized             with 1 byte for the length of a vector (quantize, qnorm), and
    piece                 1 byte for every so many of its numbers (dsub)
    features_max          words and n-grams that quantization keeps (cutoff), 0 = all. A pruned model looks each
                          n-gram up in a hash map and is three times slower: fewer buckets are the better way to a
                          small one
    """

    dimensions: int = 32
    epochs: int = 8
    learning_rate: float = 0.5
    seed: int = 7
    chars_min: int = 1
    chars_max: int = 5
    word_count_min: int = 200
    buckets: int = 400_000
    quantized: bool = True
    piece: int = 4
    features_max: int = 0


@dataclass(frozen=True, slots=True)
class Score:
    """How well one language is found among labelled lines; a ratio over nothing is 0.0."""

    language: str
    lines: int
    precision: float
    recall: float
    f1: float


def load(path: Path | str, sha256: str) -> Model:
    """Reads a model after checking its digest, because fastText reads truncated and altered files without
    complaint.

    sha256  of the file, 64 hexadecimal digits
    raises  FileNotFoundError; ValueError for another digest, or a file that is no supervised fastText model
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"language model {path}: no such file; `roots langid train` makes one")
    found = digest(path)
    if found != sha256.lower():
        raise ValueError(
            f"language model {path}: expected sha256 {sha256}, got {found}; the file is truncated, "
            "altered or another model: fetch it again, or state the digest of the model that you mean"
        )
    try:
        file = fasttext_model.read(path)
    except ValueError as error:
        raise ValueError(f"language model {error} Give a .bin or .ftz file of fastText") from error
    if file.settings["model"] != fasttext_model.SUPERVISED:
        raise ValueError(f"language model {path}: expected a supervised model, got word vectors without labels")
    labels = tuple(label.removeprefix(PREFIX) for label in file.labels)
    codes = frozenset(code for label in labels for code in _meanings().get(label, ()))
    if fasttext_model.unsupported(file):
        return Model(path, found, labels, codes, None, library(path))
    return Model(path, found, labels, codes, fasttext_model.tables(file)._replace(groups=_groups(labels)), None)


def library(path: Path | str) -> Any:
    """The same model as the fasttext library reads it: for what our predictor cannot take, and to compare."""
    return fasttext.FastText._FastText(model_path=str(path))


def digest(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def covered(model: Model) -> frozenset[str]:
    """The short codes that `identify` can give with the model; both Chinese ones where its label is `zh`."""
    return model.covered


def identify(text: pa.StringArray, model: Model) -> tuple[pa.StringArray, pa.FloatArray]:
    """The language of each document, judged by at most `langid_text.SAMPLE_BYTES` of it.

    text    [docs] utf8, no nulls
    returns labels [docs]: a short code; "other" for a language outside the table; null for a text without
            letters. scores [docs] float32 in 0..1: the model's probability of its label (for "other" that of all
            the languages outside the table), 0.0 where the label is null. Where the language is not written in the
            script of the text (see `_contradicted`), the label is "other" and the score the share of letters in
            other scripts. Where the model says `zh`, it is zht if more letters are only traditional than only
            simplified, else zhs
    """
    shown, profile = langid_text.sample(text)
    numbers, scores = _predict(shown, model)
    codes, scores = _codes(_choices(model.labels)[numbers], scores, profile)
    silent = profile[:, : langid_text.LETTERS].sum(axis=1) == 0
    scores[silent] = 0
    return pa.array(_codes_in_order()).take(pa.array(codes, mask=silent)), pa.array(scores)


def _predict(shown: pa.StringArray, model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of labels, int [docs], -1 for none, and their probabilities, float32 [docs]."""
    if model.tables is not None:
        numbers, scores = fasttext_kernels.predict(*utf8.view(shown), model.tables)
    else:
        lines = [line + "\n" for line in shown.to_pylist()]
        found, given = model.fasttext.f.multilinePredict(lines, 1, 0.0, "strict")
        places = {PREFIX + label: number for number, label in enumerate(model.labels)}
        numbers = np.array([places[labels[0]] if labels else -1 for labels in found], np.int32)
        scores = np.array([p[0] if len(p) else 0.0 for p in given], np.float32)
    return numbers, np.minimum(scores, np.float32(1))  # fastText says up to 1.00001


def predict(documents: pa.RecordBatch, model: Model) -> pa.RecordBatch:
    """Columns id, language and score (see `identify`) of documents with the columns id and text."""
    labels, scores = identify(documents.column("text"), model)
    return pa.record_batch([documents.column("id"), labels, scores], names=["id", "language", "score"])


def train(lines: Iterable[tuple[str, str]], output: Path | str, options: Options) -> dict[str, Any]:
    """Trains a model on pairs of label and text, and writes it under its name only when it is complete.

    lines   label: short code, `zh` for both Chinese ones, or the code of a language that is to be told apart.
            The text is lower-cased and cut as `identify` does it
    returns path, sha256, bytes, lines, labels (their number), options: what a recipe and a report need
    raises  ValueError where there are fewer than two labels
    note    two runs differ in their last digits, so in their digest: fastText's threads share the matrix
    unlocked
    """
    output = Path(output)
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        examples = Path(folder) / "lines.txt"
        count, labels = _write_examples(lines, examples)
        if labels < 2:
            raise ValueError(f"langid.train: expected lines of at least two languages, got {labels} in {count} lines")
        made = Path(folder) / output.name
        _fit(examples, options).save_model(str(made))
        made.replace(output)
    return {
        "path": str(output),
        "sha256": digest(output),
        "bytes": output.stat().st_size,
        "lines": count,
        "labels": labels,
        "options": asdict(options),
    }


def train_file(paths: Iterable[Path | str], output: Path | str, options: Options) -> dict[str, Any]:
    """`train` on files of labelled lines, see `read_labelled`."""
    return train((pair for path in paths for pair in read_labelled(path)), output, options)


def read_labelled(path: Path | str) -> Iterator[tuple[str, str]]:
    """The pairs of language and text of a file `language<TAB>text`, a line each, plain or .gz; a text may
    hold tabs.

    raises  FileNotFoundError; ValueError that names the line without a tab or not in UTF-8
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"labelled lines {path}: no such file; give lines of language<TAB>text, plain or .gz")
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        for number, line in enumerate(io.BufferedReader(file), start=1):  # bytes: only \n and \r\n end a line
            try:
                language, tab, text = line.decode("utf-8").rstrip("\r\n").partition("\t")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path} line {number}: byte {error.start} is not UTF-8; save the file as UTF-8"
                ) from error
            if not tab or not language:
                raise ValueError(f"{path} line {number}: expected language<TAB>text, got {language[:40]!r}")
            yield language, text


def evaluate(model: Model, labelled: Iterable[tuple[str, str]]) -> list[Score]:
    """Scores of each language among labelled lines, by code; languages outside the table count as "other".

    labelled  pairs of language and text; a language of the table that the model does not cover has a recall
    of 0.0
    """
    pairs: Counter[tuple[str, str | None]] = Counter()
    for batch in _batched(labelled):
        expected = [gold if gold in _shorts() else OTHER for gold, _ in batch]
        labels, _ = identify(pa.array([text for _, text in batch], pa.string()), model)
        pairs.update(zip(expected, labels.to_pylist(), strict=True))
    given = Counter(got for (_, got), n in pairs.items() for _ in range(n))
    lines = Counter(gold for (gold, _), n in pairs.items() for _ in range(n))
    return [_score(code, lines[code], pairs[code, code], given[code]) for code in sorted(lines)]


def evaluate_file(model: Model, path: Path | str) -> list[Score]:
    """`evaluate` on a file of labelled lines, see `read_labelled`."""
    return evaluate(model, read_labelled(path))


def macro_f1(scores: list[Score]) -> float:
    """The mean F1 over languages, each the same weight, "other" among them; 0.0 for none."""
    return sum(score.f1 for score in scores) / max(len(scores), 1)


def _score(code: str, lines: int, right: int, given: int) -> Score:
    precision, recall = right / max(given, 1), right / lines
    return Score(code, lines, precision, recall, 2 * right / (given + lines))


@functools.cache
def _shorts() -> frozenset[str]:
    return frozenset(languages.short(code) for code in languages.codes())


@functools.cache
def _meanings() -> dict[str, tuple[str, ...]]:
    """The short codes that a model's label may mean; a label that is not a key means "other"."""
    meanings: dict[str, tuple[str, ...]] = {}
    for language in languages.load():
        if language.lid176_label:
            meanings[language.lid176_label] = (*meanings.get(language.lid176_label, ()), language.short_code)
    return meanings | {code: (code,) for code in _shorts()}


@functools.cache
def _codes_in_order() -> tuple[str, ...]:
    """The short codes and "other", which comes last; below, a code is its number in this order."""
    return (*sorted(_shorts()), OTHER)


def _groups(labels: tuple[str, ...]) -> np.ndarray:
    """int32 [labels]: one number for the labels that mean one answer, as all those that mean "other" do."""
    answers = [_meanings().get(label, (OTHER,)) for label in labels]
    last = {answer: number for number, answer in enumerate(answers)}
    return np.array([last[answer] for answer in answers], np.int32)


@functools.cache
def _choices(labels: tuple[str, ...]) -> np.ndarray:
    """int64 [labels + 1, 2]: the codes that each label means for a text not more and more traditional than
    simplified; the last row is for no label.
    """
    meanings = [sorted(_meanings().get(label, (OTHER,))) for label in (*labels, OTHER)]  # zhs before zht
    return np.array([[_codes_in_order().index(codes[at]) for at in (0, -1)] for codes in meanings], np.int64)


@functools.cache
def _script_column(code: str) -> int:
    """The column of a profile for the script that a language is written in; -1 for "other"."""
    if code == OTHER:
        return -1
    script = {"Hans": "Hani", "Hant": "Hani", None: "Latn"}.get(languages.find(code).script)
    return langid_text.PROFILE.index(script or str(languages.find(code).script))


@functools.cache
def _script_columns() -> np.ndarray:
    return np.array([_script_column(code) for code in _codes_in_order()], np.int64)


def _codes(choices: np.ndarray, scores: np.ndarray, profile: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes and scores for what a model chose (see `_choices`), given what scripts the texts are written in."""
    traditional = profile[:, -1] > profile[:, -2]
    codes = np.where(traditional, choices[:, 1], choices[:, 0])
    wrong, share = _contradicted(profile[:, : langid_text.LETTERS], _script_columns()[codes])
    codes[wrong] = len(_codes_in_order()) - 1
    return codes, np.where(wrong, share, scores).astype(np.float32)


def _contradicted(letters: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether a text has no letter of the script, or more of another one (Latin, the guest in every text,
    aside).

    A pruned model knows nothing of scripts that it was not trained on, and would answer all the same.
    letters int [docs, scripts]; columns int64 [docs], -1 for no script; returns bool and float64 [docs], see
    `identify`
    """
    rows = np.arange(len(letters))
    own = letters[rows, columns]
    rivals = letters.copy()
    rivals[rows, columns] = 0
    rivals[:, langid_text.PROFILE.index("Latn")] = 0
    wrong = (columns >= 0) & ((own == 0) | (rivals.max(axis=1, initial=0) > own))
    return wrong, 1 - own / np.maximum(letters.sum(axis=1), 1)


def _batched(pairs: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    batch: list[tuple[str, str]] = []
    for pair in pairs:
        batch.append(pair)
        if len(batch) == LINES_AT_A_TIME:
            yield batch
            batch = []
    if batch:
        yield batch


def _write_examples(lines: Iterable[tuple[str, str]], path: Path) -> tuple[int, int]:
    """Writes lines as fastText reads them; returns how many lines and labels."""
    count = 0
    labels: set[str] = set()
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for batch in _batched(lines):
            shown, _ = langid_text.sample(pa.array([text for _, text in batch], pa.string()))
            for (label, _), text in zip(batch, shown.to_pylist(), strict=True):
                file.write(f"{PREFIX}{label} {text.replace(PREFIX, '')}\n")  # a text must not bring a label
            labels.update(label for label, _ in batch)
            count += len(batch)
    return count, len(labels)


def _fit(examples: Path, options: Options) -> Any:
    model = fasttext.train_supervised(
        input=str(examples),
        dim=options.dimensions,
        epoch=options.epochs,
        lr=options.learning_rate,
        seed=options.seed,
        minn=options.chars_min,
        maxn=options.chars_max,
        minCount=options.word_count_min,
        bucket=options.buckets,
        loss="softmax",
        thread=THREADS,
        verbose=0,
    )
    if options.quantized:
        model.quantize(
            str(examples),
            cutoff=options.features_max,
            retrain=options.features_max > 0,
            qnorm=True,
            dsub=options.piece,
            thread=THREADS,
            verbose=0,
        )
    return model
