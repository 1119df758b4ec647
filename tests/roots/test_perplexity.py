"""Perplexity by a model of five words that is written here, so that each score can be added up by hand."""

import sys

import pyarrow as pa
import pytest

from roots import perplexity

kenlm = pytest.importorskip("kenlm")
sentencepiece = pytest.importorskip("sentencepiece")

# log10 probabilities; a back-off weight after a word that something may follow
ARPA = """\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.25
-0.75\t</s>
-0.5\t▁a\t-0.125
-0.5\t▁b\t0

\\2-grams:
-0.25\t<s> ▁a
-0.5\t▁a ▁b
-0.5\t▁b </s>

\\end\\
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> perplexity.Model:
    folder = tmp_path_factory.mktemp("perplexity")
    (folder / "tiny.arpa").write_text(ARPA, encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b", "b a", "a a b b", "c d"] * 20), model_prefix=str(folder / "tiny"),
        vocab_size=11, model_type="word", hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    return perplexity.load(folder / "tiny.arpa", folder / "tiny.model")


@pytest.mark.parametrize(
    ("text", "score", "pieces"),
    [
        ("a b", -0.25 - 0.5 - 0.5, 2),  # every pair is known
        ("b", -0.25 - 0.5 - 0.5, 1),  # <s> backs off to b
        ("a", -0.25 - 0.125 - 0.75, 1),  # a backs off to the end
        ("a c", -0.25 - 0.125 - 1.0 - 0.75, 2),  # c is unknown to the language model
        ("", -0.25 - 0.75, 0),
    ],
    ids=["pairs", "begin", "end", "unknown", "empty"],
)
def test_it_is_ten_to_the_mean_score_of_pieces_and_end(model, text, score, pieces):
    expected = round(10 ** (-score / (pieces + 1)), 1)
    assert perplexity.perplexity(pa.array([text]), model).to_pylist() == pytest.approx([expected])


def test_a_text_is_normalised_as_the_models_were_trained():
    assert perplexity.normalized(" A“b”…\u3000c\n12\t３—\x85 ") == 'A"b"... c000 - '
    assert perplexity.normalized("a\nb") == "ab"  # lines are joined without a space, as there


def test_missing_and_foreign_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"perplexity model .*none\.arpa: no such file; leave the table out"):
        perplexity.load(tmp_path / "none.arpa", tmp_path / "none.model")
    for name in ("x.arpa", "x.model"):
        (tmp_path / name).write_text("no model")
    with pytest.raises(ValueError, match=r"perplexity models .*x\.arpa, .*x\.model: "):
        perplexity.load(tmp_path / "x.arpa", tmp_path / "x.model")


def test_the_extra_is_named_where_it_is_missing(tmp_path, monkeypatch):
    (tmp_path / "x").write_text("")
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(ValueError, match=r"needs the package kenlm: pip install 'bloom-roots\[perplexity\]'"):
        perplexity.load(tmp_path / "x", tmp_path / "x")
