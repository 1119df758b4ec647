"""The stages of the tokenizer and the shards, as real runs: the same bytes however cut, every token traced."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipelines import cli, manifest, path, pulse, recipe, runner, stage, verify
from pipelines import count as counting
from pipelines import run as running
from tokenizer import count, encode, learn, learn_run, mix, shards, spec

RECIPE = """
base = "base.toml"
name = "test"
[run]
task_bytes = {task_bytes}
[clean.steps]
"*" = []
[language]
model = ""
sha256 = ""
[quality]
sources = []
[dedup]
exact = false
near = false
[redact]
tags = []
code_tags = []
[tokenizer]
vocab_size = 320
baseline_vocab_size = 280
held_out_ratio = 0.2
parallel = "*_pages"
parallel_key = "[a-z]+/(.*)"
"""
AGAIN = "This line stands in many documents."


def make(folder: Path, task_bytes: int, until: str = "shards", workers: int = 1, more: str = "") -> stage.Context:
    path = folder.parent / f"{folder.name}.toml"
    path.write_text(RECIPE.format(task_bytes=task_bytes) + more, encoding="utf-8")
    overrides = [f"sources.folder={folder.parent / 'sources'}"]
    context = stage.Context(folder, recipe.load(path, overrides), 7)
    running.run(context, until, runner.Engine(workers=workers), lambda progress: None)
    return context


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """English and Swahili pages, half of them translations; code with a repeated line; text that spells specials."""
    place = tmp_path_factory.mktemp("tokens")
    pages = [f"Page {n} of the book, about river {n * 7}.\n{AGAIN}\n\n  {AGAIN}  \nThe end {n}." for n in range(40)]
    write(place, "lm_en_pages", [{"text": text, "meta": {"path": f"en/{n}"}} for n, text in enumerate(pages)])
    swahili = [f"Ukurasa {n} wa kitabu, kuhusu mto {n * 7}. </s> Mwisho {n}." for n in range(20)]
    write(place, "lm_nigercongo-sw_pages", [{"text": t, "meta": {"path": f"sw/{n}"}} for n, t in enumerate(swahili)])
    write(place, "lm_code_c", [{"text": f"int f{n}(void)\n{{\n    return {n};\n}}\n"} for n in range(30)])
    write(place, "lm_zhs_shi", [{"text": "今天天气很好，我们去公园。"}, {"text": ""}])
    return place


def write(place: Path, source: str, rows: list[dict]) -> None:
    folder = place / "sources" / source
    folder.mkdir(parents=True)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (folder / "part-00000.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def whole(root: Path) -> stage.Context:
    return make(root / "whole", 10**9)


@pytest.fixture(scope="module")
def pieces_cut(root: Path) -> stage.Context:
    return make(root / "cut", 400, workers=2)


def documents(context: stage.Context) -> dict[str, dict[str, str]]:
    """Texts of the corpus by source and id."""
    found: dict[str, dict[str, str]] = {}
    for part in context.manifests("corpus"):
        table = pq.read_table(context.folder("corpus") / f"{part.name}.parquet")
        found.setdefault(part.source, {}).update(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True))
    return found


def test_tables_tokenizer_report_and_mix_do_not_depend_on_tasks_or_workers(whole, pieces_cut):
    assert len(pieces_cut.manifests(counting.PIECES)) > 2 * len(whole.manifests(counting.PIECES))
    for name in ("counts", "tokenizer", "tokenizer-report"):
        of = [
            {
                path.name: path.read_bytes()
                for path in context.folder(name).iterdir()
                if manifest.MANIFEST not in path.name
            }
            for context in (whole, pieces_cut)
        ]
        for files in of:
            del files["_SUCCESS"], files["_plan.jsonl"]
        assert of[0] == of[1]
        assert len(of[0]) >= 5


def test_several_partitions_of_lines_give_the_same_counts(whole, root, monkeypatch):
    monkeypatch.setattr(counting.exchange, "PARTITION_BYTES", 64)
    context = make(root / "parted", 1_000, until="tokenizer")
    assert len(context.manifests(counting.REPEATS)) > 8
    digests = [[part.facts["pieces"]["digest"] for part in of.manifests("counts")] for of in (whole, context)]
    assert digests[0] == digests[1]


def test_lines_are_counted_once_wherever_they_stand_but_those_of_code_each_time(whole):
    """Against a plain count in Python of what the original's rule leaves: strip, drop empty, drop what was before."""
    seen: set[str] = set()
    for language in ("code", "en", "nigercongo-sw"):
        want: Counter[bytes] = Counter()
        part = next(part for part in whole.manifests("counts") if part.language == language)
        for source, texts in documents(whole).items():
            if part.language not in source:
                continue
            for text in texts.values():
                left = text
                if "lm_code" not in source:
                    lines = [line.strip() for line in text.split("\n")]
                    fresh = []
                    for line in lines:
                        if line and line not in seen:
                            fresh.append(line)
                            seen.add(line)
                    left = "\n".join(fresh)
                want.update(piece.encode() for piece, _ in spec.split().pre_tokenize_str(left))
        got: Counter[bytes] = Counter()
        for ending in counting.ENDINGS:
            table, _ = counting.read(whole, part, ending)
            got.update(dict(zip(table.pieces.to_pylist(), table.counts.tolist(), strict=True)))
        assert got == want
        assert (want[b" stands"] == 1) if language == "en" else want


