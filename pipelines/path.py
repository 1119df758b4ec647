"""The path of a document: the stages in their order."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines import annotate, cards, clean, count, dedup, ingest, redact, shards, split, stage, substring, tokens
from roots import languages

GROUPS = ("ingest", "clean", "annotate", "dedup", "redact", "cards", "tokenizer", "shards")
RECIPE = "recipe.toml"  # the resolved recipe of a run
RUN = "run.json"  # its digest, and the versions that ran it
LOG = "log.jsonl"  # when each stage ran and for how long
LOCK = ".lock"
ROUNDS_MAX = 16  # dedup steps of one source; the catalogue's longest recipe has three


def stages(context: stage.Context, until: str = GROUPS[-1]) -> Iterator[stage.Stage]:
    """The stages up to a group. Cleaning has as many rounds as its sources need, known once they are ingested."""
    alone = until == "dedup" and context.recipe.dedup.after == "documents"  # a tool on plain files
    for name in ("ingest", "dedup") if alone else GROUPS[: GROUPS.index(until) + 1]:
        if name == "annotate":
            _refuse_several_languages(context)
        yield from group(name, context)


def _refuse_several_languages(context: stage.Context) -> None:
    several = sorted({part.source for part in context.manifests("clean") if part.language == languages.SEVERAL})
    if several:
        raise ValueError(
            f"source {several[0]} is of several languages, and what comes after cleaning wants one: stop there "
            "(--until clean), part it with `roots crawl split OUT`, and run the parts (--set sources.folder=OUT/split)"
        )


def group(name: str, context: stage.Context) -> list[stage.Stage]:
    """The stages of a group; the groups before it must be done."""
    if name == "clean":
        sources = sorted({part.source for part in context.manifests("documents")})
        return clean.stages(clean.rounds(context.recipe, sources))
    if name == "dedup" and context.recipe.dedup.substring.action != substring.OFF:
        return [*dedup.STAGES, *substring.STAGES]
    return _FIXED[name]


_FIXED = {
    "ingest": [ingest.STAGE],
    "annotate": [annotate.STAGE],
    "dedup": dedup.STAGES,
    "redact": [redact.STAGE],
    "cards": [cards.STAGE],
    "tokenizer": [*count.STAGES, *tokens.STAGES],
    "shards": shards.STAGES,
}


def find(name: str) -> stage.Stage:
    """A stage by its name, for a worker."""
    return next(s for s in _every() if s.name == name)


def group_of(name: str) -> str:
    """The group of a stage by its name; "" for a folder that is no stage's."""
    return next((s.group for s in _every() if s.name == name), "")


def _every() -> list[stage.Stage]:
    return [*(s for group in _FIXED.values() for s in group), *substring.STAGES, split.STAGE, *clean.stages(ROUNDS_MAX)]
