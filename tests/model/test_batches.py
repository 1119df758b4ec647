"""Two oracles: figures of Megatron's compiled helpers, and loops written here from its rules."""

from __future__ import annotations

import hashlib
import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from model import batches
from tokenizer import mix


def part(prefix, weight=1.0, start=0.0, end=1.0) -> mix.Part:
    return mix.Part(weight=weight, start=start, end=end, prefix=str(prefix))


def some_documents(count: int, seed: int) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [[*random.integers(4, 300, random.integers(1, 30)).tolist(), 2] for _ in range(count)]


def oracle(documents: list[list[int]], numbers: range, wanted: int, length: int, seed: int) -> list[list[int]]:
    """All samples of one part, by walking over the tokens one at a time."""
    random = np.random.RandomState(seed)
    tokens = sum(len(documents[n]) for n in numbers)
    epochs = 1
    while (epochs * tokens - 1) // length < wanted:
        epochs += 1
    per_epoch = (tokens - 1) // length
    before = ((epochs - 1) * tokens - 1) // length
    apart = epochs > 1 and wanted - before < int(0.95 * per_epoch)
    order = [n for _ in range(epochs - apart) for n in numbers]
    order = np.array(order, np.int32)
    random.shuffle(order)
    if apart:
        last = np.array(list(numbers), np.int32)
        random.shuffle(last)
        order = np.concatenate((order, last))
    stream = [token for n in order for token in documents[n]]
    samples, start = [], 0
    while start + length + 1 <= len(stream):
        samples.append(stream[start : start + length + 1])
        start += length
    first = np.arange(before if apart else len(samples))
    rest = np.arange(len(first), len(samples))
    random.shuffle(first)
    if apart:
        random.shuffle(rest)
    return [samples[i] for i in [*first, *rest]]


def starts(lengths, order, length) -> list[list[int]]:
    total = (sum(lengths[n] for n in order) - 1) // length
    rows = np.full((total + 1, 2), -1)
    batches.sample_starts(np.array(lengths), np.array(order), length, rows)
    return rows.tolist()


def test_sample_starts_equal_megatrons(golden):
    case = golden["sample_index"]
    assert starts(case["sizes"], case["doc_idx"], case["seq_length"]) == case["result"]


@pytest.mark.parametrize("piece", [1, 2, 3, 7])
def test_sample_starts_do_not_depend_on_the_piece(monkeypatch, piece):
    random = np.random.default_rng(3)
    lengths, order = random.integers(0, 9, 40), random.permutation(40)
    whole = starts(lengths, order, 5)
    monkeypatch.setattr(batches, "PIECE", piece)
    assert starts(lengths, order, 5) == whole


@pytest.mark.parametrize("case", [0, 1])
def test_blending_equals_megatrons(golden, case):
    case = golden["blending"]["cases"][case]
    weights = np.array([float(Fraction(w)) for w in case["weights"]])
    rows = batches.blend(weights, case["size"])
    assert rows[:, 0].tolist() == case["dataset_index"]
    assert rows[:, 1].tolist() == case["dataset_sample_index"]


def test_blending_does_not_depend_on_the_piece(monkeypatch):
    weights = np.array([0.2, 0.5, 0.3])
    whole = batches.blend(weights, 100)
    monkeypatch.setattr(batches, "PIECE", 7)
    assert np.array_equal(batches.blend(weights, 100), whole)


def test_sample_starts_skip_a_document_without_tokens():
    assert starts([3, 0, 4], [0, 1, 2], 3) == [[0, 0], [2, 0], [2, 3]]


@pytest.mark.parametrize(
    ("tokens", "length", "samples", "epochs"),
    [(100, 10, 9, 1), (100, 10, 10, 2), (101, 10, 10, 1), (1, 4, 3, 13), (10, 4, 0, 1)],
)
def test_epochs_are_the_fewest_that_hold_the_samples(tokens, length, samples, epochs):
    assert batches.epochs_needed(tokens, length, samples) == epochs


