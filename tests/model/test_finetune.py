"""Packing, masks and loss by hand; then a small run on pairs made from real text."""

from __future__ import annotations

import dataclasses
import gzip
import json

import numpy as np
import pytest
import torch
import zstandard

from model import bloom, checkpoint, config, export, finetune, parallel
from tokenizer import encode

ALONE = parallel.World(rank=0, size=1, device=torch.device("cpu"))
IGNORE = bloom.IGNORE


@pytest.fixture(scope="module")
def encoder(tokenizer_folder) -> encode.Encoder:
    return encode.Encoder(tokenizer_folder, special_collisions="allow")


def written(write_shard, prefix, questions, answers) -> None:
    """Both shards, each document ended by id 2, as the writer leaves them."""
    write_shard(prefix.with_name(f"{prefix.name}_inputs"), [[*ids, 2] for ids in questions])
    write_shard(prefix.with_name(f"{prefix.name}_targets"), [[*ids, 2] for ids in answers])


def test_a_row_holds_pairs_end_to_end_and_scores_answers_only(tmp_path, write_shard):
    written(write_shard, tmp_path / "p", [[10, 11], [20]], [[12], [21, 22]])
    packed = finetune.Packed(tmp_path / "p", 10, seed=0)
    assert len(packed) == 1
    rows = packed.rows([0])
    pairs = {10: [10, 11, 12, 2], 20: [20, 21, 22, 2]}
    scored = {10: [IGNORE, 12, 2, IGNORE], 20: [21, 22, 2, IGNORE]}
    first = int(rows.ids[0, 0])  # the seed decides which one comes first
    second = 30 - first
    assert rows.ids[0].tolist() == [*pairs[first], *pairs[second], 3, 3]
    assert rows.targets[0].tolist() == [*scored[first], *scored[second], IGNORE, IGNORE]
    assert rows.segments[0].tolist() == [0] * 4 + [1] * 4 + [-1] * 2


def test_pairs_are_packed_greedily_in_their_order(tmp_path, write_shard):
    random = np.random.default_rng(0)
    lengths = random.integers(1, 9, 50).tolist()
    written(write_shard, tmp_path / "p", [[10 + n] * k for n, k in enumerate(lengths)], [[5]] * 50)
    packed = finetune.Packed(tmp_path / "p", 16, seed=1)
    by_hand, filled = [[]], 0  # a loop over the pairs, each takes its question, 5 and the end token
    for pair in packed.order.tolist():
        if filled + lengths[pair] + 2 > 16:
            by_hand.append([])
            filled = 0
        by_hand[-1].append(pair)
        filled += lengths[pair] + 2
    rows = packed.rows(range(len(packed)))
    found = [sorted(set(row.tolist()) - {2, 3, 5}) for row in rows.ids]
    assert found == [sorted(10 + pair for pair in row) for row in by_hand]
    assert sorted(packed.order.tolist()) == list(range(50))


