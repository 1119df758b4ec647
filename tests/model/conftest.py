"""A tiny world for the tests: a byte-level tokenizer, and shards written from the layout table."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch
import torch.distributed.checkpoint as dcp
from tokenizers import decoders, models, pre_tokenizers, trainers

from model import choices

REFERENCE = Path(__file__).parents[2] / "../shared/reference/golden_vectors.json"

TEXTS = {
    "en": "The river was low that summer and the ferry stood on the sand. Boys swam to it and back. ",
    "nigercongo-sw": "Mto ulikuwa na maji kidogo na kivuko kilisimama kwenye mchanga. Watoto waliogelea. ",
    "zhs": "那年夏天河水很浅,渡船停在沙滩上。孩子们游过去又游回来。",
}


@pytest.fixture(scope="session")
def golden() -> dict:
    if not REFERENCE.exists():
        pytest.skip("golden_vectors.json of the reference notes is not beside this checkout")
    return json.loads(REFERENCE.read_text("utf-8"))


@pytest.fixture(scope="session")
def write_shard():
    """A writer of .bin and .idx of its own, from the layout table alone: one sequence per document."""

    def write(prefix: Path, documents: list[list[int]], code: int = 4) -> None:
        kind = {4: "<i4", 8: "<u2"}[code]
        lengths = [len(ids) for ids in documents]
        starts = [sum(lengths[:i]) * np.dtype(kind).itemsize for i in range(len(lengths))]
        prefix.parent.mkdir(parents=True, exist_ok=True)
        with Path(f"{prefix}.bin").open("wb") as file:
            for ids in documents:
                file.write(np.array(ids, kind).tobytes())
        with Path(f"{prefix}.idx").open("wb") as file:
            file.write(b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, code, len(lengths), len(lengths) + 1))
            file.write(struct.pack(f"<{len(lengths)}i", *lengths))
            file.write(struct.pack(f"<{len(lengths)}q", *starts))
            file.write(struct.pack(f"<{len(lengths) + 1}q", *range(len(lengths) + 1)))

    return write


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<unk>", "<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS.values(), trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def shards_folder(tmp_path_factory, tokenizer_folder, write_shard) -> Path:
    """Three languages, one shard each, 40 documents of different lengths, each ended by id 2."""
    folder = tmp_path_factory.mktemp("shards")
    tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    for language, text in TEXTS.items():
        documents = [[*tokenizer.encode(text * (1 + n % 3) + str(n)).ids, 2] for n in range(40)]
        write_shard(folder / language / f"lm_{language}_river-00000", documents, code=8)
    return folder


@pytest.fixture(scope="session")
def saved_tensors():
    """A reader of all tensors of a checkpoint, by name, as bytes: through PyTorch's own reader alone."""

    def read(path: Path) -> dict[str, bytes]:
        reader = dcp.FileSystemReader(path)
        state = {name: torch.empty(stored.size) for name, stored in reader.read_metadata().state_dict_metadata.items()}
        dcp.load(state, storage_reader=reader, no_dist=True)
        return {name: tensor.numpy().tobytes() for name, tensor in state.items()}

    return read


@pytest.fixture(scope="session")
def nano(shards_folder, tokenizer_folder) -> choices.Options:
    """A run of a few steps on the tiny shards; a test replaces what it is about, `output` always."""
    return choices.Options(
        shards=shards_folder,
        tokenizer=tokenizer_folder,
        output=shards_folder.parent / "nowhere",
        mix=None,
        size="nano",
        steps=12,
        batch=4,
        micro=0,
        ramp=None,
        sequence=16,
        rate=3e-3,
        rate_min=3e-4,
        warmup=4,
        eval_share=0.2,
        eval_every=0,
        eval_documents=3,
        checkpoint_every=5,
        keep=3,
        seed=1,
        device="cpu",
        threads=1,
        tensorboard=False,
    )
