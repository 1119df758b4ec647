"""Language and quality: every document is measured, then kept or removed by the limits of its language.

The measures stay with the document, and those of removed documents in a table beside the shard, so that a limit can
be chosen again without measuring again (pipelines/tune.py).
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines import recipe, stage, storage
from roots import langid, languages, perplexity, quality, schema, stopwords

PASSED = "passed on provenance"  # the model does not know the source's language, or not well enough
REMOVED_MEASURES = ".measures.parquet"  # ending of the table of the documents that a task removed
EXCERPT_CHARS = 240  # of their text, in code points
CHINESE = ("zhs", "zht")  # one language in two scripts; a short text may have no letter of one of them only


def plan(context: stage.Context) -> list[stage.Task]:
    """A task for each cut of the cleaned documents; a model that cannot be loaded is told here, before any task."""
    model(context.recipe.language)
    for pair in context.recipe.quality.perplexity.values():
        _perplexity_model(pair.kenlm, pair.sentencepiece)
    return stage.one_to_one(context, "clean")


def work(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    measure = Measure(task.source, task.language, context.recipe)
    batches = (batch for part in task.slices for batch in context.read(part))
    done = stage.move(batches, measure, schema.ANNOTATED, folder, task, context.recipe.run.removed_sample)
    measure.write_removed(folder / (task.name + REMOVED_MEASURES))
    return done


class Measure:
    """The function of the stage: measures a batch of one source and gives its verdict."""

    def __init__(self, source: str, language: str, plan_of: recipe.Recipe):
        self._language = language
        self._settings = plan_of.language
        self._model = model(plan_of.language)
        held = recipe.matching(dict.fromkeys(plan_of.quality.sources, True), source)
        self._limits = plan_of.quality.limits if held else {}
        own = self._limits.get(language, quality.Limits()).lang_score_min
        # where right labels need a score, a wrong one is sure enough with it: the published check
        self._wrong_score_min = plan_of.language.wrong_score_min if own is None else own
        self._parameters = {language: parameters(language, plan_of.quality)}
        models = plan_of.quality.perplexity.get(language)
        self._perplexity = _perplexity_model(models.kenlm, models.sentencepiece) if models else None
        self._removed: list[pa.RecordBatch] = []

    def __call__(self, batch: pa.RecordBatch) -> stage.Outcome:
        label, score, found = self._identify(batch)
        measures = quality.measure(batch, self._parameters)
        columns = {
            **{name: batch.column(name) for name in batch.schema.names},
            **{name: measures.column(name) for name in measures.schema.names},
            "lang_label": label,
            "lang_score": score,
            "perplexity": self._perplexities(batch.column("text")),
        }
        docs = pa.RecordBatch.from_arrays(
            [columns[field.name].cast(field.type) for field in schema.ANNOTATED], schema=schema.ANNOTATED
        )
        reason = quality.verdict(docs, self._limits, self._is_of_another_language(label, score))
        self._remember(docs, reason)
        return stage.Outcome(docs, reason, label, found)

    def write_removed(self, path: Path) -> None:
        """The measures of the documents that were removed, with the start of their text and the reason; no file for
        none.
        """
        if self._removed:
            table = pa.Table.from_batches(self._removed).combine_chunks()
            pq.write_table(table, path, compression="zstd", write_statistics=False, write_page_checksum=True)

    def _remember(self, docs: pa.RecordBatch, reason: pa.StringArray) -> None:
        removed = docs.append_column("reason", reason).filter(pc.is_valid(reason))
        if removed.num_rows:
            excerpt = pc.utf8_slice_codeunits(removed.column("text"), 0, EXCERPT_CHARS)
            kept = removed.select(["id", "reason", *schema.MEASURES.names])
            self._removed.append(kept.append_column("text", excerpt))

    def _perplexities(self, text: pa.StringArray) -> pa.FloatArray:
        if self._perplexity is None:
            return pa.nulls(len(text), pa.float32())
        return perplexity.perplexity(text, self._perplexity)

    def _identify(self, batch: pa.RecordBatch) -> tuple[pa.StringArray, pa.FloatArray, dict[str, int]]:
        if self._model is None:
            none = pa.nulls(batch.num_rows, pa.string())
            return none, pa.nulls(batch.num_rows, pa.float32()), {"no language model": batch.num_rows}
        label, score = langid.identify(batch.column("text"), self._model)
        if not judged(self._language, self._settings):
            # its score is of another language: no limit of ours was meant for it
            return label, pa.nulls(batch.num_rows, pa.float32()), {PASSED: batch.num_rows}
        return label, pa.array(score, pa.float32()), {}

    def _is_of_another_language(self, label: pa.StringArray, score: pa.FloatArray) -> np.ndarray:
        """bool [docs]: the model is sure of another language than the source's."""
        short = languages.short(self._language)
        other = pc.invert(pc.is_in(label, pa.array(CHINESE if short in CHINESE else [short])))
        sure = pc.greater_equal(score, pa.scalar(self._wrong_score_min, pa.float32()))
        return np.asarray(pc.fill_null(pc.and_(other, sure), False))


