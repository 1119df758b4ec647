"""The card of a whole corpus: totals, conservation, and shares of languages beside the published ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from roots import facts, hub, languages, markdown

PLOT = "plots/corpus.svg"  # relative to the card
PRINTED = " The model card's percentages do not follow from the published bytes; why is not established."
GROUPS = (
    (
        "nigercongo",
        "Niger-Congo languages",
        "The languages that ROOTS files under Niger-Congo; Bambara, a Mande language, is among them." + PRINTED,
    ),
    (
        "indic",
        "Indic languages",
        "The languages that ROOTS files under Indic; four of them are Dravidian." + PRINTED,
    ),
)


def render(runs: Sequence[facts.SourceRun]) -> str:
    """The card of the corpus that the runs made.

    runs    one or more, each of another source; their order does not matter
    raises  ValueError for no run, or two of one source
    """
    runs = sorted(runs, key=lambda run: run.source)
    for run, before in zip(runs[1:], runs, strict=False):
        if run.source == before.source:
            raise ValueError(f"corpus card: two runs of {run.source}; expected one for each source")
    if not runs:
        raise ValueError("corpus card: no run; expected at least one")
    whole = facts.total(run.corpus for run in runs)
    rows = list(_languages(runs))
    return markdown.fill(
        "corpus.md.j2",
        front_matter=hub.dump(_front_matter(runs, whole)),
        runs=runs,
        facts=whole,
        documents=whole.documents,
        documents_in=sum(run.documents_in for run in runs),
        text_bytes=whole.text_bytes,
        published_bytes=languages.PUBLISHED_BYTES,
        stages=list(_stages(runs)),
        removed=facts.sum_counts(run.removed for run in runs),
        rejected=facts.sum_counts(run.rejected for run in runs),
        reasons=list(_reasons(runs)),
        languages=rows,
        groups=[(title, note, [row for row in rows if row["group"] == group]) for group, title, note in GROUPS],
        programming=list(_programming(whole.extensions)),
        plot=PLOT,
    )


def _front_matter(runs: Sequence[facts.SourceRun], whole: facts.Facts) -> dict[str, Any]:
    known = [languages.find(run.language) for run in runs if run.language]
    tags = [language.bcp47 or language.code for language in known]
    found: dict[str, Any] = {"language": sorted({tag.partition("-")[0] for tag in tags})} if tags else {}
    with_script = sorted({tag for tag in tags if "-" in tag})
    if with_script:
        found["language_bcp47"] = with_script
    return found | {
        "license": "other",
        "license_name": "differs-by-source",
        "pretty_name": "Corpus",
        "size_categories": [hub.size_category(whole.documents)],
        "task_categories": ["text-generation"],
        "tags": ["roots", "corpus"],
    }


def _stages(runs: Sequence[facts.SourceRun]) -> Iterator[tuple[str, int, int, int, int]]:
    """Per stage: name, documents in, kept, removed, rejected, over all runs; in the order of the runs."""
    names = dict.fromkeys(stage.name for run in runs for stage in run.stages)
    for name in names:
        counts = [stage for run in runs for stage in run.stages if stage.name == name]
        yield (
            name,
            sum(stage.documents_in for stage in counts),
            sum(stage.kept for stage in counts),
            sum(sum(stage.removed.values()) for stage in counts),
            sum(sum(stage.rejected.values()) for stage in counts),
        )


def _reasons(runs: Sequence[facts.SourceRun]) -> Iterator[tuple[str, str, int]]:
    """Verdict, reason and documents; removed before rejected, the most frequent first."""
    for verdict in ("removed", "rejected"):
        counts = facts.sum_counts(getattr(run, verdict) for run in runs)
        for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            yield verdict, reason, count


def _languages(runs: Sequence[facts.SourceRun]) -> Iterator[dict[str, Any]]:
    """A row for each of the 46 languages and code, the largest published first; one more for no language."""
    for language in sorted((*languages.load(), languages.code()), key=lambda row: (-row.published_bytes, row.code)):
        of_language = facts.total(run.corpus for run in runs if run.language == language.code)
        yield {
            "name": language.english_name,
            "code": language.code,
            "family": language.family,
            "group": language.group,
            "documents": of_language.documents,
            "bytes": of_language.text_bytes,
            "published": language.published_bytes,
            "printed": language.model_card_percent,
        }
    if any(not run.language for run in runs):
        unstated = facts.total(run.corpus for run in runs if not run.language)
        yield {
            "name": "Language not stated",
            "code": "",
            "family": "",
            "group": "",
            "documents": unstated.documents,
            "bytes": unstated.text_bytes,
            "published": 0,
            "printed": None,
        }


def _programming(counts: facts.Counts) -> Iterator[tuple[str, str, int, int | None]]:
    """Language, extension, documents, and published files (None where the original asked for none)."""
    for language in languages.programming():
        for extension, published in language.files:
            yield language.name, extension, counts.get(extension, 0), published
    for extension in facts.UNREQUESTED_EXTENSIONS:
        yield "C, C++", extension, counts.get(extension, 0), None
    if counts.get(facts.OTHER_EXTENSION):
        yield "another extension, or none", "", counts[facts.OTHER_EXTENSION], None
