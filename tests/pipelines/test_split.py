"""A crawl of two languages, from WARC to a folder of sources: boilerplate gone, pages parted, each accounted for."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines import recipe, runner, split, stage, verify
from pipelines import run as running

pytest.importorskip("resiliparse", reason="the extra `crawl` is not installed")

ENGLISH = "The river was high this morning and the children of village {} walked along it to school with their books."
SWAHILI = (
    "Mto ulikuwa umejaa asubuhi hii na watoto wa kijiji cha {} walitembea kando yake kwenda shuleni na vitabu vyao."
)
UKRAINIAN = "Сьогодні вранці річка була повна, і діти з села {} йшли уздовж неї до школи зі своїми новими книжками."
QUIET = runner.Engine(workers=1)


def page(sentence: str, name: str) -> str:
    body = "".join(f"<p>{sentence.format(name + letter)}</p>" for letter in "abcd")
    return (
        f"<html><body><article><p>Subscribe to our newsletter</p>{body}<p>twice</p><p>twice</p></article></body></html>"
    )


def record(url: str, html: str) -> bytes:
    block = f"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{html}".encode()
    head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\nContent-Length: {len(block)}\r\n\r\n"
    return gzip.compress(head.encode() + block + b"\r\n\r\n")


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> stage.Context:
    """The cleaned pages of a crawl: 12 English, 8 Swahili and 1 Ukrainian page, two copies, a page of nothing."""
    root = tmp_path_factory.mktemp("crawl")
    names = "abcdefghijkl"
    pages = {f"https://example.org/en/{name}": page(ENGLISH, name) for name in names}
    pages |= {f"https://example.org/sw/{name}": page(SWAHILI, name) for name in names[:8]}
    pages |= {"https://example.org/uk": page(UKRAINIAN, "a"), "https://example.org/nothing": "<p>gone</p>"}
    pages |= {"https://example.org/copy": pages["https://example.org/en/a"]}
    folder = root / "data" / "pseudo_crawl_900_example_org"
    folder.mkdir(parents=True)
    records = [record(url, html) for url, html in pages.items()]
    (folder / "a.warc.gz").write_bytes(b"".join(records))
    (folder / "b.warc.gz").write_bytes(record("https://example.org/en/b?again=1", page(ENGLISH, "z")))
    chosen = recipe.load(Path("pseudo_crawl.toml"), [f"sources.folder={root / 'data'}"])
    context = stage.Context(root / "out", chosen)
    running.run(context, "clean", QUIET, lambda progress: None)
    running.run_one(context, split.STAGE, QUIET, lambda progress: None)
    return context


def found(context: stage.Context) -> dict[str, list[dict]]:
    return {
        folder.name: [row for file in sorted(folder.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]
        for folder in context.folder("split").glob("lm_*")
    }


def test_the_pages_of_each_language_are_a_source_without_what_the_site_repeats(crawl: stage.Context) -> None:
    parts = found(crawl)
    english, swahili = (parts[f"lm_{code}_pseudocrawl-filtered_900_example_org"] for code in ("en", "nigercongo-sw"))
    assert len(parts) == 2
    assert [row["text"] for row in english] == [
        "\n".join(ENGLISH.format(name + letter) for letter in "abcd") for name in "abcdefghijkl"
    ]
    assert len(swahili) == 8
    assert {(row["source"], row["language"]) for row in swahili} == {
        ("lm_nigercongo-sw_pseudocrawl-filtered_900_example_org", "nigercongo-sw")
    }
    assert json.loads(swahili[0]["meta"])["url"] == "https://example.org/sw/a"
    assert json.loads(swahili[0]["meta"])["crawl_id"] == "pseudo_crawl_900_example_org/a.warc.gz:12"


def test_every_page_is_accounted_for(crawl: stage.Context) -> None:
    cleaned, parted = ([part.counts for part in crawl.manifests(name)] for name in ("clean", "split"))
    removed: dict[str, int] = {}
    for counts in (*cleaned, *parted):
        for reason, count in counts.removed.items():
            removed[reason] = removed.get(reason, 0) + count
    assert removed == {
        "duplicate_text": 1,
        "duplicate_url": 1,
        "no_language_of_the_corpus": 1,
        "too_few_characters": 1,
    }
    assert sum(counts.documents_in for counts in cleaned) == 24
    assert sum(counts.kept for counts in parted) == 20
    assert list(verify.problems(crawl.output)) == []


def test_the_parts_are_sources_of_a_run(crawl: stage.Context, tmp_path: Path) -> None:
    chosen = recipe.load(Path("folder.toml"), [f"sources.folder={crawl.folder('split')}"])
    context = stage.Context(tmp_path / "out", chosen)
    running.run(context, "ingest", QUIET, lambda progress: None)
    kept = {part.source: part.counts.kept for part in context.manifests("documents")}
    assert kept == {name: len(rows) for name, rows in found(crawl).items()}


def test_a_crawl_is_not_judged_before_it_is_parted(crawl: stage.Context) -> None:
    with pytest.raises(
        ValueError, match=r"pseudo_crawl_900_example_org is of several languages.* `roots crawl split OUT`"
    ):
        running.run(crawl, "annotate", QUIET, lambda progress: None)


def test_a_run_without_a_crawl_has_nothing_to_part(crawl: stage.Context, tmp_path: Path) -> None:
    (tmp_path / "data" / "lm_en_a").mkdir(parents=True)
    (tmp_path / "data" / "lm_en_a" / "a.txt").write_text("text")
    chosen = recipe.load(Path("folder.toml"), [f"sources.folder={tmp_path / 'data'}"])
    context = stage.Context(tmp_path / "out", chosen)
    running.run(context, "clean", QUIET, lambda progress: None)
    with pytest.raises(ValueError, match="no source of the run is of several languages"):
        split.plan(context)


def test_a_crawl_cannot_be_parted_without_a_model(crawl: stage.Context) -> None:
    chosen = recipe.load(Path("pseudo_crawl.toml"), ["sources.folder=x", "language.model=''"])
    with pytest.raises(ValueError, match=re.escape("language.model: a crawl is parted by a language model")):
        split.plan(stage.Context(crawl.output, chosen))
