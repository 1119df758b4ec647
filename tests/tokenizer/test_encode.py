"""Encoding: every text comes back, special tokens in a text stay text, and batches do not matter."""

import hashlib
import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer import encode, learn, spec

ANY = st.one_of(
    st.text(),
    st.lists(
        st.sampled_from([*spec.SPECIALS, " ", "  ", "\n", "a", "é", "今", "天𝄞", "。", ")|", "\0", "\r\n"]),
        max_size=20,
    ).map("".join),
)


@settings(deadline=None)  # the first document pays for loading
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


def test_encoding_stays_on_one_thread_unless_the_user_says_otherwise(folder):
    program = (
        "import os, pathlib, sys; from tokenizer import encode; encode.Encoder(pathlib.Path(sys.argv[1]));"
        "print(os.environ['TOKENIZERS_PARALLELISM'])"
    )
    clean = {name: value for name, value in os.environ.items() if name != "TOKENIZERS_PARALLELISM"}
    line = [sys.executable, "-c", program, str(folder)]
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


def test_other_special_ids_are_refused(tmp_path, folder):
    found = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    found["added_tokens"] = []
    found["model"]["vocab"]["<S>"] = found["model"]["vocab"].pop("<s>")
    (tmp_path / "tokenizer.json").write_text(json.dumps(found), encoding="utf-8")
    with pytest.raises(ValueError, match=r"have the ids \[0, None, 2, 3\], expected 0 1 2 3"):
        encode.Encoder(tmp_path)


def test_a_tokenizer_whose_merge_spells_a_special_token_is_refused_unless_allowed(tmp_path):
    with pytest.warns(UserWarning, match="the text gave"):
        learned = learn.train(iter([["<s>b</s> " * 50]]), 400, special_collisions="allow")
    learn.save(learned, tmp_path)
    with pytest.raises(ValueError, match=r"a merge spells <s>, </s>, so text would become a special id; train"):
        encode.Encoder(tmp_path)
    ids, _ = encode.Encoder(tmp_path, special_collisions="allow").encode(pa.array(["</s>"]))
    assert ids.tolist() == [2]
