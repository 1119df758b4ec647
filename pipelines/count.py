"""The corpus -> counts/<language>.parquet: how often each piece comes in the tokenizer's sample.

Documents are drawn by their ids, lines that came before anywhere in the sample are dropped (keys through the
exchange), and each task counts its pieces into a sorted table. A language's tables are added up in one task; the table
is the same bytes however the corpus was cut into tasks. docs/decisions/0009-counts-in-tables.md says why tables.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import exchange, manifest, recipe, stage, storage
from roots import exact
from tokenizer import count, report, sample

EARLIER = "corpus"
LINES, REPEATS, PIECES = "work/tokenizer-lines", "work/tokenizer-repeats", "work/tokenizer-pieces"
LINE_BYTES = 32  # of text in a line, at least: plans partitions from bytes, so that no cut into tasks changes them
HELD = ".held"  # at the end of a table's name: of the documents that are held out of learning
ENDINGS = ("", HELD)
CODE = "lm_code"  # in the name of a source whose lines stay: ram_dedup_lines.py of the original


def shares(context: stage.Context) -> dict[str, sample.Share]:
    """What is taken of each source of the corpus."""
    settings = context.recipe.tokenizer
    sizes: dict[str, tuple[str, int]] = {}
    for part in context.manifests(EARLIER):
        before = sizes.get(part.source, (part.language, 0))[1]
        sizes[part.source] = part.language, before + sum(part.text)
    return sample.shares(
        dict(sorted(sizes.items())),
        alpha=settings.alpha,
        language_bytes_total=settings.language_bytes_total,
        sample_bytes=settings.sample_bytes_max,
    )


def _partitions(context: stage.Context) -> int:
    settings = context.recipe.tokenizer
    if not settings.dedup_lines:
        return 1
    sampled = sum(share.ratio * share.bytes for name, share in shares(context).items() if CODE not in name)
    return exchange.partitions(int(sampled) // LINE_BYTES, exchange.KEY)


def _plan_map(context: stage.Context, depends: str = "") -> list[stage.Task]:
    """A task for each cut of the corpus, with its source's ratio."""
    of_source = shares(context)
    if not any(share.bytes for share in of_source.values()):
        raise ValueError(
            "the corpus is empty: no document with text was kept, so there is nothing to learn a tokenizer from; "
            "`roots inspect OUT` says why documents were removed, --until cards stops before this stage"
        )
    tasks = stage.one_to_one(context, EARLIER)
    options: dict[str, Any] = {"partitions": _partitions(context), "tasks": len(tasks)}
    options["depends"] = _success(context, depends)
    return [
        stage.Task(
            name=task.name,
            source=task.source,
            language=task.language,
            slices=task.slices,
            options={**options, "task": index, "ratio": of_source[task.source].ratio},
        )
        for index, task in enumerate(tasks)
    ]


def _success(context: stage.Context, name: str) -> str:
    """Digest of a finished stage, which a task depends on as a whole."""
    return manifest.file_digest(context.folder(name) / manifest.SUCCESS) if name else ""


def _sampled(task: stage.Task, context: stage.Context) -> Iterator[tuple[pa.StringArray, np.ndarray, int]]:
    """(texts of the sample, which of them are held out, documents read) of each batch."""
    settings = context.recipe.tokenizer
    for part in task.slices:
        for batch in context.read(part, ["id", "text"]):
            wanted, held = sample.chosen(
                batch.column("id"), task.options["ratio"], settings.held_out_ratio, settings.seed
            )
            yield batch.column("text").filter(pa.array(wanted)), held[wanted], batch.num_rows


def _dedups(task: stage.Task, context: stage.Context) -> bool:
    return context.recipe.tokenizer.dedup_lines and CODE not in task.source


