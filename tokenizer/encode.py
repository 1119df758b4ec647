"""Documents to token ids: those of Hugging Face `tokenizers`, with special tokens in a text kept as text.

A tokenizer.json with BLOOM's split and plain byte-level BPE (what `learn` makes, and BLOOM's own) is encoded by our
kernels. Any other is encoded by the library, and `Encoder.slow_because` says why.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tokenizers

from roots import utf8
from tokenizer import bpe, count, encode_kernels, learn, spec

CHUNK_BYTES = 2**20  # text that is encoded at once: scratch takes four bytes a byte, the library much more


class Encoder:
    """A trained tokenizer, ready to encode.

    path                a tokenizer.json, or the folder that holds it
    end_of_document     the token that ends a document in a shard
    special_collisions  "refuse" a tokenizer of which a merge spells a special token, or "allow" it: then text such as
                        `</s>` may become id 2
    raises  FileNotFoundError; ValueError for a file that is no tokenizer, that has no such token, or is refused for a
            collision

    sha256        of tokenizer.json, what shards are keyed by
    vocab_size    above every id;  eod  id of the end-of-document token;  specials  ids that no text may become
    slow_because  why the library has to encode; "" where our kernels do, with `merges`

    The library encodes on the calling thread: TOKENIZERS_PARALLELISM is set to false in this process unless the user
    has set it, because it knows no other switch and one worker is one core.
    """

    def __init__(self, path: Path, *, end_of_document: str = spec.EOS, special_collisions: learn.Collisions = "refuse"):
        self.path = path / learn.TOKENIZER if path.is_dir() else path
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: no tokenizer here; train one first, or name its folder")
        self._data = self.path.read_bytes()
        self.sha256 = hashlib.sha256(self._data).hexdigest()
        found, self.slow_because = _parse(self._data, self.path)
        vocabulary, added = _vocabulary(found)
        self.specials = sorted(token["id"] for token in added if token["special"])
        self.vocab_size = max(vocabulary.values()) + 1
        self._names = [""] * self.vocab_size
        for name, number in vocabulary.items():
            self._names[number] = name
        if end_of_document not in vocabulary:
            raise ValueError(f"{self.path}: has no token {end_of_document!r} to end a document with; name one it has")
        self.eod = vocabulary[end_of_document]
        collisions = learn.collisions(found, [self._names[n] for n in self.specials])
        if collisions and special_collisions == "refuse":
            raise ValueError(
                f"{self.path}: a merge spells {', '.join(collisions)}, so text would become a special id; "
                'train again, or pass special_collisions="allow"'
            )
        self.merges = None if self.slow_because else _merges(found["model"], self.path)
        if self.merges is not None:
            self._cache = np.zeros((encode_kernels.LINES, 8), np.uint64)
            self._scratch = np.empty(CHUNK_BYTES, np.int32)

    def encode(self, text: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
        """The ids of all documents end to end; no end-of-document token is added.

        text    [docs] utf8, no nulls; a slice is fine
        returns ids int32 [tokens]
                offsets int64 [docs + 1], from 0: document i is ids[offsets[i]:offsets[i + 1]]
        """
        data, starts = utf8.view(text)
        offsets = np.zeros(len(text) + 1, np.int64)
        parts = [np.empty(0, np.int32)]
        for start, end in _chunks(starts):
            if self.slow_because:
                ids, ends = self._by_the_library(text[start:end])
            else:
                ids, ends = self._by_kernel(data, starts[start : end + 1])
            offsets[start + 1 : end + 1] = offsets[start] + ends[1:]
            parts.append(ids)
        return np.concatenate(parts), offsets

    def decode(self, ids: np.ndarray) -> str:
        """The text of some ids, special tokens by their names; bytes that are no UTF-8 become U+FFFD."""
        if self.slow_because:
            return self._library.decode(ids.tolist(), skip_special_tokens=False)
        tokens = self.tokens()
        return b"".join(tokens[number] for number in ids.tolist()).decode("utf-8", "replace")

    def tokens(self) -> list[bytes]:
        """The bytes of each token by id [vocab_size]; those of a special token spell its name."""
        return self._tokens

    @functools.cached_property
    def _tokens(self) -> list[bytes]:
        letters, special = spec.bytes_of_characters(), set(self.specials)
        return [
            name.encode() if number in special or not letters.keys() >= set(name) else spec.token_bytes(name)
            for number, name in enumerate(self._names)
        ]

    def _by_kernel(self, data: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size = int(starts[-1] - starts[0])
        if size > len(self._scratch):
            self._scratch = np.empty(size, np.int32)
        ends = np.empty(len(starts), np.int64)
        count = encode_kernels.encode(data, starts, self.merges, self._cache, self._scratch, ends)
        return self._scratch[:count].copy(), ends

    def _by_the_library(self, text: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
        found = self._library.encode_batch_fast(text.to_pylist(), add_special_tokens=False)
        ends = np.cumsum([0, *(len(encoding) for encoding in found)])
        # ids come as a list of Python integers per document: the library gives nothing else
        ids = itertools.chain.from_iterable(encoding.ids for encoding in found)
        return np.fromiter(ids, np.int32, count=int(ends[-1])), ends

    @functools.cached_property
    def _library(self) -> tokenizers.Tokenizer:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        loaded = tokenizers.Tokenizer.from_buffer(self._data)
        loaded.encode_special_tokens = True
        loaded.no_truncation()
        loaded.no_padding()
        return loaded


def encode_pieces(found: pa.LargeBinaryArray, merges: bpe.Merges) -> tuple[np.ndarray, np.ndarray]:
    """The ids of pieces end to end, int32, and where each one's end: int64 [pieces + 1], from 0."""
    data, bounds = count.buffers(found)
    ids, ends = np.empty(int(bounds[-1] - bounds[0]), np.int32), np.zeros(len(bounds), np.int64)
    encode_kernels.encode_pieces(data, bounds, merges, ids, ends)
    return ids[: ends[-1]], ends


