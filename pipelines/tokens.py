"""The corpus -> tokenizer/: a byte-level BPE, its report, and the files that `transformers` loads."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipelines import manifest, stage
from tokenizer import count, encode, learn, report

REPORT_BYTES = 2 * 2**20  # of each language's text that the report encodes


def plan(context: stage.Context) -> list[stage.Task]:
    """One task: learning needs the counts of the whole sample in one place."""
    parts = [part for part in context.manifests("corpus") if part.counts.kept]
    budgets = dict(_budgets(parts, context.recipe.tokenizer.sample_bytes_max))
    slices = []
    for language in sorted(budgets):
        left = budgets[language]
        for part in parts:
            for group in context.shards("corpus", part) if part.language == language else ():
                if left > 0:
                    slices.append(group)
                    left -= group.weight
    return [stage.Task(name="tokenizer", slices=tuple(slices), options={"budgets": budgets})]


def _budgets(parts: list[manifest.Manifest], most: int) -> Iterator[tuple[str, int]]:
    """Bytes of each language, capped at one level so that they add up to `most`: small languages are taken whole."""
    sizes: dict[str, int] = {}
    for part in parts:
        sizes[part.language] = sizes.get(part.language, 0) + sum(part.text)
    left, languages = most, sorted(sizes, key=lambda code: (sizes[code], code))
    for index, code in enumerate(languages):
        taken = min(sizes[code], left // (len(languages) - index))
        left -= taken
        yield code, taken


def work(task: stage.Task, context: stage.Context, folder: Path) -> stage.Result:
    settings_of = context.recipe.tokenizer
    learned = learn.learn(
        count.of(text for _, text in _texts(task, context, task.options["budgets"])),
        settings_of.vocab_size,
        pair_count_min=settings_of.min_frequency,
        token_bytes_max=settings_of.max_token_length or None,
    )
    learn.save(learned.tokenizer(), folder)
    encoder = encode.Encoder(folder)
    budgets = {code: min(budget, REPORT_BYTES) for code, budget in task.options["budgets"].items()}
    rows, counts = report.rows(_texts(task, context, budgets), encoder)
    report.write(folder, rows, report.vocabulary(encoder, counts))
    facts = {"vocab_size": encoder.vocab_size, "sha256": encoder.sha256, "notes": learned.notes()}
    return stage.Result(facts=facts)


def _texts(task: stage.Task, context: stage.Context, budgets: dict[str, int]) -> Iterator[tuple[str, pa.StringArray]]:
    """(language, texts) up to each language's budget, whole documents, in the order of the plan."""
    left = dict(budgets)
    for part in task.slices:
        language = part.label.split("/")[1]
        for batch in context.read(part, ["text"]):
            text = batch.column(0)
            sizes = pc.binary_length(text).to_numpy()
            fits = int((sizes.cumsum() - sizes < left[language]).sum())
            left[language] -= int(sizes[:fits].sum())
            if fits:
                yield language, text.slice(0, fits)


STAGE = stage.Stage(
    name="tokenizer",
    group="tokenizer",
    plan=plan,
    work=work,
    settings=lambda plan_of: dataclasses.asdict(plan_of.tokenizer),
)
