"""Encoding: every text comes back, special tokens in a text stay text, and batches do not matter."""

import hashlib
import itertools
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from tokenizer import count, encode, learn, spec

SAMPLE = Path(__file__).parents[2] / "roots/sample/sources"

ANY = st.one_of(
    st.text(),
    st.lists(
        st.sampled_from([*spec.SPECIALS, " ", "  ", "\n", "a", "é", "今", "天𝄞", "。", ")|", "\0", "\r\n"]),
        max_size=20,
    ).map("".join),
)


@given(documents=st.lists(ANY, max_size=4))
def test_decoding_gives_the_text_back_and_no_special_id_comes_from_text(encoder, documents):
    ids, offsets = encoder.encode(pa.array(documents, pa.string()))
    assert [encoder.decode(ids[a:b]) for a, b in itertools.pairwise(offsets)] == documents
    assert ids.min(initial=4) >= 4
    assert ids.max(initial=0) < encoder.vocab_size


@pytest.mark.parametrize("point", spec.SEPARATORS, ids=lambda point: f"U+{point:04X}")
def test_a_separator_comes_back(encoder, point):
    text = f"a{chr(point)}b{chr(point)}{chr(point)} c"
    assert encoder.decode(encoder.encode(pa.array([text]))[0]) == text


@pytest.mark.parametrize("token", spec.SPECIALS)
def test_a_special_token_in_a_text_is_text(encoder, token):
    ids, offsets = encoder.encode(pa.array([token, f"x{token}y", f"{token} {token}"]))
    assert ids.min() >= 4
    assert encoder.decode(ids[: offsets[1]]) == token


def test_types_and_shapes(encoder):
    ids, offsets = encoder.encode(pa.array(["ab", "", "a"]))
    assert (ids.dtype, offsets.dtype) == (np.int32, np.int64)
    assert offsets.tolist() == [0, offsets[1], offsets[1], len(ids)]
    assert len(ids) - offsets[2] == 1


def test_no_document_gives_no_ids(encoder):
    ids, offsets = encoder.encode(pa.array([], pa.string()))
    assert (ids.tolist(), ids.dtype, offsets.tolist()) == ([], np.int32, [0])


def test_slices_and_other_batches_give_the_same_ids(encoder, texts, monkeypatch):
    whole = pa.array(texts * 3)
    ids, offsets = encoder.encode(whole)
    for size in (1, 4, len(whole)):
        parts = [encoder.encode(whole[start : start + size])[0] for start in range(0, len(whole), size)]
        assert np.concatenate(parts).tolist() == ids.tolist()
    monkeypatch.setattr(encode, "CHUNK_BYTES", 100)  # several chunks, some of one long document
    small, edges = encoder.encode(whole)
    assert (small.tolist(), edges.tolist()) == (ids.tolist(), offsets.tolist())


def test_special_ids_and_digest(encoder, folder):
    assert (encoder.vocab_size, encoder.eod) == (420, 2)
    assert encoder.sha256 == hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest()
    assert encode.Encoder(folder / "tokenizer.json").sha256 == encoder.sha256


def test_tokens_are_bytes_by_id(encoder, texts):
    tokens = encoder.tokens()
    assert tokens[:5] == [b"<unk>", b"<s>", b"</s>", b"<pad>", b"!"]
    assert len(tokens) == 420
    ids, _ = encoder.encode(pa.array(texts))
    assert b"".join(tokens[n] for n in ids) == "".join(texts).encode()


@pytest.fixture(scope="module")
def library(folder):
    loaded = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    loaded.encode_special_tokens = True
    return loaded


@given(documents=st.lists(ANY, max_size=4))
def test_the_ids_of_any_text_are_the_librarys(encoder, library, documents):
    ids, offsets = encoder.encode(pa.array(documents, pa.string()))
    want = [encoding.ids for encoding in library.encode_batch_fast(documents, add_special_tokens=False)]
    assert [ids[a:b].tolist() for a, b in itertools.pairwise(offsets)] == want


def test_the_ids_of_the_embedded_sample_and_of_the_interpreters_library_are_those_of_hugging_face(encoder, library):
    for path in [*sorted(SAMPLE.rglob("*.jsonl")), *sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:60]]:
        text = path.read_text(encoding="utf-8", errors="replace")
        assert encoder.encode(pa.array([text]))[0].tolist() == library.encode(text, add_special_tokens=False).ids


def test_a_megabyte_without_a_separator_is_encoded(encoder, library):
    text = "abcdefghij" * 100_000
    assert encoder.encode(pa.array([text]))[0].tolist() == library.encode(text, add_special_tokens=False).ids


def altered(folder: Path, target: Path, change) -> Path:
    """The tokenizer of `folder`, changed, in a file of its own."""
    found = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    change(found)
    (target / "tokenizer.json").write_text(json.dumps(found), encoding="utf-8")
    return target