def test_some_documents_are_held_out_and_judged_by(whole):
    en = next(part for part in whole.manifests("counts") if part.language == "en")
    assert 2 <= en.facts["text.held"]["documents"] <= 16
    assert en.facts["text"]["documents"] + en.facts["text.held"]["documents"] == 40


def test_the_report_compares_translations(whole):
    lines = (whole.folder("tokenizer-report") / "report.csv").read_text(encoding="utf-8").splitlines()
    rows = {cells[0]: cells for cells in (line.split(",") for line in lines)}
    encoder = encode.Encoder(whole.folder("tokenizer"))
    texts = documents(whole)
    own = len(encoder.encode(pa.array(texts["lm_nigercongo-sw_pages"].values()))[0])
    english = len(encoder.encode(pa.array(list(texts["lm_en_pages"].values())[:20]))[0])
    assert rows["nigercongo-sw"][-1] == f"{own / english:.6f}"
    assert rows["en"][-1] == "1.000000"
    assert rows["code"][-1] == "nan"


def test_the_account_of_every_stage_closes_and_every_byte_is_sealed(whole):
    assert list(verify.problems(whole.output)) == []
    counts = manifest.total(part.counts for part in whole.manifests(counting.PIECES))
    assert counts.documents_in == counts.kept == 92


def test_every_document_is_in_the_shards_with_its_lineage(whole):
    encoder = encode.Encoder(whole.folder("tokenizer"))
    texts = documents(whole)
    for part in whole.manifests("shards"):
        shard = shards.Shard(whole.folder("shards") / part.name)
        origin = shards.lineage(shard)
        filled = [name for name, text in texts[part.source].items() if text]
        assert origin["document"].to_pylist() == filled
        assert set(origin["shard"].to_pylist()) == {part.name.rpartition("/")[2]}
        for row, name in enumerate(filled):
            first, size = origin["first"][row].as_py(), origin["tokens"][row].as_py()
            ids = np.asarray(shard.tokens[first : first + size])
            assert ids[-1] == encoder.eod
            assert (ids[:-1] > 3).all()  # "</s>" in the text is text
            assert encoder.decode(ids[:-1]) == texts[part.source][name]
            assert shards.trace(shard, first + size - 1) == (row, size - 1)


def test_the_mix_weighs_shards_by_their_tokens(whole):
    groups = {group.name: group for group in mix.read(whole.folder("mix") / "mix.txt")}
    tokens = {part.name: part.facts["tokens"] for part in whole.manifests("shards")}
    assert set(groups) == {"train", "valid", "valid_code", "valid_en", "valid_nigercongo-sw", "valid_zhs"}
    assert {p.prefix: p.weight for p in groups["train"].parts} == {
        name: size / sum(tokens.values()) for name, size in tokens.items()
    }
    assert {(p.start, p.end) for p in groups["train"].parts} == {(0.0, 0.95)}


def test_a_shard_is_shown_by_token_and_verified_on_the_command_line(whole, tmp_path):
    prefix = whole.folder("shards") / "en" / "lm_en_pages-00000-of-00001"
    call = CliRunner()
    shown = call.invoke(cli.app, ["shards", "show", str(prefix), "--token", "0"])
    assert "token 0 is number 0 of document 0" in shown.output
    assert "document lm_en_pages/part-00000.jsonl:0" in shown.output
    verified = call.invoke(cli.app, ["shards", "verify", str(prefix), "--vocab-size", "320"])
    assert "digests as in its manifest, 40 documents traced" in verified.output
    beyond = call.invoke(cli.app, ["shards", "show", str(prefix), "--token", "1000000"])
    assert (beyond.exit_code, "tokens, numbered from 0" in beyond.output) == (2, True)


