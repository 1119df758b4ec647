"""The counts -> tokenizer/: a byte-level BPE with its report and card, and the files that `transformers` loads."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import count as counting
from pipelines import manifest, pulse, recipe, stage, storage
from roots import languages
from tokenizer import count, encode, learn, report, report_page

LANGUAGES = "work/tokenizer-languages"
REPORT = "tokenizer-report"
ENGLISH = "en"  # what parallel text is compared with
CHECKPOINT = "learner.npz"  # beside the run's log: the merges of a learner that was killed


def _plan(context: stage.Context) -> list[stage.Task]:
    """One task: the merges rest on all counts at once."""
    parts = context.manifests("counts")
    options: dict[str, Any] = {"counts": [part.facts["pieces"]["digest"] for part in parts]}
    if file := context.recipe.tokenizer.file:
        options["file"] = manifest.file_digest(recipe.place(file))
    return [stage.Task(name="tokenizer", options=options)]


def _learn(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    settings = context.recipe.tokenizer
    counts = count.total(counting.read(context, part)[0] for part in context.manifests("counts"))
    count.write(folder / "counts.parquet", counts)
    (folder / "sample.csv").write_text(report_page.sample_csv(counting.shares(context)), encoding="utf-8")
    notes: list[str] = []
    if settings.file:
        with storage.local(recipe.place(settings.file)) as file:
            (folder / learn.TOKENIZER).write_bytes(file.read_bytes())
    else:
        learned = learn.learn(
            counts,
            settings.vocab_size,
            special_collisions="allow" if settings.special_collisions == "allow" else "refuse",
            pair_count_min=settings.min_frequency,
            token_bytes_max=settings.max_token_length or None,
            progress=lambda made, wanted, _last: pulse.HERE.beat(made / max(1, wanted)),
            checkpoint=context.output / CHECKPOINT if isinstance(context.output, Path) else None,
        )
        notes += learned.notes()
        learn.save(learned.tokenizer(), folder)
    encoder = load(folder / learn.TOKENIZER, settings)
    facts = {
        "vocab_size": encoder.vocab_size,
        "sha256": encoder.sha256,
        "slow_because": encoder.slow_because,
        "notes": notes,
        "pieces": len(counts),
        "counts": counts.digest(),
    }
    return stage.Result(facts=facts)


def load(file: Path, settings: recipe.Tokenizer) -> encode.Encoder:
    """A run's tokenizer, as the recipe wants it."""
    return encode.Encoder(
        file,
        end_of_document=settings.end_of_document,
        special_collisions="allow" if settings.special_collisions == "allow" else "refuse",
    )


def encoder(context: stage.Context) -> encode.Encoder:
    """The tokenizer of a finished run; a process reads it once."""
    digest = context.manifests("tokenizer")[0].files[learn.TOKENIZER]["sha256"]
    return _encoder(context.folder("tokenizer") / learn.TOKENIZER, context.recipe.tokenizer, digest)


@functools.lru_cache(maxsize=1)
def _encoder(path: storage.Place, settings: recipe.Tokenizer, digest: str) -> encode.Encoder:
    with storage.local(path) as file:
        return load(file, settings)


def _plan_languages(context: stage.Context) -> list[stage.Task]:
    """A task for each language, with the shards of its sources that hold parallel text."""
    settings = context.recipe.tokenizer
    learned = context.manifests("tokenizer")[0].files[learn.TOKENIZER]["sha256"]
    wanted = {settings.parallel: True} if settings.parallel else {}
    tasks = []
    for part in context.manifests("counts"):
        slices = [
            each
            for shard in context.manifests(counting.EARLIER)
            if shard.language == part.language and recipe.matching(wanted, shard.source)
            for each in context.shards(counting.EARLIER, shard)
        ]
        options = {"tokenizer": learned, "counts": [part.facts[f"pieces{e}"]["digest"] for e in counting.ENDINGS]}
        tasks.append(stage.Task(name=part.name, language=part.language, slices=tuple(slices), options=options))
    return tasks


