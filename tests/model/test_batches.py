"""Two oracles: figures of Megatron's compiled helpers, and loops written here from its rules."""

from __future__ import annotations

import math
from fractions import Fraction

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


def test_sample_starts_equal_megatrons(golden):
    case = golden["sample_index"]
    lengths = np.array(case["sizes"])[case["doc_idx"]]
    assert batches.sample_starts(lengths, case["seq_length"]).tolist() == case["result"]


@pytest.mark.parametrize("case", [0, 1])
def test_blending_equals_megatrons(golden, case):
    case = golden["blending"]["cases"][case]
    weights = np.array([float(Fraction(w)) for w in case["weights"]])
    parts, samples = batches.blend(weights, case["size"])
    assert parts.tolist() == case["dataset_index"]
    assert samples.tolist() == case["dataset_sample_index"]


def test_sample_starts_skip_a_document_without_tokens():
    assert batches.sample_starts(np.array([3, 0, 4]), 3).tolist() == [[0, 0], [2, 0], [2, 3]]


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


def mixture(tmp_path, write_shard) -> tuple[batches.Mixture, dict[str, list[list[int]]]]:
    documents = {name: some_documents(count, count) for name, count in (("a", 50), ("b", 9), ("c", 20))}
    for name, found in documents.items():
        write_shard(tmp_path / name, found)
    parts = [part(tmp_path / name, weight) for name, weight in (("a", 5.0), ("b", 2.0), ("c", 3.0))]
    return batches.Mixture(parts, 60, 12, 7, 300), documents


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
    parts, samples = batches.blend(np.full(400, 1 / 400), 800)
    assert sorted(parts.tolist()) == sorted(list(range(400)) * 2)
    assert set(samples.tolist()) == {0, 1}


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


def test_a_fingerprint_changes_with_any_byte_of_a_small_shard(tmp_path, write_shard):
    write_shard(tmp_path / "a", [[5, 6, 2], [7, 2]])
    before = batches.fingerprint(tmp_path / "a")
    binary = bytearray((tmp_path / "a.bin").read_bytes())
    for i in range(len(binary)):
        changed = binary.copy()
        changed[i] ^= 1
        (tmp_path / "a.bin").write_bytes(changed)
        assert batches.fingerprint(tmp_path / "a") != before