@pytest.mark.parametrize(
    ("count", "wanted", "length"),
    [
        pytest.param(60, 20, 16, id="one-epoch"),
        pytest.param(60, 75, 16, id="last-epoch-apart"),
        pytest.param(60, 113, 16, id="last-epoch-nearly-full"),
        pytest.param(3, 40, 64, id="shard-shorter-than-a-sample"),
        pytest.param(1, 5, 4, id="one-document"),
    ],
)
@pytest.mark.parametrize("seed", [1, 42])
def test_samples_equal_a_walk_over_the_tokens(tmp_path, write_shard, count, wanted, length, seed):
    documents = some_documents(count, 1)
    write_shard(tmp_path / "a", documents)
    samples = batches.Samples(part(tmp_path / "a"), wanted, length, seed)
    expected = oracle(documents, range(count), wanted, length, seed)
    assert [samples[i].tolist() for i in range(len(samples))] == expected
    assert len(expected) >= wanted


def test_the_cases_above_cover_both_kinds_of_last_epoch():
    tokens = sum(map(len, some_documents(60, 1)))
    lasts = []
    for wanted in (75, 113):
        epochs = batches.epochs_needed(tokens, 16, wanted)
        lasts.append((wanted - ((epochs - 1) * tokens - 1) // 16) / ((tokens - 1) // 16))
    assert lasts[0] < 0.95 <= lasts[1]


def test_a_part_reads_only_its_range_of_documents(tmp_path, write_shard):
    documents = [[100 + n] * 5 for n in range(20)]
    write_shard(tmp_path / "a", documents)
    samples = batches.Samples(part(tmp_path / "a", start=0.75, end=1.0), 4, 8, 3)
    seen = {token for i in range(len(samples)) for token in samples[i].tolist()}
    assert seen == {115, 116, 117, 118, 119}


def test_uint16_and_int32_shards_give_the_same_samples(tmp_path, write_shard):
    documents = some_documents(30, 5)
    write_shard(tmp_path / "wide", documents, code=4)
    write_shard(tmp_path / "narrow", documents, code=8)
    wide, narrow = (batches.Samples(part(tmp_path / name), 25, 8, 0) for name in ("wide", "narrow"))
    assert [wide[i].tolist() for i in range(25)] == [narrow[i].tolist() for i in range(25)]


def mixture(tmp_path, write_shard, folder=None) -> tuple[batches.Mixture, dict[str, list[list[int]]]]:
    documents = {name: some_documents(count, count) for name, count in (("a", 50), ("b", 9), ("c", 20))}
    for name, found in documents.items():
        write_shard(tmp_path / name, found)
    parts = [part(tmp_path / name, weight) for name, weight in (("a", 5.0), ("b", 2.0), ("c", 3.0))]
    return batches.Mixture(parts, 60, 12, 7, 300, folder), documents


def test_a_mixture_blends_the_walks_of_its_parts(tmp_path, write_shard):
    mixed, documents = mixture(tmp_path, write_shard)
    weights = {"a": 0.5, "b": 0.2, "c": 0.3}
    walks = {
        name: oracle(found, range(len(found)), math.ceil(60 * weights[name] * 1.005), 12, 7)
        for name, found in documents.items()
    }
    taken = dict.fromkeys(weights, 0)
    for i in range(60):
        lag = {name: weights[name] * max(i, 1) - taken[name] for name in weights}
        name = max(lag, key=lag.__getitem__)  # the first on ties
        assert mixed[i].tolist() == walks[name][taken[name]]
        taken[name] += 1


def test_a_batch_does_not_depend_on_the_ones_before_it(tmp_path, write_shard):
    mixed, _ = mixture(tmp_path, write_shard)
    whole = mixed.batch(0, 60)
    again, _ = mixture(tmp_path, write_shard)
    assert np.array_equal(again.batch(37, 5), whole[37:42])
    assert np.array_equal(np.concatenate([mixed.batch(i, 4) for i in range(0, 60, 4)]), whole)


def test_more_than_254_parts_can_be_blended():
    rows = batches.blend(np.full(400, 1 / 400), 800)
    assert sorted(rows[:, 0].tolist()) == sorted(list(range(400)) * 2)
    assert set(rows[:, 1].tolist()) == {0, 1}


def test_an_id_that_the_tokenizer_lacks_is_refused_when_it_is_read(tmp_path, write_shard):
    write_shard(tmp_path / "a", [[5, 6, 400, 2]])
    with pytest.raises(ValueError, match=r"a: ids from 2 to 400 in sample 0, but the tokenizer has 400"):
        batches.Mixture([part(tmp_path / "a")], 4, 3, 0, 400).batch(0, 4)


def test_a_part_without_tokens_is_refused(tmp_path, write_shard):
    write_shard(tmp_path / "a", [[5, 2]])
    with pytest.raises(ValueError, match="a: no tokens in documents 0 to 0; drop the part"):
        batches.Samples(part(tmp_path / "a", end=0.4), 1, 4, 0)


def test_a_folder_is_divided_by_document_and_language(tmp_path, write_shard):
    write_shard(tmp_path / "en/wiki-00000", [[9] * 10] * 10)
    write_shard(tmp_path / "en/news-00000", [[9] * 5] * 10)
    write_shard(tmp_path / "zhs/wiki-00000", [[9] * 35] * 10)
    division = batches.divide(tmp_path, 0.2)
    assert [(p.prefix, p.weight, p.start, p.end) for p in division.train] == [
        (str(tmp_path / "en/news-00000"), 0.1, 0.0, 0.8),
        (str(tmp_path / "en/wiki-00000"), 0.2, 0.0, 0.8),
        (str(tmp_path / "zhs/wiki-00000"), 0.7, 0.0, 0.8),
    ]
    held_out = {k: [(p.prefix, p.documents(10)) for p in v] for k, v in division.held_out.items()}
    assert held_out == {
        "en": [
            (str(tmp_path / "en/news-00000"), range(8, 10)),
            (str(tmp_path / "en/wiki-00000"), range(8, 10)),
        ],
        "zhs": [(str(tmp_path / "zhs/wiki-00000"), range(8, 10))],
    }


def test_a_shard_without_training_documents_is_only_evaluated(tmp_path, write_shard):
    write_shard(tmp_path / "en/long-0", [[9] * 10] * 10)
    write_shard(tmp_path / "sw/one-0", [[9] * 10])
    division = batches.divide(tmp_path, 0.6)
    assert [p.prefix for p in division.train] == [str(tmp_path / "en/long-0")]
    assert sorted(division.held_out) == ["en", "sw"]


def test_a_mix_file_divides_as_it_says(tmp_path, write_shard):
    for name in ("en/wiki", "sw/news"):
        write_shard(tmp_path / name, [[9] * 10] * 10)
    shares = {"en/wiki": 0.75, "sw/news": 0.25}
    mix.write(tmp_path / "mix.txt", [*mix.train(shares, 0.95), *mix.valid(shares, 0.95)])
    division = batches.divide_by(tmp_path / "mix.txt", tmp_path)
    assert [(p.prefix, p.weight, p.end) for p in division.train] == [
        (str(tmp_path / "en/wiki"), 0.75, 0.95),
        (str(tmp_path / "sw/news"), 0.25, 0.95),
    ]
    assert {k: [p.prefix for p in v] for k, v in division.held_out.items()} == {
        "en": [str(tmp_path / "en/wiki")],
        "sw": [str(tmp_path / "sw/news")],
    }


def test_a_mix_file_without_a_group_to_train_on_is_refused(tmp_path):
    mix.write(tmp_path / "mix.txt", mix.valid({"en/wiki": 1.0}, 0.95))
    with pytest.raises(ValueError, match=r"no group 'train', only valid, valid_en"):
        batches.divide_by(tmp_path / "mix.txt", tmp_path)


def test_a_folder_without_shards_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no shards \(.idx and .bin\) here or below"):
        batches.divide(tmp_path, 0.0)


@pytest.mark.parametrize("kept", [(), ("documents",), ("documents", "starts"), ("blend", "samples")])
def test_an_index_on_the_disk_is_the_one_in_memory_also_after_a_kill(tmp_path, write_shard, kept):
    """A kill leaves some of the files; the rest is made again to the same samples."""
    in_memory, _ = mixture(tmp_path, write_shard)
    folder = tmp_path / "index"
    on_disk, documents = mixture(tmp_path, write_shard, folder)
    assert len(list(folder.iterdir())) == 1 + 3 * len(documents)
    for path in folder.iterdir():
        if path.stem.rpartition("-")[2] not in kept:
            path.unlink()
    again, _ = mixture(tmp_path, write_shard, folder)
    for found in (on_disk, again):
        assert np.array_equal(found.batch(0, 60), in_memory.batch(0, 60))


def test_reading_ahead_gives_the_same_samples(tmp_path, write_shard):
    mixed, _ = mixture(tmp_path, write_shard)
    ahead = batches.Ahead(mixed)
    ahead.expect(4, 4)
    ahead.expect(40, 4)  # never asked for
    for start in (0, 4, 8):
        assert np.array_equal(ahead.batch(start, 4), mixed.batch(start, 4))


def test_fewer_tokens_than_a_sample_are_refused(tmp_path, write_shard):
    write_shard(tmp_path / "a", [[5, 6, 2]])
    with pytest.raises(ValueError, match="the shards hold 3 tokens to train on, a sample takes 5"):
        batches.Mixture([part(tmp_path / "a")], 4, 4, 0, 300)


def a_manifest(prefix, tokenizer: str) -> None:
    """What `roots run` writes beside a shard, as far as training reads it."""
    files = {f"en/{prefix.name}{end}": {"sha256": sha256(prefix, end)} for end in (".bin", ".idx")}
    text = json.dumps({"facts": {"tokenizer": tokenizer}, "files": files})
    Path(f"{prefix}.manifest.json").write_text(text)


def sha256(prefix, end: str) -> str:
    return hashlib.sha256(Path(f"{prefix}{end}").read_bytes()).hexdigest()


@pytest.mark.parametrize("end", [".bin", ".idx"])
def test_a_flipped_bit_in_a_shard_is_refused_with_the_file_named(tmp_path, write_shard, end):
    write_shard(tmp_path / "a", [[5, 6, 2], [7, 2]])
    a_manifest(tmp_path / "a", "t")
    assert batches.digests(tmp_path / "a", "t") == {f"a{e}": sha256(tmp_path / "a", e) for e in (".bin", ".idx")}
    data = bytearray(Path(f"{tmp_path}/a{end}").read_bytes())
    data[-1] ^= 1
    Path(f"{tmp_path}/a{end}").write_bytes(data)
    with pytest.raises(ValueError, match=rf"a{end}: sha256 is \w+, its manifest says \w+; the file is damaged"):
        batches.digests(tmp_path / "a", "t")


def test_a_shard_of_another_tokenizer_is_refused(tmp_path, write_shard):
    write_shard(tmp_path / "a", [[5, 6, 2]])
    a_manifest(tmp_path / "a", "one")
    with pytest.raises(ValueError, match=r"a: was made with the tokenizer one, the run has two \(sha256\)"):
        batches.digests(tmp_path / "a", "two")


def test_a_shard_without_one_of_its_files_is_refused(tmp_path, write_shard):
    write_shard(tmp_path / "a", [[5, 6, 2]])
    (tmp_path / "a.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"a.bin: not found; a shard is a .bin and an .idx"):
        batches.digests(tmp_path / "a", "t")


def test_the_identity_of_the_data_does_not_depend_on_where_they_lie(tmp_path, write_shard):
    found = []
    for place in ("one", "two"):
        write_shard(tmp_path / place / "en/a", [[5, 6, 2], [7, 2], [8, 2]])
        division = batches.divide(tmp_path / place, 0.4)
        found.append(batches.identity(division, tmp_path / place, "t"))
    assert found[0] == found[1]
    assert list(found[0]) == ["tokenizer", "en/a.idx", "en/a.bin", "--mix or --eval-share"]
    other = batches.identity(batches.divide(tmp_path / "one", 0.7), tmp_path / "one", "t")
    assert [name for name in other if other[name] != found[0][name]] == ["--mix or --eval-share"]
