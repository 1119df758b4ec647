"""Which duplicates are found over whole files, which of them stays, and when a run stops."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines import recipe, run, runner, stage, tools

numbers = itertools.count()


def words(count: int) -> list[str]:
    """Words that no other text has; of letters alone, as a cleaning step ignores digits."""
    return ["w" + "".join("abcdefghij"[int(digit)] for digit in f"{next(numbers):05d}") for _ in range(count)]


def changed(text: list[str], place: int, word: str) -> list[str]:
    return [*text[:place], word, *text[place + 1 :]]


def write(path: Path, texts: dict[str, list[str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ({"id": identity, "text": " ".join(text)} for identity, text in texts.items())
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def duplicates(tmp_path: Path, files: list[Path], *overrides: str) -> dict[str, tuple[str, str, str, float]]:
    """id -> (kind, kept, witness, similarity to two decimals)."""
    tools.dedup(files, tmp_path / "out", "id", "text", list(overrides), workers=1)
    rows = pq.read_table(tmp_path / "out" / "duplicates.parquet").to_pylist()
    return {row["id"]: (row["kind"], row["kept_id"], row["witness_id"], round(row["similarity"], 2)) for row in rows}


def test_the_longest_stays_whatever_its_place_and_copies_go_with_their_like(tmp_path: Path) -> None:
    base = words(100)
    first = write(tmp_path / "a.jsonl", {"short": base, "short copy": base, "other": words(30)})
    second = write(tmp_path / "b.jsonl", {"long": [*base, "and", "more"], "long copy": [*base, "and", "more"]})
    # 96 shingles of five words in 100 words, 98 in 102: 96 / 98
    assert duplicates(tmp_path, [first, second]) == {
        "short": ("near", "long", "long", 0.98),
        "short copy": ("near", "long", "long", 0.98),
        "long copy": ("exact", "long", "long", 1.0),
    }


def test_of_documents_of_one_length_the_first_by_id_stays(tmp_path: Path) -> None:
    base = words(100)
    alike = changed(base, 50, "x" * len(base[50]))  # 91 of 96 + 5 shingles
    file = write(tmp_path / "a.jsonl", {"a10": base, "b": alike, "a9": base})
    assert duplicates(tmp_path, [file]) == {"a10": ("exact", "a9", "a9", 1.0), "b": ("near", "a9", "a9", 0.9)}


def test_a_source_named_first_keeps_its_shorter_document(tmp_path: Path) -> None:
    base = words(100)
    files = [write(tmp_path / "a.jsonl", {"long": [*base, "more"]}), write(tmp_path / "b.jsonl", {"short": base})]
    assert list(duplicates(tmp_path, files)) == ["short"]
    assert list(duplicates(tmp_path, files, 'dedup.priority=["file-00001"]')) == ["long"]
    assert list(duplicates(tmp_path, files, 'dedup.priority=["file-00001"]', "dedup.survivor=[]")) == ["short"]
    assert list(duplicates(tmp_path, files, 'dedup.survivor=["length", "priority"]')) == ["short"]


def test_a_chain_is_one_cluster_in_which_each_removal_has_its_own_witness(tmp_path: Path) -> None:
    base = words(100)
    ends = [[*base, *words(8)], [*base[2:], "one", *words(24)]]  # both near to `base`, not to each other
    file = write(tmp_path / "a.jsonl", {"middle": base, "end": ends[0], "other end": ends[1]})
    found = duplicates(tmp_path, [file], "dedup.threshold=0.75")
    assert found == {"middle": ("near", "other end", "end", 0.92)}


def test_of_many_pages_of_one_template_one_stays(tmp_path: Path) -> None:
    template = words(60)
    pages = {str(n): changed(template, n % 60, f"page{10 ** (n % 7)}x{n}") for n in range(240)}  # of many lengths
    file = write(tmp_path / "a.jsonl", {**pages, "copy of 6": pages["6"]})
    found = duplicates(tmp_path, [file], "dedup.bucket_max=8", "dedup.threshold=0.6")  # 46 of 66
    longest = max(pages, key=lambda identity: (len(" ".join(pages[identity])), -int(identity)))
    assert found.keys() == {*pages, "copy of 6"} - {longest}
    assert {row[1] for row in found.values()} == {longest}


@pytest.mark.parametrize(("exact", "near", "found"), [(1, 0, {"copy"}), (0, 1, {"copy", "alike"}), (0, 0, set())])
def test_either_kind_can_be_left_out(tmp_path: Path, exact: int, near: int, found: set[str]) -> None:
    base = words(100)
    file = write(tmp_path / "a.jsonl", {"a": base, "copy": base, "alike": base[1:]})
    chosen = [f"dedup.exact={'true' if exact else 'false'}", f"dedup.near={'true' if near else 'false'}"]
    assert duplicates(tmp_path, [file], *chosen).keys() == found


def test_documents_without_words_are_copies_or_nothing(tmp_path: Path) -> None:
    file = write(
        tmp_path / "a.jsonl", {"1": ["..."], "2": ["!!!"], "3": ["..."], "4": ["so", "so"], "5": ["So?", "so"]}
    )
    assert duplicates(tmp_path, [file]) == {"3": ("exact", "1", "1", 1.0), "4": ("near", "5", "5", 1.0)}


def test_a_source_that_would_mostly_vanish_stops_the_run_and_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "sources"
    texts = [words(40) for _ in range(10)]
    write(folder / "lm_en_first" / "a.jsonl", {str(n): text for n, text in enumerate(texts)})
    write(
        folder / "lm_en_second" / "a.jsonl", {str(n): text for n, text in enumerate([*texts[:6], words(9), words(9)])}
    )
    guard = ["dedup.guarded_documents_min=8", "language.model=", "language.sha256=", "quality.sources=[]"]
    chosen = recipe.load(Path("folder.toml"), [f"sources.folder={folder}", *guard])
    context = stage.Context(tmp_path / "out", chosen)
    with pytest.raises(
        stage.StageFailed, match=r"source lm_en_second: 6 of 8 documents \(75%\) are duplicates, more t"
    ):
        run.run(context, "dedup", runner.Engine(), lambda progress: None)
    made = {path: path.stat().st_mtime_ns for path in context.folder("dedup").rglob("*.parquet")}
    raised = recipe.load(Path("folder.toml"), [f"sources.folder={folder}", *guard, "dedup.removed_share_max=0.75"])
    run.run(stage.Context(tmp_path / "out", raised), "dedup", runner.Engine(), lambda progress: None)
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_simhash_finds_what_differs_in_few_bits_and_leaves_short_texts_alone(tmp_path: Path) -> None:
    base = words(400)
    file = write(tmp_path / "a.jsonl", {"a": base, "b": base[:-1], "far": words(400), "short": ["a"], "brief": ["b"]})
    found = duplicates(tmp_path, [file], "dedup.method=simhash")
    assert found.keys() == {"b"}
    assert found["b"][:3] == ("near", "a", "a")
    assert found["b"][3] >= 60 / 64 - 0.01


PASSAGE = "Bring a vessel of water to each house, and carry back the empty one before the evening comes. "


def test_passages_that_stand_before_are_marked_with_their_place(tmp_path: Path) -> None:
    before, behind = [*words(8), "before", PASSAGE, "then"], [*words(29), "behind", PASSAGE, "later"]
    first = write(tmp_path / "a.jsonl", {"a": words(40), "b": before, "a copy": [PASSAGE] * 9})
    second = write(tmp_path / "b.jsonl", {"c": behind, "gone": [PASSAGE] * 9})
    mark = "dedup.substring.action=mark"
    assert duplicates(tmp_path, [first, second], mark).keys() == {"gone"}
    spans = pq.read_table(tmp_path / "out" / "spans.parquet").to_pylist()
    line = len(PASSAGE)
    # words take 7 bytes with their space; the spaces around agree too
    assert spans == [
        {"id": "a copy", "start": 0, "end": 9 * (line + 1) - 1, "kept_id": "b", "kept_start": 63},
        {"id": "c", "start": 209, "end": 210 + line + 1, "kept_id": "b", "kept_start": 62},
    ]
    duplicates(tmp_path, [first, second], mark, "dedup.substring.across_sources=false")
    spans = pq.read_table(tmp_path / "out" / "spans.parquet").to_pylist()
    assert [(row["id"], row["kept_id"]) for row in spans] == [("a copy", "b")]


def test_passages_are_cut_from_the_corpus_and_a_document_of_nothing_else_goes(tmp_path: Path) -> None:
    folder = tmp_path / "sources"
    own, other = [*words(40), "here"], [*words(40), "there, at last"]
    write(folder / "lm_en_a" / "a.jsonl", {"1": [*own, PASSAGE], "2": [*other, PASSAGE], "3": [PASSAGE]})
    chosen = recipe.load(
        Path("folder.toml"),
        [
            f"sources.folder={folder}",
            "dedup.substring.action=cut",
            "language.model=",
            "language.sha256=",
            "quality.sources=[]",
        ],
    )
    for name, batch_docs in (("one", 1024), ("two", 1)):
        context = stage.Context(tmp_path / name, chosen, batch_docs)
        run.run(context, "redact", runner.Engine(), lambda progress: None)
        table = pq.read_table(context.folder("corpus") / "en/lm_en_a/part-00000-of-00001.parquet")
        kept = dict(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True))
        assert kept == {"lm_en_a/a.jsonl:0": " ".join([*own, PASSAGE]).strip(), "lm_en_a/a.jsonl:1": " ".join(other)}
        [part] = context.manifests("corpus")
        assert part.counts.removed == {"repeated_text": 1}


def test_texts_that_nobody_would_write_are_compared_like_others(tmp_path: Path) -> None:
    long = "x" * 1_000_000
    odd = "a\u0000b \u202ec\u202d d\ufffe \U0010ffff " * 30
    texts = {"1": [long], "2": [long + "y"], "3": [odd], "4": [odd, "a"], "5": [""], "6": [" "], "7": ["\u0000"]}
    file = write(tmp_path / "a.jsonl", {**texts, "8": [long]})
    found = duplicates(tmp_path, [file], "dedup.substring.action=mark")
    assert found == {"8": ("exact", "1", "1", 1.0), "3": ("near", "4", "4", found["3"][3])}
    spans = pq.read_table(tmp_path / "out" / "spans.parquet").to_pylist()
    assert {row["id"]: row["end"] for row in spans}.keys() == {"1", "2", "4"}
    assert max(row["end"] for row in spans) == 1_000_000