def _judge(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    part = next(part for part in context.manifests("counts") if part.name == task.name)
    learned, held_out = (counting.read(context, part, ending) for ending in counting.ENDINGS)
    of = encoder(context)
    row, used = report.measure(task.language, learned, held_out, of, context.recipe.tokenizer.baseline_vocab_size)
    np.save(folder / f"{task.name}.npy", used)
    return stage.Result(facts={"row": row.to_json(), "parallel": _parallel(task, context, of)})


def _parallel(task: stage.Task, context: stage.Context, of: encode.Encoder) -> dict[str, int]:
    """Tokens of each document of parallel text, by the key that it shares with its translations."""
    key = re.compile(context.recipe.tokenizer.parallel_key or "(.+)")
    tokens: dict[str, int] = {}
    for part in task.slices:
        for batch in context.read(part, ["text", "meta"]):
            _, ends = of.encode(batch.column("text"))
            for meta, size in zip(batch.column("meta").to_pylist(), np.diff(ends).tolist(), strict=True):
                if found := key.fullmatch(json.loads(meta).get("path", "")):
                    tokens[found[1]] = tokens.get(found[1], 0) + size
    return tokens


def _plan_report(context: stage.Context) -> list[stage.Task]:
    return [stage.Task(name="report", options={"depends": _success(context, LANGUAGES)})]


def _success(context: stage.Context, name: str) -> str:
    return manifest.file_digest(context.folder(name) / manifest.SUCCESS)


def _report(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    of, parts = encoder(context), context.manifests(LANGUAGES)
    english: dict[str, int] = next(
        (part.facts["parallel"] for part in parts if languages.short(part.language) == ENGLISH), {}
    )
    rows = [_row(part, english) for part in parts]
    rows.append(report.total(rows))
    used = np.zeros(of.vocab_size, np.int64)
    for part in parts:
        with storage.local(context.folder(LANGUAGES) / f"{part.name}.npy") as file:
            used += np.load(file)
    facts = report.vocabulary(of, used)
    svg = report_page.plot(rows)
    pages = {
        "README.md": report_page.card(_about(context), rows, facts, counting.shares(context)),
        "report.md": report_page.markdown(rows, facts, "report.svg"),
        "report.html": report_page.page(rows, facts, svg),
        "report.csv": report_page.table_csv(rows),
        "report.svg": svg,
    }
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
    return stage.Result(facts={"special_in_text": facts.special_in_text, "lost_points": facts.lost_points})


def _row(part: manifest.Manifest, english: dict[str, int]) -> report.Row:
    row, own = report.Row.from_json(part.facts["row"]), part.facts["parallel"]
    both = own.keys() & english.keys()
    sums = {"parallel": sum(own[key] for key in both), "english": sum(english[key] for key in both)}
    return report.Row.from_json(row.to_json() | sums)


def _about(context: stage.Context) -> report_page.About:
    part, settings = context.manifests("tokenizer")[0], context.recipe.tokenizer
    names = ("vocab_size", "min_frequency", "max_token_length", "special_collisions", "alpha", "seed", "dedup_lines")
    return report_page.About(
        name=context.recipe.name,
        sha256=part.facts["sha256"],
        slow_because=part.facts["slow_because"],
        notes=part.facts["notes"],
        counts_digest=part.facts["counts"],
        pieces=part.facts["pieces"],
        settings={"brought from": settings.file} if settings.file else {n: getattr(settings, n) for n in names},
    )


def _step(name: str, plan: Any, work: Any) -> stage.Stage:
    return stage.Stage(
        name=name, group="tokenizer", plan=plan, work=work, settings=lambda plan_of: recipe.settings(plan_of.tokenizer)
    )


STAGES = [
    _step("tokenizer", _plan, _learn),
    _step(LANGUAGES, _plan_languages, _judge),
    _step(REPORT, _plan_report, _report),
]