def _chunks(starts: np.ndarray) -> list[tuple[int, int]]:
    """Runs of documents of about CHUNK_BYTES; a longer document is a run of its own."""
    group = (starts[:-1].astype(np.int64) - starts[0]) // CHUNK_BYTES
    edges = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(group)]
    return [(start, end) for start, end in itertools.pairwise(edges) if end > start]


def _parse(data: bytes, path: Path) -> tuple[dict[str, Any], str]:
    """The file, and why our kernels cannot encode with it (""; they can)."""
    try:
        found = json.loads(data)
        reason = _other_kind(found)
        if reason:
            tokenizers.Tokenizer.from_buffer(data)  # raises if the library cannot read it either
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a tokenizer.json ({error!r}); copy it again or train again") from error
    return found, reason


def _other_kind(found: dict[str, Any]) -> str:
    """What sets a tokenizer apart from the kind that our kernels encode; "" if nothing does."""
    model, ours = found["model"], json.loads(spec.build_tokenizer().to_str())
    if model.get("type", "BPE") != "BPE":
        return f"its model is {model['type']}, not BPE"
    for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback"):
        if model.get(option):
            return f"its model has {option}"
    if model.get("ignore_merges"):
        return "its model has ignore_merges"
    if found.get("normalizer"):
        return "it has a normalizer"
    if found.get("pre_tokenizer") != ours["pre_tokenizer"]:
        return "it cuts text by another split than BLOOM's"
    if plain := [token["content"] for token in found.get("added_tokens") or [] if not token["special"]]:
        return f"it has added tokens that are cut out of text: {', '.join(plain[:3])}"
    return ""


def _vocabulary(found: dict[str, Any]) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """Ids by name, and the added tokens as the file has them."""
    vocab, added = found["model"]["vocab"], found.get("added_tokens") or []
    if isinstance(vocab, list):  # a Unigram model's: names with their scores
        vocab = {name: number for number, (name, _) in enumerate(vocab)}
    return {**vocab, **{token["content"]: token["id"] for token in added}}, added


def _merges(model: dict[str, Any], path: Path) -> bpe.Merges:
    """The merges by id; raises ValueError where one names a token that the vocabulary lacks."""
    ids = model["vocab"]
    # older files write a merge as "left right", newer ones as [left, right]
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    try:
        rows = [(ids[left], ids[right], ids[left + right]) for left, right in pairs]
    except KeyError as error:
        raise ValueError(f"{path}: a merge needs the token {error}, which is not in the vocabulary") from error
    # a byte that the vocabulary lacks becomes the unknown token, or nothing where the model names none
    unknown = ids.get(model.get("unk_token") or "", -1)
    first = np.full(256, unknown, np.int32)
    for letter, byte in spec.bytes_of_characters().items():
        first[byte] = ids.get(letter, unknown)
    return bpe.merges(first, np.array(rows, np.int32).reshape(-1, 3))