def test_packing_again_gives_the_same_rows_and_another_seed_others(tmp_path, write_shard):
    written(write_shard, tmp_path / "p", [[10 + n] for n in range(30)], [[5]] * 30)
    one, again, other = (finetune.Packed(tmp_path / "p", 8, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.rows(range(5)).ids, again.rows(range(5)).ids)
    assert not np.array_equal(one.rows(range(5)).ids, other.rows(range(5)).ids)
    assert np.array_equal(one.rows([len(one)]).ids, one.rows([0]).ids)


def test_the_loss_of_a_packed_row_is_that_of_each_pair_alone(tmp_path, write_shard):
    """The masks let no pair see another one, and only answers count."""
    questions, answers = [[10, 11, 12], [20], [30, 31]], [[13, 14], [21], [32, 33, 34]]
    written(write_shard, tmp_path / "p", questions, answers)
    shape = config.BloomConfig(layers=2, hidden=16, heads=2, vocabulary=64, init_std=0.3)
    model = bloom.Bloom(shape).initialise(torch.Generator().manual_seed(0))
    packed = finetune.Packed(tmp_path / "p", 24, seed=0)
    nats = 0.0
    for question, answer in zip(questions, answers, strict=True):
        ids = [*question, *answer, 2]
        with torch.no_grad():
            logs = model(torch.tensor([ids]))[0].log_softmax(-1)
        nats -= sum(logs[i, ids[i + 1]].item() for i in range(len(question) - 1, len(ids) - 1))
    assert finetune.answer_loss(model, packed, 1, 10) == pytest.approx(nats / 9, rel=1e-5)


def test_a_pair_longer_than_a_sequence_is_left_out_and_counted(tmp_path, write_shard):
    written(write_shard, tmp_path / "p", [[10] * 9, [20]], [[5], [5]])
    packed = finetune.Packed(tmp_path / "p", 8, seed=0)
    assert packed.too_long == 1
    assert packed.order.tolist() == [1]
    with pytest.raises(ValueError, match="no pair of 2 fits in 2 tokens; use a longer --sequence"):
        finetune.Packed(tmp_path / "p", 2, seed=0)


def test_shards_that_do_not_match_are_refused(tmp_path, write_shard):
    written(write_shard, tmp_path / "p", [[10], [20]], [[5]])
    with pytest.raises(ValueError, match="p: 2 inputs, 1 targets; write the two shards together"):
        finetune.Packed(tmp_path / "p", 8, seed=0)


def test_pairs_are_read_and_written_with_a_leading_space_and_an_end(tmp_path, encoder):
    lines = [json.dumps({"inputs": f"Say {n}:", "targets": f"{n}"}) for n in range(3)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines[:2]) + "\n")
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write(lines[2])
    found = finetune.pairs([tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"])
    assert finetune.write(found, encoder, tmp_path / "p") == 3
    packed = finetune.Packed(tmp_path / "p", 32, seed=0, numbers=np.array([2]))
    assert encoder.decode(packed.rows([0]).ids[0]).startswith("Say 2: 2</s><pad>")


@pytest.mark.parametrize("line", ['{"inputs": "a"}', '{"inputs": "a", "targets": " "}', '["a", "b"]'])
def test_a_line_that_is_no_pair_is_refused(tmp_path, line):
    (tmp_path / "a.jsonl").write_text('{"inputs": "a", "targets": "b"}\n' + line)
    with pytest.raises(ValueError, match=r"a.jsonl line 2: expected texts 'inputs' and 'targets', got "):
        list(finetune.pairs([tmp_path / "a.jsonl"]))


def real_pairs(shared) -> list[tuple[str, str]]:
    """From the tldr pages of the development corpus: the name of a command, and its page."""
    path = shared / "corpus/lm_en_tldr_pages/part-00000.jsonl.zst"
    with zstandard.open(path, "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"].strip() for line, _ in zip(file, range(400), strict=False)]
    return [(text.partition("\n")[0], text.partition("\n")[2].strip()[:100]) for text in texts if "\n" in text]


def test_a_small_model_learns_to_answer_real_pairs_and_a_killed_run_goes_on(tmp_path, shared, encoder):
    prefix = tmp_path / "tldr"
    finetune.write(real_pairs(shared), encoder, prefix)
    seen, held = np.arange(20, 300), np.arange(20)
    packed, unseen = finetune.Packed(prefix, 192, 0, seen), finetune.Packed(prefix, 192, 0, held)
    shape = config.size("nano", encoder.vocab_size)
    options = finetune.Options(steps=16, batch=4, micro=2, rate=6e-3, checkpoint_every=8)

    def fresh() -> bloom.Bloom:
        return bloom.Bloom(shape).initialise(torch.Generator().manual_seed(0))

    model = fresh()
    before = finetune.answer_loss(model, unseen, 4, 100)
    losses = finetune.train(model, packed, options, tmp_path / "run", ALONE, say=lambda line: None)
    assert finetune.answer_loss(model, unseen, 4, 100) < 0.9 * before
    assert losses[-1] < 0.9 * losses[0]

    half = dataclasses.replace(options, steps=8)
    finetune.train(fresh(), packed, half, tmp_path / "again", ALONE, say=lambda line: None)
    again = fresh()
    assert finetune.train(again, packed, options, tmp_path / "again", ALONE, say=lambda line: None) == losses[8:]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    loaded = export.load(tmp_path / "run")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True))
    assert len(checkpoint.found(tmp_path / "run/checkpoints")) == 1