def _lines(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    """Keys of the sample's lines that are not empty, numbered in the task."""
    found, before = [np.empty(0, exchange.KEY)], 0
    for text, _, _ in _sampled(task, context) if _dedups(task, context) else ():
        keys, _, chars, _ = exact.line_keys(text)
        filled = np.flatnonzero(chars > 0)
        found.append(exchange.keys(keys[filled], exchange.number(task.options["task"], before + filled)))
        before += len(keys)
    records, parts = np.concatenate(found), task.options["partitions"]
    exchange.write(folder / f"{task.name}.seg", records, exchange.partition_of(records["high"], parts), parts)
    return stage.Result()


def _plan_repeats(context: stage.Context) -> list[stage.Task]:
    parts, tasks = _partitions(context), len(context.manifests(LINES))
    options = {"depends": _success(context, LINES), "tasks": tasks}
    return [
        stage.Task(name=f"part-{index:05d}-of-{parts:05d}", options={**options, "partition": index})
        for index in range(parts)
    ]


def _repeats(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    """Every occurrence of a line but the first, back to the task that it stands in."""
    files = exchange.paths(context.folder(LINES), [part.name for part in context.manifests(LINES)])
    found = exchange.first_kept(exchange.gather(files, task.options["partition"], exchange.KEY))
    exchange.by_shard(folder / f"{task.name}.seg", found, task.options["tasks"])
    return stage.Result(facts={"repeated_lines": len(found)})


def _pieces(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    """Count the pieces of what is left of the sample, those of held-out documents apart."""
    files = exchange.paths(context.folder(REPEATS), [part.name for part in context.manifests(REPEATS)])
    repeated = np.sort(exchange.row_of(exchange.gather(files, task.options["task"], exchange.VERDICT)["doc"]))
    tables = {ending: count.Table() for ending in ENDINGS}
    sizes = {ending: report.Text.zero() for ending in ENDINGS}
    documents = kept = read_bytes = kept_bytes = before = 0
    for text, held, rows in _sampled(task, context):
        documents, kept = documents + rows, kept + len(text)
        read_bytes += _size(text)
        if _dedups(task, context):
            text, before = _without_repeats(text, repeated, before)
        kept_bytes += _size(text)
        for ending, part in zip(ENDINGS, (text.filter(pa.array(~held)), text.filter(pa.array(held))), strict=True):
            tables[ending].add(part)
            sizes[ending] += report.Text.of(part)
    for ending, table in tables.items():
        count.write(folder / f"{task.name}{ending}.parquet", table.counts())
    removed = {"not_in_the_sample": documents - kept} if documents > kept else {}
    counts = manifest.Counts(
        documents_in=documents, kept=kept, removed=removed, text_bytes_in=read_bytes, text_bytes_kept=kept_bytes
    )
    return stage.Result(counts=counts, facts={f"text{ending}": size.to_json() for ending, size in sizes.items()})


def _without_repeats(text: pa.StringArray, repeated: np.ndarray, before: int) -> tuple[pa.StringArray, int]:
    """The lines that are neither empty nor repeated; and the number of the next batch's first line."""
    keys, line_offsets, chars, spans = exact.line_keys(text)
    keep = chars > 0
    inside = slice(*np.searchsorted(repeated, [before, before + len(keys)]))
    keep[repeated[inside] - before] = False
    return exact.join_lines(text, spans, line_offsets, keep), before + len(keys)


def _size(text: pa.StringArray) -> int:
    return pc.sum(pc.binary_length(text), min_count=0).as_py()


def _plan_counts(context: stage.Context) -> list[stage.Task]:
    """A task for each language, over all tables of its sources."""
    depends = _success(context, PIECES)
    languages = sorted({part.language for part in context.manifests(PIECES)})
    return [stage.Task(name=language, language=language, options={"depends": depends}) for language in languages]


def _counts(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    parts = [part for part in context.manifests(PIECES) if part.language == task.language]
    facts: dict[str, Any] = {}
    for ending in ENDINGS:
        table = count.total(
            count.read(storage.source(context.folder(PIECES) / f"{part.name}{ending}.parquet")) for part in parts
        )
        count.write(folder / f"{task.name}{ending}.parquet", table)
        text = sum((report.Text.from_json(part.facts[f"text{ending}"]) for part in parts), report.Text.zero())
        facts[f"text{ending}"] = text.to_json()
        facts[f"pieces{ending}"] = {"distinct": len(table), "all": int(table.counts.sum()), "digest": table.digest()}
    return stage.Result(facts=facts)


def read(context: stage.Context, part: manifest.Manifest, ending: str = "") -> tuple[count.Counts, report.Text]:
    """The counts of a language in a finished run, and the size of the text they are of."""
    table = count.read(storage.source(context.folder("counts") / f"{part.name}{ending}.parquet"))
    return table, report.Text.from_json(part.facts[f"text{ending}"])


def _settings(plan_of: recipe.Recipe) -> object:
    """What decides the sample; the size of the vocabulary does not."""
    of = plan_of.tokenizer
    return [
        of.sample_bytes_max, of.alpha, of.language_bytes_total, of.held_out_ratio, of.dedup_lines, of.seed,
    ]  # fmt: skip


def _step(name: str, plan: object, work: object, conserves: str = "") -> stage.Stage:
    return stage.Stage(name=name, group="tokenizer", plan=plan, work=work, settings=_settings, conserves=conserves)  # type: ignore[arg-type]


STAGES = [
    _step(LINES, _plan_map, _lines),
    _step(REPEATS, _plan_repeats, _repeats),
    _step(PIECES, functools.partial(_plan_map, depends=REPEATS), _pieces, conserves=EARLIER),
    _step("counts", _plan_counts, _counts),
]
