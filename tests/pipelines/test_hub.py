"""Data sets through the `datasets` library: local folders of one, in the two forms that it writes and reads."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from pipelines import hub, ingest, recipe, sources, stage

datasets = pytest.importorskip("datasets", reason="the extra `hub` is not installed")

ROWS = {"text": [f"document {i} été 你好" for i in range(7)], "url": [f"u{i}" for i in range(7)]}


def read(options: recipe.SourceOptions, tmp_path: Path) -> list[dict]:
    """The documents of a source that is this data set, through the plan and the reader of ingest."""
    base = recipe.load(Path("folder.toml"), [f"sources.folder={tmp_path}"])
    chosen = recipe.Sources(extra=("lm_en_set",), options={"lm_en_set": options})
    context = stage.Context(tmp_path / "out", dataclasses.replace(base, sources=chosen))
    rejects = stage.Rejects("lm_en_set")
    found = [
        row
        for task in ingest.plan(context)
        for batch in ingest.documents(task, context, rejects)
        for row in batch.to_pylist()
    ]
    assert rejects.counts == {}, rejects.lines
    return found


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def test_a_saved_data_set_is_read_with_its_metadata(tmp_path: Path) -> None:
    datasets.Dataset.from_dict(ROWS).save_to_disk(tmp_path / "saved")
    found = read(recipe.SourceOptions(dataset=str(tmp_path / "saved")), tmp_path)
    assert [row["text"] for row in found] == ROWS["text"]
    assert [json.loads(row["meta"]) for row in found] == [{"url": url} for url in ROWS["url"]]
    assert len({row["id"] for row in found}) == 7


def test_a_folder_of_parquet_files_is_read_shard_by_shard(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    half = {name: values[:4] for name, values in ROWS.items()}
    rest = {name: values[4:] for name, values in ROWS.items()}
    datasets.Dataset.from_dict(half).to_parquet(tmp_path / "set" / "train-00000-of-00002.parquet")
    datasets.Dataset.from_dict(rest).to_parquet(tmp_path / "set" / "train-00001-of-00002.parquet")
    options = recipe.SourceOptions(dataset=str(tmp_path / "set"), id="url")
    assert hub.shards(options) == 2
    found = read(options, tmp_path)
    assert [row["text"] for row in found] == ROWS["text"]
    assert [row["id"] for row in found] == [f"lm_en_set/{url}" for url in ROWS["url"]]


def test_a_changed_local_data_set_has_another_pin(tmp_path: Path) -> None:
    datasets.Dataset.from_dict(ROWS).save_to_disk(tmp_path / "saved")
    options = recipe.SourceOptions(dataset=str(tmp_path / "saved"))
    before = hub.pin(options)
    (tmp_path / "saved" / "dataset_info.json").write_text("{}")
    assert hub.pin(options) != before


def test_a_hub_that_cannot_be_reached_is_told_with_what_to_do() -> None:
    with pytest.raises(stage.StageFailed, match=r"data set some/name: the hub at .* did not give all of it"):
        hub.newest_commit("some/name")


def test_a_missing_library_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"data set a/b: reading it needs `pip install 'bloom-roots\[hub\]'`"):
        hub.shards(recipe.SourceOptions(dataset="a/b"))


def test_a_source_of_the_catalogue_is_read_as_published() -> None:
    plan_of = recipe.load(Path("roots.toml"), ['sources.names=["lm_eu_wikipedia"]'])
    assert [source.options.dataset for source in sources.resolve(plan_of)] == ["bigscience-data/roots_eu_wikipedia"]