def judged(language: str, settings_of: recipe.Language) -> bool:
    """Whether the recipe's model has a say on documents of a language."""
    chosen = model(settings_of)
    short = languages.short(language)
    return chosen is not None and short in langid.covered(chosen) and short not in settings_of.untrusted


def parameters(language: str, settings_of: recipe.Quality) -> quality.Parameters:
    """How a language is measured: its own numbers, or the default ones, with its word lists."""
    chosen = settings_of.measures.get(language, settings_of.measures[quality.DEFAULT])
    flagged = settings_of.flagged_words.get(language)
    return quality.Parameters(
        char_ngram=chosen.char_ngram,
        word_ngram=chosen.word_ngram,
        augmentation=chosen.augmentation,
        words_by_code_point=chosen.words_by_code_point,
        stopwords=stopwords.stopwords(languages.short(language)),
        flagged_words=_words(flagged) if flagged else None,
    )


def _words(path: str) -> frozenset[str]:
    with storage.local(recipe.place(path)) as file:
        return stopwords.load_words(file)


def model(settings_of: recipe.Language) -> langid.Model | None:
    """The model that a recipe names, its digest checked; None where it names none. One load in a process."""
    return _load(settings_of.model, settings_of.sha256) if settings_of.model else None


@functools.lru_cache(maxsize=1)
def _load(path: str, sha256: str) -> langid.Model:
    with storage.local(recipe.place(path)) as file:
        return langid.load(file, sha256)


@functools.lru_cache(maxsize=1)
def _perplexity_model(kenlm: str, sentencepiece: str) -> perplexity.Model:
    return perplexity.load(recipe.local_path(kenlm), recipe.local_path(sentencepiece))


def _files(settings_of: recipe.Quality) -> list[str]:
    """Files of the user's that decide the measures: word lists, models of perplexity."""
    models = [path for pair in settings_of.perplexity.values() for path in (pair.kenlm, pair.sentencepiece)]
    return [*settings_of.flagged_words.values(), *models]


@functools.lru_cache(maxsize=64)
def _digest(path: Path, changed_ns: int) -> str:
    return langid.digest(path)


def settings(plan_of: recipe.Recipe) -> object:
    """Models and word lists count by their digests."""
    files = [recipe.local_path(file) for file in _files(plan_of.quality)]
    return [
        [_digest(file, file.stat().st_mtime_ns) if file.is_file() else None for file in files],
        plan_of.language.sha256,
        plan_of.language.wrong_score_min,
        plan_of.language.untrusted,
        recipe.settings(plan_of.quality),
    ]


STAGE = stage.Stage(name="annotate", group="annotate", plan=plan, work=work, settings=settings, conserves="clean")
