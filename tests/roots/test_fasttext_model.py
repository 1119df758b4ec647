"""Our predictor of fastText models against the library itself, and models that are damaged or not for it."""

import random
import struct
from pathlib import Path

import fasttext
import numpy as np
import pyarrow as pa
import pytest

from roots import fasttext_kernels, fasttext_model, langid, langid_text, utf8

CASES = Path(__file__).parents[2] / "../shared/cases/langid"
SHIPPED = Path(langid.__file__).parent / "models" / "langid.ftz"
LINES = {
    "en": "the house is near the river and we walk there with our friends every morning",
    "vi": "nông dân đi bộ ra chợ trước khi mặt trời mọc mỗi ngày",
    "ar": "البيت قريب من النهر ونحن نمشي هناك مع أصدقائنا كل صباح",
    "hi": "किसान सूरज निकलने से पहले बाज़ार गए और शाम को लौटे",
    "zh": "房子在河邊 我們每天早上 和朋友一起 走到那里",
}
ODD = [
    "", " ", " \t\r\v\f ", "\x00", "a\x00b", "\n", "one\ntwo", "\nriver", "</s>", "the </s> river", "</s>x", "<", "< >",
    "__label__en", "__label__xx the", "x__label__en", "__labe", "\U0001f600", "\U0001f600\U00020000 \U00020000",
    "a", "é", "語", "x" * 5000, "房子" * 900, "the\u00a0house \u2028river", "zzzqqq wwwkkk", "ÿ\u07ff\uffff",
    "the house " * 400,
]  # fmt: skip


def trained(folder: Path, name: str, **options) -> Path:
    """A small model on random lines of LINES' words."""
    rng = random.Random(5)
    examples = folder / "lines.txt"
    with examples.open("w", encoding="utf-8") as file:
        for label, words in LINES.items():
            for _ in range(300 + 10 * len(label + words)):  # labels of different counts, for the tree
                file.write(f"__label__{label} {' '.join(rng.choices(words.split(), k=4))}\n")
    quantized = options.pop("quantized", None)
    settings = {"dim": 8, "minn": 2, "maxn": 4, "minCount": 1, "bucket": 3000, "epoch": 3, "loss": "softmax"}
    model = fasttext.train_supervised(str(examples), thread=langid.THREADS, verbose=0, seed=3, **(settings | options))
    if quantized is not None:
        model.quantize(str(examples), thread=langid.THREADS, verbose=0, **quantized)
    path = folder / name
    model.save_model(str(path))
    return path


MODELS = {
    "softmax": {},
    "hs": {"loss": "hs"},
    "no n-grams": {"maxn": 0, "minn": 0},
    "only n-grams of rare words": {"minCount": 3000},
    "1 to 5 letters, 20 numbers": {"minn": 1, "maxn": 5, "dim": 20},
    "quantized": {"quantized": {"dsub": 2}},
    "quantized, unequal pieces": {"dim": 10, "quantized": {"dsub": 4, "qnorm": True}},
    "quantized, pruned": {"quantized": {"cutoff": 300, "qnorm": True, "retrain": True}},
    "quantized, pruned hs": {"loss": "hs", "quantized": {"cutoff": 300, "qnorm": True}},
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("plain"), "plain.bin")


@pytest.fixture(scope="module")
def coded(tmp_path_factory) -> tuple[int, bytes]:
    """A pruned model's bytes, and where its matrices begin."""
    path = trained(tmp_path_factory.mktemp("coded"), "coded.ftz", **MODELS["quantized, pruned"])
    file = fasttext_model.read(path)
    pairs = len(file.inputs) - file.words
    return DICTIONARY + 28 + sum(len(entry) + 10 for entry in file.entries) + 8 * pairs, path.read_bytes()


def compared(texts: list[str], path: Path) -> None:
    """Labels and scores of our predictor and the library's are the same."""
    file = fasttext_model.read(path)
    numbers, scores = fasttext_kernels.predict(*utf8.view(pa.array(texts, pa.string())), fasttext_model.tables(file))
    ours = [file.labels[number] if number >= 0 else None for number in numbers]
    found, given = langid.library(path).f.multilinePredict([text + "\n" for text in texts], 1, 0.0, "strict")
    assert ours == [labels[0] if labels else None for labels in found]
    theirs = [scores[0] if len(scores) else 0.0 for scores in given]
    np.testing.assert_allclose(scores, theirs, rtol=0, atol=3e-5)  # float32 sums in another order


