"""The measures that a run keeps of every document, and the page that shows what limits do to them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines import annotate, recipe, run, runner, stage, tune

ENGLISH = "The farmers of the valley walked to the market before the sun was up and sold what they had to the others."
FRENCH = "Les fermiers de la vallée sont allés au marché avant le lever du soleil pour vendre ce qu'ils avaient."
TEXTS = {
    "good": ENGLISH,
    "odd": " ".join(f"{word} {number * 7919}?" for number, word in enumerate(ENGLISH.split())),
    "short": "The sun was up.",
    "french": FRENCH + " Puis chacun est rentré chez soi avec du pain, des œufs et quelques légumes.",
    "again": "the end of it " * 40,
}
REASONS = {
    "odd": "too_many_special_characters", "short": "too_few_words", "french": "too_few_stopwords",
    "again": "repeated_characters",
}  # fmt: skip


def annotated(folder: Path, batch_docs: int = 1024, *overrides: str) -> stage.Context:
    source = folder / "in" / "lm_en_farm"
    source.mkdir(parents=True, exist_ok=True)
    records = (json.dumps({"id": name, "text": text}) for name, text in TEXTS.items())
    (source / "part.jsonl").write_text("\n".join(records) + "\n", encoding="utf-8")
    settings = [f"sources.folder={folder / 'in'}", 'sources.options={"*"={id="id"}}', *overrides]
    context = stage.Context(folder / f"out{batch_docs}", recipe.load(Path("oscar.toml"), settings), batch_docs)
    run.run(context, "annotate", runner.Engine(), lambda progress: None)
    return context


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> stage.Context:
    return annotated(tmp_path_factory.mktemp("tune"))


def test_the_measures_of_a_removed_document_stay_with_its_reason(context):
    (part,) = context.manifests("annotate")
    assert (part.counts.documents_in, part.counts.kept) == (5, 1)
    removed = pq.read_table(context.folder("annotate") / (part.name + annotate.REMOVED_MEASURES)).to_pylist()
    assert {row["id"].partition("/")[2]: row["reason"] for row in removed} == REASONS
    short = next(row for row in removed if row["id"] == "lm_en_farm/short")
    assert (short["word_count"], short["text"]) == (4, "The sun was up.")
    assert short["special_char_ratio"] == pytest.approx(4 / 15)


def test_the_table_of_removed_documents_does_not_depend_on_batches(context, tmp_path):
    other = annotated(tmp_path, 2)
    (part,), (again,) = context.manifests("annotate"), other.manifests("annotate")
    assert {name: file["sha256"] for name, file in part.files.items()} == {
        name: file["sha256"] for name, file in again.files.items()
    }


def test_the_page_shows_all_documents_the_removed_ones_too(context, tmp_path):
    lines = list(tune.tune(context.output, "en", tmp_path, []))
    rows = {line.split()[0]: line.split() for line in lines[1:-1]}
    assert rows["word_count_min"] == ["word_count_min", "20", "1", "20.00", "%", "1"]
    assert rows["stopword_ratio_min"][2:] == ["1", "20.00", "%", "1"]
    page = (tmp_path / "en.md").read_text(encoding="utf-8")
    assert "5 documents were measured" in page and "(removed) `lm_en_farm/short`: The sun was up." in page
    assert "(kept) `lm_en_farm/good`: The farmers of the valley" in page
    plots = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert "en-word_count.svg" in plots and "en-perplexity.svg" not in plots
    assert all(f"(plots/{name})" in page for name in plots)


def test_a_limit_can_be_tried_without_measuring_again(context, tmp_path):
    before = sorted(context.output.rglob("*"))
    lines = list(tune.tune(context.output, "en", tmp_path, ["quality.limits.en.word_count_min=1"]))
    assert lines[1].split()[:3] == ["word_count_min", "1", "0"]
    assert sorted(context.output.rglob("*")) == before


def test_a_language_without_documents_is_told(context, tmp_path):
    with pytest.raises(ValueError, match=r"no documents of nigercongo-sw were measured; languages here: en"):
        list(tune.tune(context.output, "sw", tmp_path, []))


def test_another_word_list_of_the_same_name_makes_the_stage_anew(tmp_path):
    words = tmp_path / "flagged.txt"
    settings = []
    for text in ("sun\n", "moon\n"):
        words.write_text(text, encoding="utf-8")
        chosen = recipe.load(Path("oscar.toml"), ["sources.folder=x", f"quality.flagged_words.en={words}"])
        settings.append(annotate.settings(chosen))
    assert settings[0] != settings[1]