@pytest.mark.parametrize("unknown", [None, "<unk>"])
def test_a_vocabulary_without_some_bytes_is_encoded_as_the_library_does(tmp_path, folder, texts, unknown):
    def change(found):  # as BLOOM's own, which knows 242 bytes
        for letter in "ĀÄq":  # bytes 0x00, 0xC4, 0x71
            number = found["model"]["vocab"].pop(letter)
            found["model"]["vocab"][f"<gone {number}>"] = number
        gone = set("ĀÄq")
        found["model"]["merges"] = [m for m in found["model"]["merges"] if not gone & set(m[0] + m[1])]
        found["model"]["unk_token"] = unknown

    place = altered(folder, tmp_path, change)
    theirs = tokenizers.Tokenizer.from_file(str(place / "tokenizer.json"))
    theirs.encode_special_tokens = True
    ours = encode.Encoder(place)
    assert ours.slow_because == ""
    for text in [*texts, "the quick\0 \u0100 qqq"]:
        assert ours.encode(pa.array([text]))[0].tolist() == theirs.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f: f.update(normalizer={"type": "NFC"}), "it has a normalizer"),
        (lambda f: f.update(pre_tokenizer=None), "it cuts text by another split than BLOOM's"),
        (lambda f: f["pre_tokenizer"]["pretokenizers"][1].update(add_prefix_space=True), "it cuts text by another"),
        (lambda f: f["model"].update(dropout=0.5), "its model has dropout"),
        (lambda f: f["model"].update(fuse_unk=True), "its model has fuse_unk"),
        (lambda f: f["model"].update(byte_fallback=True), "its model has byte_fallback"),
        (lambda f: f["model"].update(ignore_merges=True), "its model has ignore_merges"),
        (lambda f: f["added_tokens"][3].update(special=False), "it has added tokens that are cut out of text: <pad>"),
        (
            lambda f: f.update(model={"type": "WordLevel", "vocab": f["model"]["vocab"], "unk_token": "<unk>"}),
            "its model is WordLevel, not BPE",
        ),
    ],
)
def test_another_kind_of_tokenizer_is_encoded_by_the_library_and_says_so(tmp_path, folder, texts, change, reason):
    place = altered(folder, tmp_path, change)
    ours = encode.Encoder(place)
    assert ours.slow_because.startswith(reason)
    theirs = tokenizers.Tokenizer.from_file(str(place / "tokenizer.json"))
    theirs.encode_special_tokens = True
    if "dropout" in reason:
        return  # drawn by chance, no two runs agree
    ids, offsets = ours.encode(pa.array(texts))
    want = [theirs.encode(text, add_special_tokens=False).ids for text in texts]
    assert [ids[a:b].tolist() for a, b in itertools.pairwise(offsets)] == want


def test_the_library_encodes_on_one_thread_unless_the_user_says_otherwise(tmp_path, folder):
    place = altered(folder, tmp_path, lambda found: found.update(normalizer={"type": "NFC"}))
    program = (
        "import os, pathlib, sys; from tokenizer import encode; import pyarrow as pa;"
        "encode.Encoder(pathlib.Path(sys.argv[1])).encode(pa.array(['a']));"
        "print(os.environ['TOKENIZERS_PARALLELISM'])"
    )
    clean = {name: value for name, value in os.environ.items() if name != "TOKENIZERS_PARALLELISM"}
    line = [sys.executable, "-c", program, str(place)]
    said = [
        subprocess.run(line, env=env, capture_output=True, text=True, check=True).stdout.strip()
        for env in (clean, {**clean, "TOKENIZERS_PARALLELISM": "true"})
    ]
    assert said == ["false", "true"]


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json: no tokenizer here; train one first"):
        encode.Encoder(tmp_path)


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff\xfe", b"[1, 2"], ids=["empty", "object", "binary", "cut"])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path, data):
    (tmp_path / "tokenizer.json").write_bytes(data)
    with pytest.raises(ValueError, match=r"tokenizer\.json: not a tokenizer\.json \("):
        encode.Encoder(tmp_path)


def test_a_truncated_tokenizer_is_refused(tmp_path, folder):
    data = (folder / "tokenizer.json").read_bytes()
    (tmp_path / "tokenizer.json").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"not a tokenizer\.json"):
        encode.Encoder(tmp_path)


def test_a_merge_of_a_token_that_is_not_there_is_refused(tmp_path, folder):
    place = altered(folder, tmp_path, lambda found: found["model"]["merges"].append(["a", "ĀĀ"]))
    with pytest.raises(ValueError, match=r"a merge needs the token 'ĀĀ', which is not in the vocabulary"):
        encode.Encoder(place)


def test_the_token_that_ends_documents_can_be_another_one_and_must_be_there(folder):
    assert encode.Encoder(folder, end_of_document="<s>").eod == 1
    with pytest.raises(ValueError, match=r"has no token '<\|endoftext\|>' to end a document with; name one it has"):
        encode.Encoder(folder, end_of_document="<|endoftext|>")


def test_a_tokenizer_whose_merge_spells_a_special_token_is_refused_unless_allowed(tmp_path):
    counts = count.of([pa.array(["<s>b</s> " * 50])])
    learn.save(learn.learn(counts, 400, special_collisions="allow").tokenizer(), tmp_path)
    with pytest.raises(ValueError, match=r"a merge spells <s>, </s>, so text would become a special id; train"):
        encode.Encoder(tmp_path)
    ids, _ = encode.Encoder(tmp_path, special_collisions="allow").encode(pa.array(["</s>"]))
    assert ids.tolist() == [2]