@pytest.mark.parametrize("name", MODELS)
def test_small_models_say_what_the_library_says(name, tmp_path):
    texts = ODD + [words[a:] for words in LINES.values() for a in range(0, len(words), 3)]
    compared(texts, trained(tmp_path, "model.bin", **MODELS[name]))


def test_the_shipped_model_says_what_the_library_says_to_odd_texts():
    compared(ODD + list(LINES.values()), SHIPPED)


@pytest.mark.parametrize("name", ["shared_corpus_lines", "tatoeba_laser", "za_lid_dev"])
def test_the_shipped_model_says_what_the_library_says_to_real_lines(name):
    if not (CASES / f"{name}.tsv").is_file():
        pytest.skip(f"the shared cases are not beside the repository: {name}.tsv")
    pairs = list(langid.read_labelled(CASES / f"{name}.tsv"))
    compared([text for _, text in pairs], SHIPPED)


def test_a_dictionary_of_any_size_finds_each_entry(plain):
    file = fasttext_model.read(plain)
    tables = fasttext_model.tables(file)
    found = [
        fasttext_kernels._find(
            np.frombuffer(entry, np.uint8),
            0,
            len(entry),
            fasttext_kernels._hash(np.frombuffer(entry, np.uint8), 0, len(entry)),
            tables.entries,
            tables.ends,
            tables.slots,
        )
        for entry in file.entries
    ]
    assert found == list(range(len(file.entries))) and b"</s>" in file.entries


def test_documents_get_the_same_bits_in_any_batch(plain):
    tables = fasttext_model.tables(fasttext_model.read(plain))
    texts = pa.array(ODD + [words[a:] for words in LINES.values() for a in range(0, len(words), 2)])
    whole = fasttext_kernels.predict(*utf8.view(texts), tables)
    for size in (1, 7):
        parts = [fasttext_kernels.predict(*utf8.view(texts.slice(i, size)), tables) for i in range(0, len(texts), size)]
        for at in (0, 1):
            assert np.concatenate([part[at] for part in parts]).tolist() == whole[at].tolist()


def test_the_tree_of_labels_is_huffman_s():
    # by hand: 2 + 1 first, then 3 + 3 (the label before the sum of equal weight is taken second), then 4 + 6
    assert fasttext_kernels.tree(np.array([4, 3, 2, 1])).tolist() == [[3, 2], [4, 1], [0, 5]]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"wordNgrams": 2}, "it has features of several words"),
        ({"loss": "ova"}, "its loss is neither softmax nor hierarchical softmax"),
    ],
)
def test_what_it_cannot_take_goes_to_the_library(options, reason, tmp_path):
    path = trained(tmp_path, "model.bin", **options)
    with pytest.raises(ValueError, match=f"fasttext_model.tables: {reason}; predict with the fasttext library"):
        fasttext_model.tables(fasttext_model.read(path))
    model = langid.load(path, langid.digest(path))
    shown, _ = langid_text.sample(pa.array(list(LINES.values())))
    numbers, scores = langid._predict(shown, model)
    expected = [model.fasttext.predict(line) for line in shown.to_pylist()]
    assert model.tables is None
    assert [langid.PREFIX + model.labels[number] for number in numbers] == [found[0] for found, _ in expected]
    np.testing.assert_allclose(scores, [min(given[0], 1) for _, given in expected], rtol=0, atol=1e-6)
    assert langid.identify(pa.array(["12", ""]), model)[0].to_pylist() == [None, None]


def test_word_vectors_are_read_but_not_predicted_with(tmp_path):
    (tmp_path / "text.txt").write_text(" ".join(LINES.values()) * 20, encoding="utf-8")
    made = fasttext.train_unsupervised(
        str(tmp_path / "text.txt"),
        dim=2,
        minCount=1,
        epoch=1,
        bucket=10,
        thread=langid.THREADS,
        verbose=0,
    )
    made.save_model(str(tmp_path / "vectors.bin"))
    file = fasttext_model.read(tmp_path / "vectors.bin")
    assert fasttext_model.unsupported(file) == "it is no supervised model"


