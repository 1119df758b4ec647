"""A model of ours as lm-evaluation-harness wants it (extra `harness`): log-likelihoods and greedy text.

source  EleutherAI lm-evaluation-harness, lm_eval/api/model.py: LM, TemplateLM
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
import pyarrow as pa
import torch
from lm_eval import tasks
from lm_eval.api import instance, model

from model import bloom, evaluate, generate
from tokenizer import encode


def zero_shot(
    scored: bloom.Bloom,
    encoder: encode.Encoder,
    names: Sequence[str],
    *,
    folder: Path | None = None,
    length: int = 2048,
    limit: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Results by task, without examples in the prompt.

    names   of the harness' own tasks, or of those whose YAML files lie in `folder`
    length  tokens that the model reads at once; a longer context loses its beginning
    limit   documents per task, null = all
    raises  ValueError for a task that is not known
    """
    manager = tasks.TaskManager(include_path=str(folder) if folder else None, include_defaults=folder is None)
    unknown = [name for name in names if name not in manager.all_tasks]
    if unknown:
        raise ValueError(f"no task {', '.join(unknown)} in {folder or 'lm-evaluation-harness'}; see its list of tasks")
    found = lm_eval.simple_evaluate(
        model=Harnessed(scored, encoder, length),
        tasks=list(names),
        num_fewshot=0,
        limit=limit,
        task_manager=manager,
        bootstrap_iters=0,
    )
    return found["results"]


class Harnessed(model.LM):
    """Answers the harness' three kinds of question, one text at a time."""

    def __init__(self, scored: bloom.Bloom, encoder: encode.Encoder, length: int) -> None:
        super().__init__()
        self.scored, self.encoder, self.length = scored.eval(), encoder, length

    def loglikelihood(self, requests: list[instance.Instance]) -> list[tuple[float, bool]]:
        """Of a continuation after its context, and whether each of its tokens is the likeliest."""
        return [self._continuation(*request.args) for request in requests]

    def loglikelihood_rolling(self, requests: list[instance.Instance]) -> list[float]:
        """Of whole texts, as `evaluate.score` reads them."""
        texts = [self._ids(request.args[0]) for request in requests]
        return [-evaluate.score(self.scored, [ids], self.encoder, self.length, 1).nats for ids in texts]

    def generate_until(self, requests: list[instance.Instance]) -> list[str]:
        """Greedy text up to the first of some strings, or `max_gen_toks` tokens."""
        return [self._text(*request.args) for request in requests]

    def _ids(self, text: str) -> np.ndarray:
        return self.encoder.encode(pa.array([text], pa.string()))[0].astype(np.int64)

    def _continuation(self, context: str, continuation: str) -> tuple[float, bool]:
        # blanks at the end of a context belong to the first token of what follows
        bare = context.rstrip()
        whole, before = self._ids(context + continuation), len(self._ids(bare))
        ids = np.concatenate(([self.encoder.eod], whole))
        count = len(whole) - before
        inputs, targets = ids[:-1][-self.length :], ids[1:][-min(count, self.length) :]
        with torch.no_grad():
            logits = self.scored(torch.from_numpy(inputs)[None].to(self.scored.slopes.device))[0, -len(targets) :]
        logs = logits.float().log_softmax(-1).cpu()
        chosen = torch.from_numpy(targets)
        return logs.gather(1, chosen[:, None]).sum().item(), bool((logs.argmax(1) == chosen).all())

    def _text(self, context: str, options: dict[str, Any]) -> str:
        ids = self._ids(context).tolist() or [self.encoder.eod]
        written = generate.generate(
            self.scored, ids[-self.length :], int(options.get("max_gen_toks", 64)), stop=self.encoder.eod
        )
        text = self.encoder.decode(np.array(written, np.int64))
        ends = [text.find(end) for end in options.get("until", []) if end in text]
        return text[: min(ends)] if ends else text
