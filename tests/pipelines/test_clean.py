"""Cleaning through the exchange: every recipe of the catalogue, against the same steps on a source held in memory."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines import clean, recipe, runner, stage
from pipelines import run as running
from roots import catalogue, schema, step_kinds
from roots import clean as cleaning

SENTENCE = "Habari namba {} ya leo. Soko lilikuwa wazi? Ndiyo! 今天天气{}很好。यह {} अच्छा है। "


def documents() -> list[dict]:
    """Copies, copies but for digits, template lines, code, pages of users, pieces of recordings, one address twice."""
    made = []
    for i in range(60):
        name = "".join(chr(97 + int(digit)) for digit in f"{i:02}")  # digits do not tell documents apart
        code = "{" * (i % 7 == 0)
        text = (
            f"Menu of the site\nRead more about this subject here\n{SENTENCE.format(name, i, name) * 12}\n{code}{name}"
        )
        if i % 9 == 0:
            text = made[i // 2]["text"] if made else "\n"
        meta = {
            "id": f"rec{i % 11}_id_{100 - i}",
            "url": f"https://example.org/{i // 2}{'?a=1' if i % 4 else '/amp'}",
            "title": "User somebody" if i % 13 == 5 else f"Page {i}",
            "type": "text" if i % 5 else "css",
        }
        made.append({"text": text, "meta": str(meta) if i % 3 else json.dumps(meta)})
    return [*made, {"text": "", "meta": "no object"}, {"text": "a short one", "meta": None}]


def recipes() -> dict[tuple[str, ...], str]:
    """Each distinct recipe of the catalogue, and the first source that has it."""
    found: dict[tuple[str, ...], str] = {}
    for source in catalogue.load():
        found.setdefault(source.steps, source.name)
    return found


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory: pytest.TempPathFactory) -> stage.Context:
    """A run of the shipped recipe over a folder with one source for each recipe, in tasks of a few documents."""
    root = tmp_path_factory.mktemp("clean")
    for name in recipes().values():
        for number, part in enumerate((documents()[:25], documents()[25:])):
            path = root / "data" / name / f"part-{number}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(json.dumps(document) + "\n" for document in part))
    chosen = recipe.load(Path("roots.toml"), [f"sources.folder={root / 'data'}", "run.task_bytes=40_000"])
    context = stage.Context(root / "out", chosen)
    running.run(context, "clean", runner.Engine(workers=1), lambda progress: None)
    return context


def read(context: stage.Context, of: str, source: str) -> pa.Table:
    parts = [part for part in context.manifests(of) if part.source == source]
    pieces = [piece for part in parts for piece in context.shards(of, part)]
    return pa.Table.from_batches((batch for piece in pieces for batch in context.read(piece)), schema.DOCUMENT)


@pytest.mark.parametrize(
    ("names", "source"), recipes().items(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_each_recipe_of_the_catalogue_gives_what_it_gives_in_memory(
    cleaned: stage.Context, names: tuple[str, ...], source: str
) -> None:
    docs = read(cleaned, "documents", source).combine_chunks().to_batches()[0]
    expected, reasons = step_kinds.run(cleaning.parse(names), docs)
    found = read(cleaned, "clean", source).to_pylist()
    assert found == expected.to_pylist()
    removed = [reason for reason in reasons.to_pylist() if reason]
    counts = [part.counts.removed for part in cleaned.manifests("clean") if part.source == source]
    assert {reason: sum(part.get(reason, 0) for part in counts) for reason in removed} == {
        reason: removed.count(reason) for reason in removed
    }
    assert len(found) + len(removed) == 62


def test_sources_are_cut_into_tasks_and_the_recipes_take_something_away(cleaned: stage.Context) -> None:
    tasks = [part.source for part in cleaned.manifests("clean")]
    assert tasks.count("lm_eu_wikipedia") > 1
    assert tasks.count("lm_fr_ester") == 1  # its pieces are joined: one task holds them all
    reasons = {reason for part in cleaned.manifests("clean") for reason in part.counts.removed}
    assert reasons == {
        "duplicate_document",
        "duplicate_url",
        "empty_text",
        "joined_to_its_recording",
        "too_few_bytes",
        "wiki_non_text",
        "wiki_user_page",
    }


def test_a_source_to_be_joined_that_does_not_fit_in_memory_is_refused(
    cleaned: stage.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clean, "JOINED_BYTES_MAX", 1000)
    with pytest.raises(
        ValueError, match=r"source lm_fr_ester: its pieces are joined in memory, and .* more than 1,000"
    ):
        list(clean.stages(0)[-1].plan(cleaned))


def test_each_source_of_the_catalogue_gets_its_own_steps_under_both_of_its_names() -> None:
    plan_of = recipe.load(Path("roots.toml"))
    for source in catalogue.load():
        assert clean.steps_of(source.name, plan_of) == clean.steps_of(source.published_name, plan_of) == source.steps
        assert tuple(step.name for step in cleaning.parse(source.steps)) == source.steps


def test_steps_are_those_of_the_name_then_of_the_catalogue_then_of_a_pattern() -> None:
    crawl = catalogue.find("lm_en_pseudocrawl-filtered_304_www_semana_com")
    plan_of = recipe.load(
        Path("folder.toml"), ["sources.folder=.", "clean.steps.lm_ca_tecla=['filter_remove_empty_docs']"]
    )
    assert clean.steps_of("lm_ca_tecla", plan_of) == ("filter_remove_empty_docs",)
    assert clean.steps_of("lm_ca_vilaquad", plan_of) == catalogue.find("lm_ca_vilaquad").steps
    assert clean.steps_of("lm_sw_pseudocrawl-filtered_900_example_org", plan_of) == crawl.steps
    assert clean.steps_of("lm_code_mine", plan_of) == ("dedup_document", "filter_remove_empty_docs")
    without = recipe.load(Path("folder.toml"), ["sources.folder=.", "clean.catalogue=false"])
    assert clean.steps_of("lm_ca_vilaquad", without) == (
        "dedup_document",
        "dedup_template_soft",
        "filter_remove_empty_docs",
    )


def test_a_run_restricted_to_some_sources_gives_their_same_bytes_whatever_the_batches(
    cleaned: stage.Context, tmp_path: Path
) -> None:
    names = ["lm_ar_kalimat", "lm_es_pseudocrawl-filtered_341_es_cointelegraph_com", "lm_fr_ester"]
    folder = f"sources.folder={cleaned.recipe.sources.folder}"
    chosen = recipe.load(Path("roots.toml"), [folder, f"sources.names={names}", "run.task_bytes=40_000"])
    context = stage.Context(tmp_path / "out", chosen, batch_docs=7)
    running.run(context, "clean", runner.Engine(workers=1), lambda progress: None)
    found, expected = (
        {part.name: part.files for part in run.manifests("clean") if part.source in names} for run in (context, cleaned)
    )
    assert found == expected
    assert {part.source for part in context.manifests("documents")} == set(names)