def changed(data: bytes, place: int, form: str, value: int) -> bytes:
    size = struct.calcsize(form)
    return data[:place] + struct.pack(form, value) + data[place + size :]


DICTIONARY = 8 + 12 * 4 + 8  # bytes before it: magic number, version, settings
KIND = DICTIONARY + 28 + len("</s>") + 1 + 8


@pytest.mark.parametrize(
    ("place", "form", "value", "message"),
    [
        (0, "<i", 7, "bad.bin: wrong file format: expected magic number 793712314, got 7"),
        (4, "<i", 11, "byte 8: expected version 12, got 11"),
        (8, "<i", 9, "expected numbers in a row of input vectors 9, got 8"),
        (8 + 8 * 4, "<i", 9, r"expected rows of input vectors \d+, got \d+"),
        (DICTIONARY, "<i", 9, r"expected 9 entries, got \d+ words and 5 labels; fetch the model again"),
        (DICTIONARY + 20, "<q", 1 << 40, r"expected 8796093022208 bytes of kept buckets, got \d+: truncated"),
        (KIND, "<b", 1, "expected kind of dictionary entry 0"),
    ],
)
def test_a_changed_number_is_named(place, form, value, message, plain, tmp_path):
    (tmp_path / "bad.bin").write_bytes(changed(plain.read_bytes(), place, form, value))
    with pytest.raises(ValueError, match=message):
        fasttext_model.read(tmp_path / "bad.bin")


@pytest.mark.parametrize(
    ("place", "form", "value", "message"),
    [
        (-8, "<i", 3000, r"expected each kept bucket in 0\.\.2999, got \d+\.\.3000"),
        (-4, "<i", -1, r"expected each kept row in 0\.\.\d+, got -1\.\.\d+"),
        (0, "<b", 2, "expected 0 or 1 for quantized input, got 2"),
        (2, "<q", -1, "expected rows and numbers of input vectors, got -1 x 8"),
        (18, "<i", -1, "expected a size of codes of input vectors of at least 0, got -1"),
        (18, "<i", 0, "expected numbers in a coded row of input vectors 8, got"),
    ],
)
def test_a_changed_number_of_a_coded_model_is_named(place, form, value, message, coded, tmp_path):
    start, data = coded
    (tmp_path / "bad.ftz").write_bytes(changed(data, start + place, form, value))
    with pytest.raises(ValueError, match=message):
        fasttext_model.read(tmp_path / "bad.ftz")


def test_pieces_that_do_not_make_a_row_are_refused(coded, tmp_path):
    start, data = coded
    (codes,) = struct.unpack_from("<i", data, start + 18)
    (tmp_path / "bad.ftz").write_bytes(changed(data, start + 22 + codes + 4, "<i", 5))
    with pytest.raises(ValueError, match="pieces of input vectors that make 8 numbers, got 5 of 2, the last of 2"):
        fasttext_model.read(tmp_path / "bad.ftz")


def test_a_dictionary_entry_without_an_end_is_refused(plain, tmp_path):
    (tmp_path / "bad.bin").write_bytes(plain.read_bytes()[: DICTIONARY + 30])
    with pytest.raises(ValueError, match="expected dictionary entry 0 to end with a zero byte: truncated"):
        fasttext_model.read(tmp_path / "bad.bin")


@pytest.mark.parametrize("kind", ["dense", "coded"])
def test_each_truncation_and_each_further_byte_is_refused(kind, plain, coded, tmp_path):
    data = coded[1] if kind == "coded" else plain.read_bytes()
    bad = tmp_path / "bad.bin"
    for size in [*range(min(len(data), 900)), *range(900, len(data), 997), len(data) - 1]:
        bad.write_bytes(data[:size])
        with pytest.raises(ValueError, match=r"bad\.bin byte \d+: expected .*; fetch the model again"):
            fasttext_model.read(bad)
    bad.write_bytes(data + b"x")
    with pytest.raises(ValueError, match="expected the end of the file, got 1 more bytes"):
        fasttext_model.read(bad)
