"""Pooling, brackets, the loss and gradient caching by hand; then retrieval on pairs of real text."""

from __future__ import annotations

import json
import math

import numpy as np
import pyarrow as pa
import pytest
import torch
import zstandard

from model import bloom, config, embed
from tokenizer import encode


@pytest.fixture(scope="module")
def encoder(tokenizer_folder) -> encode.Encoder:
    return encode.Encoder(tokenizer_folder, special_collisions="allow")


def a_model(encoder, seed: int = 0) -> bloom.Bloom:
    shape = config.size("nano", encoder.vocab_size)
    return bloom.Bloom(shape).initialise(torch.Generator().manual_seed(seed))


def test_later_tokens_weigh_more_and_padding_nothing():
    states = torch.tensor([[[1.0, 0.0], [0.0, 6.0], [9.0, 9.0]], [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
    found = embed.pool(states, torch.tensor([2, 3]))
    # (1 * a + 2 * b) / 3, and (1 * a + 2 * b + 3 * c) / 6
    assert found.tolist() == [pytest.approx([1 / 3, 4.0]), pytest.approx([22 / 6, 28 / 6])]


def test_a_text_stands_between_its_brackets_and_is_cut_inside_them(encoder):
    texts = embed.tokenize(["Mto", "The river " * 400], embed.QUERY, encoder, torch.device("cpu"))
    left, right = (encoder.encode(pa.array([mark]))[0].tolist() for mark in embed.QUERY)
    assert texts.lengths.tolist()[1] == texts.ids.shape[1] == embed.TOKENS_MAX
    for row, length in zip(texts.ids.tolist(), texts.lengths.tolist(), strict=True):
        assert row[: len(left)] == left and row[length - len(right) : length] == right
        assert set(row[length:]) <= {3}


def test_padding_does_not_change_a_vector(encoder):
    model = a_model(encoder)
    together = embed.tokenize(["Mto", "The river was low that summer"], embed.DOCUMENT, encoder, torch.device("cpu"))
    alone = embed.tokenize(["Mto"], embed.DOCUMENT, encoder, torch.device("cpu"))
    with torch.no_grad():
        torch.testing.assert_close(
            embed.vectors(model, together)[:1], embed.vectors(model, alone), atol=1e-5, rtol=1e-5
        )


def test_the_loss_is_the_cross_entropy_of_the_own_document_at_a_temperature_of_one_twentieth():
    queries = torch.tensor([[2.0, 0.0], [0.0, 5.0]])
    documents = torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.0, 1.0]])  # the last one is a hard negative
    cosines = [[1.0, 0.6, 0.0], [0.0, 0.8, 1.0]]
    by_hand = [math.log(sum(math.exp(20 * c) for c in row)) - 20 * row[i] for i, row in enumerate(cosines)]
    assert embed.contrast(queries, documents).item() == pytest.approx(sum(by_hand) / 2, rel=1e-5)


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_cached_gradients_are_those_of_the_whole_batch(encoder, chunk):
    texts = ["The river", "Mto ulikuwa", "那年夏天", "boys swam to it and back", "sand"]
    device = torch.device("cpu")
    queries = embed.tokenize(texts, embed.QUERY, encoder, device)
    documents = embed.tokenize([text[::-1] for text in texts], embed.DOCUMENT, encoder, device)
    whole, cached = a_model(encoder), a_model(encoder)
    loss = embed.contrast(embed.vectors(whole, queries), embed.vectors(whole, documents))
    loss.backward()
    assert embed.backward(cached, queries, documents, chunk) == pytest.approx(loss.item(), rel=1e-5)
    for one, two in zip(whole.parameters(), cached.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, atol=1e-5, rtol=1e-3)


def test_bitfit_trains_biases_and_nothing_else(encoder):
    model = embed.bitfit(a_model(encoder))
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    pairs = [(f"word {n}", f"a text of the word {n}") for n in range(8)]
    embed.train(model, pairs, encoder, steps=2, batch=4)
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.endswith("bias")}


def test_fewer_pairs_than_a_batch_are_refused(encoder):
    with pytest.raises(ValueError, match=r"embed.train: 2 pairs, a batch takes 4; use a smaller --batch"):
        embed.train(a_model(encoder), [("a", "b"), ("c", "d")], encoder, steps=1, batch=4)


def test_the_rank_of_the_own_document_is_counted(encoder):
    """A query that is a document finds it; the two others of a pair stand by chance."""
    model = a_model(encoder)
    pairs = [("Mto", "Mto"), ("The river was low", "The river was low"), ("那年夏天", "那年夏天")]
    marks = embed.QUERY
    try:
        embed.QUERY = embed.DOCUMENT
        assert embed.retrieval(model, pairs, encoder) == (1.0, 1.0)
    finally:
        embed.QUERY = marks


def test_retrieval_improves_on_real_pairs_that_were_not_trained_on(shared, encoder):
    """Two parts of one page of the development corpus: its first lines, and the rest."""
    path = shared / "corpus/lm_en_tldr_pages/part-00000.jsonl.zst"
    with zstandard.open(path, "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"].strip() for line, _ in zip(file, range(260), strict=False)]
    pairs = [(text[:40], text[40:120]) for text in texts if len(text) > 120]
    seen, held = pairs[40:], pairs[:40]
    model = a_model(encoder)
    before = embed.retrieval(model, held, encoder)
    losses = embed.train(model, seen, encoder, steps=40, batch=16, rate=3e-3, chunk=16)
    after = embed.retrieval(model, held, encoder)
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert after[1] > 1.5 * before[1]
