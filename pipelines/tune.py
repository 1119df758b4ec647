"""What limits do in a run: a page with plots for one language, from the measures that the run stored.

The measures of kept documents are in the shards of `annotate`, those of removed ones beside them, so that limits can
be chosen anew without measuring anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines import annotate, manifest, recipe, runner, stage, storage
from roots import languages, markdown, plots, quality, schema, tuning

BORDER = 3  # documents shown on each side of a limit
EXCERPT_CHARS = 160
ROWS = pa.schema([schema.ANNOTATED.field("id"), *schema.MEASURES])


def tune(output: storage.Place, language: str, into: Path, overrides: list[str]) -> Iterator[str]:
    """Lines for the terminal: what each limit removes. Writes into/<language>.md and a plot of each measure.

    overrides  limits to try, as `roots run --set` takes them, e.g. quality.limits.en.word_count_min=50
    raises     ValueError where the run has no documents of the language
    """
    context = runner.load_context(output, 1024)
    code = languages.find(language).code
    with storage.local(output / "recipe.toml") as file:
        limits = recipe.load(file, overrides).quality.limits.get(code, quality.Limits())
    parts = [part for part in context.manifests("annotate") if part.language == code]
    measures = pa.concat_tables([_measures(context, part) for part in parts]) if parts else ROWS.empty_table()
    if not len(measures):
        found = sorted({part.language for part in context.manifests("annotate")})
        raise ValueError(f"{output}: no documents of {code} were measured; languages here: {', '.join(found)}")
    spreads = tuning.spreads(measures)
    cuts = tuning.cuts(measures, limits, BORDER)
    shown = _shown(context, parts, measures, {row for cut in cuts for side in cut.border for row in side})
    (into / "plots").mkdir(parents=True, exist_ok=True)
    for spread in spreads:
        marks = {cut.limit: cut.value for cut in cuts if cut.limit.rsplit("_", 1)[0] == spread.name}
        plot = plots.spread(spread.edges, spread.documents, spread.name in tuning.COUNTED, marks)
        storage.write(into / "plots" / f"{code}-{spread.name}.svg", plot.encode())
    page = markdown.fill(
        "tune.md.j2", language=languages.find(language), code=code, documents=len(measures), spreads=spreads,
        shares=[f"{100 * share:g} %" for share in tuning.SHARES],
        quantiles={spread.name: [f"{value:.4g}" for value in spread.quantiles] for spread in spreads},
        cuts=cuts, sides=_sides(cuts, measures, shown), reasons=quality.REASONS,
    )  # fmt: skip
    storage.write(into / f"{code}.md", page.encode())
    yield f"{'limit':<28} {'value':>10} {'removes':>10} {'share':>9} {'after the earlier ones':>24}"
    for cut in cuts:
        yield (
            f"{cut.limit:<28} {cut.value:>10g} {cut.removed:>10,} {markdown.percent(cut.removed, len(measures)):>9} "
            f"{cut.first:>24,}"
        )
    yield f"{len(measures):,} documents of {code}; page and plots in {into / f'{code}.md'}"


def _sides(
    cuts: list[tuning.Cut], measures: pa.Table, shown: dict[int, dict[str, str]]
) -> dict[str, list[tuple[str, list[dict[str, object]]]]]:
    """For each limit its two sides, each with the documents nearest to it."""
    found = {}
    for cut in cuts:
        values = measures[cut.limit.rsplit("_", 1)[0]]
        found[cut.limit] = [
            (title, [{"value": values[row].as_py(), **shown[row]} for row in rows])
            for title, rows in zip(("Just beyond", "Just within"), cut.border, strict=True)
        ]
    return found


def _measures(context: stage.Context, part: manifest.Manifest) -> pa.Table:
    """id and measures of all documents that came into a task, kept ones first."""
    batches = [
        batch.select(ROWS.names)
        for piece in context.shards("annotate", part)
        for batch in context.read(piece, ROWS.names)
    ]
    kept = pa.Table.from_batches(batches, ROWS) if batches else ROWS.empty_table()
    removed = _removed(context, part)
    return pa.concat_tables([kept, removed.select(ROWS.names)]) if removed is not None else kept


def _removed(context: stage.Context, part: manifest.Manifest) -> pa.Table | None:
    name = part.name + annotate.REMOVED_MEASURES
    if name not in part.files:
        return None
    with storage.local(context.folder("annotate") / name) as file:
        return pq.read_table(file, page_checksum_verification=True)


def _shown(
    context: stage.Context, parts: list[manifest.Manifest], measures: pa.Table, rows: set[int]
) -> dict[int, dict[str, str]]:
    """id, the start of the text, and whether the run kept it, of some rows of the measures."""
    wanted = {measures["id"][row].as_py(): row for row in rows}
    ids = pa.array(list(wanted), pa.string())
    found: dict[int, dict[str, str]] = {}

    def show(table: pa.Table, kept: str) -> None:
        chosen = table.filter(pc.is_in(table["id"], ids))
        for identity, text in zip(chosen["id"].to_pylist(), chosen["text"].to_pylist(), strict=True):
            found[wanted[identity]] = {"id": identity, "text": text[:EXCERPT_CHARS], "kept": kept}

    for part in parts:
        for piece in context.shards("annotate", part):
            for batch in context.read(piece, ["id", "text"]):
                show(pa.Table.from_batches([batch]), "kept")
        if (removed := _removed(context, part)) is not None:
            show(removed, "removed")
    return found
