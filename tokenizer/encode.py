"""Documents to token ids, by the Hugging Face encoder, with special tokens in a text kept as text."""

from __future__ import annotations

import hashlib
import itertools
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import tokenizers

from roots import utf8
from tokenizer import learn, spec

# Bytes of text that are Python strings at one time; the library's own results take several times as much.
CHUNK_BYTES = 2**20


class Encoder:
    """A trained tokenizer, ready to encode.

    path                a tokenizer.json, or the folder that holds it
    special_collisions  "refuse" a tokenizer of which a merge spells a special token, or "allow" it: then text
                        such as `</s>` may become id 2
    raises  FileNotFoundError; ValueError for a file that is no tokenizer, has other special ids than 0 to 3,
            or is refused for a collision

    Encoding runs on the calling thread: TOKENIZERS_PARALLELISM is set to false in this process unless the
    user has set it, because the library knows no other switch and one worker is one core.
    """

    def __init__(self, path: Path, *, special_collisions: learn.Collisions = "refuse"):
        self.path = path / learn.TOKENIZER if path.is_dir() else path
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: no tokenizer here; train one first, or name its folder")
        data = self.path.read_bytes()
        self.sha256 = hashlib.sha256(data).hexdigest()  # of tokenizer.json, what shards are keyed by
        self._tokenizer = _parse(data, self.path)
        _check_specials(self._tokenizer, self.path)
        collisions = learn.collisions(data.decode())
        if collisions and special_collisions == "refuse":
            raise ValueError(
                f"{self.path}: a merge spells {', '.join(collisions)}, so text would become a special id; "
                'train again, or pass special_collisions="allow"'
            )
        self._tokenizer.encode_special_tokens = True
        self.vocab_size = self._tokenizer.get_vocab_size()
        self.eod = spec.SPECIALS.index(spec.EOS)
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

    def encode(self, text: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
        """The ids of all documents end to end; no end-of-document token is added.

        text    [docs] utf8, no nulls; a slice is fine
        returns ids int32 [tokens]
                offsets int64 [docs + 1], from 0: document i is ids[offsets[i]:offsets[i + 1]]
        """
        _, starts = utf8.view(text)
        offsets = np.zeros(len(text) + 1, np.int64)
        parts = []
        for start, end in _chunks(starts):
            found = self._tokenizer.encode_batch_fast(text[start:end].to_pylist(), add_special_tokens=False)
            offsets[start + 1 : end + 1] = [len(encoding) for encoding in found]
            # ids come as a list of Python integers per document: the library gives nothing else
            ids = itertools.chain.from_iterable(encoding.ids for encoding in found)
            parts.append(np.fromiter(ids, np.int32, count=int(offsets[start + 1 : end + 1].sum())))
        return np.concatenate([np.empty(0, np.int32), *parts]), np.cumsum(offsets)

    def decode(self, ids: np.ndarray) -> str:
        """The text of some ids, special tokens by their names; bytes that are no UTF-8 become U+FFFD."""
        return self._tokenizer.decode(ids.tolist(), skip_special_tokens=False)

    def tokens(self) -> list[bytes]:
        """The bytes of each token by id [vocab_size]; those of a special token spell its name."""
        ids = self._tokenizer.get_vocab()
        names = sorted(ids, key=ids.__getitem__)
        return [name.encode() if name in spec.SPECIALS else spec.token_bytes(name) for name in names]


def _chunks(starts: np.ndarray) -> list[tuple[int, int]]:
    """Runs of documents of about CHUNK_BYTES; a longer document is a run of its own."""
    group = (starts[:-1].astype(np.int64) - starts[0]) // CHUNK_BYTES
    edges = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(group)]
    return [(start, end) for start, end in itertools.pairwise(edges) if end > start]


def _parse(data: bytes, path: Path) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_buffer(data)
    except ValueError as error:
        raise ValueError(f"{path}: not a tokenizer.json ({error}); copy it again or train again") from error


def _check_specials(tokenizer: tokenizers.Tokenizer, path: Path) -> None:
    found = [tokenizer.token_to_id(token) for token in spec.SPECIALS]
    if found != list(range(len(spec.SPECIALS))):
        raise ValueError(
            f"{path}: {' '.join(spec.SPECIALS)} have the ids {found}, expected 0 1 2 3; use a tokenizer that "
            "learn.train made, or BLOOM's own"
        )
