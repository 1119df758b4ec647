from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from model import batches, bloom, config, evaluate, export
from tokenizer import encode, shards


@pytest.fixture(scope="module")
def encoder(tokenizer_folder) -> encode.Encoder:
    return encode.Encoder(tokenizer_folder, special_collisions="allow")


def a_model(encoder, std: float = 0.1) -> bloom.Bloom:
    shape = config.BloomConfig(layers=2, hidden=16, heads=2, vocabulary=encoder.vocab_size, init_std=std)
    return bloom.Bloom(shape).initialise(torch.Generator().manual_seed(0)).eval()


def test_windows_score_every_token_once_after_its_predecessor():
    ids = np.arange(10, 17)
    windows = [(a.tolist(), b.tolist()) for a, b in evaluate.windows(ids, 2, 3)]
    assert windows == [
        ([2, 10, 11], [10, 11, 12]),
        ([12, 13, 14], [13, 14, 15]),
        ([13, 14, 15], [-100, -100, 16]),  # the last one reaches back to be full
    ]


def test_a_short_text_is_one_window_after_the_end_token():
    assert [(a.tolist(), b.tolist()) for a, b in evaluate.windows(np.array([7, 8]), 2, 5)] == [([2, 7], [7, 8])]


def test_an_equal_guess_costs_the_logarithm_of_the_vocabulary(encoder):
    """A model whose weights are 0 gives each id the same probability."""
    model = a_model(encoder, std=0.0)
    text = "Mto ulikuwa na maji 浅 🙂"
    ids, _ = encoder.encode(pa.array([text]))
    score = evaluate.score(model, [ids], encoder, 8, 2)
    assert score.bytes == len(text.encode())
    assert score.tokens == len(ids)
    expected = len(ids) * math.log2(encoder.vocab_size) / len(text.encode())
    assert score.bits_per_byte == pytest.approx(expected, rel=1e-6)
    assert score.byte_perplexity == pytest.approx(2**expected, rel=1e-6)


def test_the_score_is_the_sum_by_hand(encoder):
    model = a_model(encoder)
    texts = [np.array([30, 40, 50, 60, 70]), np.array([80, 90])]
    nats = 0.0
    for ids in texts:  # one window each
        with torch.no_grad():
            logs = model(torch.tensor([[2, *ids[:-1]]]))[0].log_softmax(-1)
        nats -= sum(logs[i, token].item() for i, token in enumerate(ids))
    score = evaluate.score(model, texts, encoder, 8, 2)
    assert score.nats == pytest.approx(nats, rel=1e-5)
    assert (score.documents, score.tokens) == (2, 7)


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_the_score_does_not_depend_on_the_batch(encoder, batch):
    random = np.random.default_rng(0)
    texts = [random.integers(4, 300, n) for n in (1, 30, 7, 8, 9, 0)]
    model = a_model(encoder)
    one = evaluate.score(model, texts, encoder, 8, 2)
    other = evaluate.score(model, texts, encoder, 8, batch)
    assert (one.documents, one.tokens, one.bytes) == (other.documents, other.tokens, other.bytes) == (5, 55, one.bytes)
    assert one.nats == pytest.approx(other.nats, rel=1e-5)


def test_special_tokens_stand_for_no_bytes(encoder):
    assert evaluate.token_lengths(encoder)[:4].tolist() == [0, 0, 0, 0]
    assert evaluate.token_lengths(encoder)[4:260].tolist() == [1] * 256


def test_held_out_documents_score_as_the_same_texts_in_a_file(encoder, shards_folder, tmp_path):
    """The end-of-document token is context, never scored: both ways give the same figures."""
    model = a_model(encoder)
    division = batches.divide(shards_folder, 0.25)  # the last 10 of 40 documents
    from_shards = evaluate.held_out(model, division.held_out, encoder, 32, 4, 6)
    lines = []
    for language, (part,) in division.held_out.items():
        shard = shards.Shard(Path(part.prefix))
        lines += [f"{language}\t{encoder.decode(shard.document(n)[:-1].astype(int))}" for n in range(30, 36)]
    (tmp_path / "texts.tsv").write_text("\n".join([*lines, "", ""]), "utf-8")
    from_file = evaluate.labelled(model, tmp_path / "texts.tsv", encoder, 32, 4)
    assert list(from_shards) == ["en", "nigercongo-sw", "zhs"]
    assert from_shards == from_file
    assert all(score.documents == 6 and score.bytes > 400 for score in from_shards.values())


def test_a_language_without_held_out_documents_has_no_score(encoder, shards_folder):
    assert evaluate.held_out(a_model(encoder), batches.divide(shards_folder, 0.0).held_out, encoder, 8, 2, 5) == {}


def test_a_line_without_a_tab_is_refused(encoder, tmp_path):
    (tmp_path / "texts.tsv").write_text("en\tgood\nbad line\n")
    with pytest.raises(ValueError, match=r"texts.tsv line 2: no tab; expected 'language<TAB>text', got 'bad line'"):
        evaluate.labelled(a_model(encoder), tmp_path / "texts.tsv", encoder, 8, 2)


def test_byte_perplexity_of_a_file_equals_that_of_transformers_over_the_harness_windows(encoder, tmp_path):
    """The oracle: transformers' logits of the same weights, lm-evaluation-harness' own windows, sums by hand."""
    transformers = pytest.importorskip("transformers")
    windows = pytest.importorskip("lm_eval.utils").get_rolling_token_windows
    model = a_model(encoder)
    export.save(model, tmp_path / "hub")
    theirs = transformers.BloomForCausalLM.from_pretrained(tmp_path / "hub")
    texts = {
        "en": ["The river was low that summer and the ferry stood on the sand.", "Boys"],
        "zhs": ["那年夏天河水很浅"],
    }
    lines = [f"{language}\t{text}" for language, found in texts.items() for text in found]
    (tmp_path / "texts.tsv").write_text("\n".join(lines), "utf-8")
    ours = evaluate.labelled(model, tmp_path / "texts.tsv", encoder, 8, 3)
    for language, found in texts.items():
        nats = 0.0
        for text in found:
            ids = encoder.encode(pa.array([text]))[0].tolist()
            for context, wanted in windows(ids, encoder.eod, 8, 1):
                with torch.no_grad():
                    logs = theirs(torch.tensor([context])).logits[0].log_softmax(-1)[-len(wanted) :]
                nats -= sum(logs[i, token].item() for i, token in enumerate(wanted))
        expected = math.exp(nats / sum(len(text.encode()) for text in found))
        assert ours[language].byte_perplexity == pytest.approx(expected, rel=1e-5)
