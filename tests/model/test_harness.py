"""A task of our own, from local files: its figures are counted again by hand from the logits."""

from __future__ import annotations

import json
import math

import numpy as np
import pyarrow as pa
import pytest
import torch

from model import bloom, config, evaluate, export
from tokenizer import encode

harness = pytest.importorskip("model.harness")

TASK = """
task: rivers
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list:
  - metric: acc
"""

READ = """
task: reading
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{question}}}}"
metric_list:
  - metric: byte_perplexity
"""

DOCUMENTS = [
    {"question": f"Boat {n} is on the", "choices": [" river", " sand", " moon"], "answer": n % 3} for n in range(7)
]


@pytest.fixture(scope="module")
def encoder(tokenizer_folder) -> encode.Encoder:
    return encode.Encoder(tokenizer_folder, special_collisions="allow")


@pytest.fixture
def scored(encoder, tokenizer_folder, tmp_path) -> bloom.Bloom:
    """A model that went through the Hugging Face layout."""
    shape = config.BloomConfig(layers=2, hidden=16, heads=2, vocabulary=encoder.vocab_size, init_std=0.3)
    export.save(bloom.Bloom(shape).initialise(torch.Generator().manual_seed(0)), tmp_path / "hub", tokenizer_folder)
    return export.load(tmp_path / "hub")


@pytest.fixture
def tasks_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    folder = tmp_path / "tasks"
    folder.mkdir()
    (tmp_path / "documents.jsonl").write_text("\n".join(map(json.dumps, DOCUMENTS)))
    for name, text in (("rivers", TASK), ("reading", READ)):
        (folder / f"{name}.yaml").write_text(text.format(file=tmp_path / "documents.jsonl"))
    return folder


def log_probability(model, encoder, context: str, continuation: str) -> float:
    whole, before = (encoder.encode(pa.array([text]))[0] for text in (context + continuation, context))
    ids = [2, *whole.tolist()]
    with torch.no_grad():
        logs = model(torch.tensor([ids]))[0].log_softmax(-1)
    return sum(logs[i, ids[i + 1]].item() for i in range(len(before), len(ids) - 1))


def test_a_local_tasks_accuracy_and_perplexity_are_those_counted_by_hand(scored, encoder, tasks_folder):
    found = harness.zero_shot(scored, encoder, ["rivers", "reading"], folder=tasks_folder, length=64)
    right = 0
    for document in DOCUMENTS:
        scores = [log_probability(scored, encoder, document["question"], choice) for choice in document["choices"]]
        right += int(np.argmax(scores)) == document["answer"]
    assert found["rivers"]["acc,none"] == pytest.approx(right / len(DOCUMENTS))
    texts = [document["question"] for document in DOCUMENTS]
    nats = -sum(log_probability(scored, encoder, "", text) for text in texts)
    expected = math.exp(nats / sum(map(len, texts)))
    assert found["reading"]["byte_perplexity,none"] == pytest.approx(expected, rel=1e-5)
    lines = tasks_folder / "texts.tsv"
    lines.write_text("\n".join(f"en\t{text}" for text in texts))
    ours = evaluate.labelled(scored, lines, encoder, 64, 4)["en"].byte_perplexity
    assert ours == pytest.approx(expected, rel=1e-5)


def test_greedy_text_ends_before_the_first_of_some_strings(scored, encoder):
    lm = harness.Harnessed(scored, encoder, 64)
    whole = lm._text("The river", {"max_gen_toks": 12})
    assert len(whole) > 3
    assert lm._text("The river", {"max_gen_toks": 12, "until": [whole[2:4], "never"]}) == whole[:2]


def test_an_unknown_task_is_refused(scored, encoder, tasks_folder):
    with pytest.raises(ValueError, match=r"no task seas in .*tasks; see its list of tasks"):
        harness.zero_shot(scored, encoder, ["seas"], folder=tasks_folder)
