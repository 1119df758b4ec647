"""The page of results by language: what became of a corpus under some recipes, from the manifests of their runs.

python -m benchmarks.by_language OUT [OUT ...] > docs/results-by-language.md      each OUT the folder of a run
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from pathlib import Path

from pipelines import manifest, runner
from roots import languages

STAGES = {"documents": "ingest", "clean": "clean", "annotate": "annotate", "corpus": "dedup"}
REASONS_SHOWN = 3


def accounts(output: Path) -> dict[str, dict[str, manifest.Counts]]:
    """language -> stage -> its account."""
    context = runner.load_context(output, 1024)
    found: dict[str, dict[str, list[manifest.Counts]]] = defaultdict(lambda: defaultdict(list))
    for stage in STAGES:
        for part in context.manifests(stage):
            found[part.language][stage].append(part.counts)
    return {
        language: {stage: manifest.total(counts) for stage, counts in stages.items()}
        for language, stages in sorted(found.items())
    }


def table(output: Path) -> list[str]:
    by_language = accounts(output)
    lines = [
        "| Language | documents in | MB in | kept | MB kept | share of bytes kept | removed most by |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    whole: Counter[str] = Counter()
    for language, stages in by_language.items():
        first, last = stages["documents"], stages["corpus"]
        lost = Counter[str]()
        for counts in stages.values():
            lost.update(counts.removed)
            lost.update(counts.rejected)
        reasons = ", ".join(f"{name} {count:,}" for name, count in lost.most_common(REASONS_SHOWN))
        lines.append(row(f"{language} ({languages.find(language).english_name})", first, last, reasons))
        whole.update(lost)
    sums = [manifest.total(stages[stage] for stages in by_language.values()) for stage in ("documents", "corpus")]
    lines.append(row("**all**", sums[0], sums[1], ""))
    reasons = ", ".join(f"{name} {count:,}" for name, count in whole.most_common())
    return [*lines, "", f"All reasons: {reasons}."]


def row(name: str, first: manifest.Counts, last: manifest.Counts, reasons: str) -> str:
    share = last.text_bytes_kept / max(first.text_bytes_kept, 1)
    return (
        f"| {name} | {first.kept:,} | {first.text_bytes_kept / 1e6:,.2f} | {last.kept:,} | "
        f"{last.text_bytes_kept / 1e6:,.2f} | {share:.1%} | {reasons} |"
    )


HEAD = """# What became of a corpus, by language

Made by `python -m benchmarks.by_language` from the manifests of the runs named below, over the mini-corpus in the shape
of ROOTS. It keeps its noise on purpose: manuals half in English, verse, lists, one-line poems, interfaces. A limit that
was made for web pages removes much there that is no fault.
"""


def main(outputs: list[Path]) -> None:
    print(HEAD)
    for output in outputs:
        plan = runner.load_context(output, 1024).recipe
        print(f"## {plan.name}.toml\n\n{plan.about}\n")
        print("\n".join(table(output)), end="\n\n")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