def test_altered_ids_and_a_lineage_of_another_shard_are_found(whole, tmp_path):
    source = whole.folder("shards") / "en" / "lm_en_pages-00000-of-00001"
    copy = tmp_path / source.name
    for ending in (".bin", ".idx", ".lineage.parquet", manifest.MANIFEST):
        (tmp_path / (source.name + ending)).write_bytes(source.with_name(source.name + ending).read_bytes())
    data = bytearray(shards.bin_path(copy).read_bytes())
    data[0] ^= 1
    shards.bin_path(copy).write_bytes(data)
    call = CliRunner()
    found = call.invoke(cli.app, ["shards", "verify", str(copy), "--vocab-size", "320"])
    assert "its sha256 is not the one that its manifest states; write it again" in found.output
    other = whole.folder("shards") / "code" / "lm_code_c-00000-of-00001.lineage.parquet"
    shards.lineage_path(copy).write_bytes(other.read_bytes())
    with pytest.raises(ValueError, match=r"30 documents that are not those of .*; the two are not of one run"):
        shards.lineage(shards.Shard(copy))


def test_a_shard_without_lineage_and_a_token_that_is_not_there(whole, tmp_path):
    with shards.Writer(tmp_path / "plain", 300, 2) as writer:
        writer.add(np.array([5, 6]), np.array([0, 2]))
        writer.close()
    shard = shards.Shard(tmp_path / "plain")
    assert shards.lineage(shard) is None
    with pytest.raises(IndexError, match="token 3 of 3"):
        shards.trace(shard, 3)


class Killed(Exception):
    """Stands for the end of the process in the middle of learning."""


class Sign:
    """Where the learner's signs of life go; the process ends when more than `until` of the merges are made."""

    def __init__(self, until: float = 1.0):
        self.shares: list[float] = []
        self._until = until

    def __setitem__(self, place: slice, sign: bytes) -> None:
        self.shares.append(pulse.HERE.share)
        if pulse.HERE.share > self._until:
            raise Killed


def test_the_learner_shows_how_far_it_is_and_goes_on_from_there(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(learn_run, "PAUSE_MERGES", 5)  # of 60
    monkeypatch.setattr(learn, "CHECKPOINT_SECONDS", 0.0)
    step, (task,) = path.find("tokenizer"), path.find("tokenizer").plan(whole)

    def shown(until: float) -> list[float]:
        sign = Sign(until)
        with contextlib.suppress(Killed), monkeypatch.context() as patch:
            patch.setattr(pulse.HERE, "_sign", sign)
            step.work(task, whole, tmp_path)
        return sign.shares

    killed, resumed = shown(until=0.5), shown(until=1.0)
    assert (killed[0], killed) == (0, sorted(set(killed)))
    assert killed[-2] <= 0.5 < killed[-1]
    assert resumed[0] == killed[-2]  # the last checkpoint
    assert resumed == sorted(set(resumed))
    assert 0.8 < resumed[-1] < 1
    assert (tmp_path / "tokenizer.json").read_bytes() == (whole.folder("tokenizer") / "tokenizer.json").read_bytes()


def test_a_tokenizer_can_be_brought_and_what_sets_it_apart_is_said(whole, root):
    found = json.loads((whole.folder("tokenizer") / "tokenizer.json").read_text(encoding="utf-8"))
    found["normalizer"] = {"type": "NFC"}
    (root / "own.json").write_text(json.dumps(found), encoding="utf-8")
    context = make(root / "brought", 10**9, more=f'file = "{root / "own.json"}"\nend_of_document = "<pad>"\n')
    assert context.folder("tokenizer").joinpath("tokenizer.json").read_bytes() == (root / "own.json").read_bytes()
    card = (context.folder("tokenizer-report") / "README.md").read_text(encoding="utf-8")
    assert "| encoded by | the library: it has a normalizer |" in card
    shard = shards.Shard(context.folder("shards") / "en" / "lm_en_pages-00000-of-00001")
    assert shard.document(0)[-1] == 3


def test_a_smaller_sample_is_accounted_for(root):
    context = make(root / "small", 10**9, until="tokenizer", more="sample_bytes_max = 2_000\n")
    counts = manifest.total(part.counts for part in context.manifests(counting.PIECES))
    assert counts.removed == {"not_in_the_sample": 92 - counts.kept}
    assert 0 < counts.kept < 80


def test_an_empty_corpus_is_refused(tmp_path):
    write(tmp_path, "lm_en_none", [{"text": ""}])
    with pytest.raises(ValueError, match="the corpus is empty: no document with text was kept"):
        make(tmp_path / "out", 10**9)


def test_a_table_of_another_split_stops_the_run(whole, root, monkeypatch):
    context = dataclasses.replace(whole, output=whole.output)
    part = context.manifests("counts")[0]
    table, _ = counting.read(context, part)
    with monkeypatch.context() as patch:
        patch.setattr(count.pieces, "digest", lambda: "0" * 64)
        with pytest.raises(
            ValueError, match=r"were cut by the split .*, this version cuts by 000000000000; count again"
        ):
            counting.read(context, part)
    assert len(table) > 0
