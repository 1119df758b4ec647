"""Continue a text: greedy, or drawn with temperature and top-k from a seeded generator."""

from __future__ import annotations

import torch
from torch import Tensor

from model import bloom


@torch.no_grad()
def generate(
    model: bloom.Bloom,
    ids: list[int],
    count: int,
    *,
    temperature: float = 0.0,
    top_k: int = 0,
    seed: int = 0,
    stop: int | None = None,
) -> list[int]:
    """Up to `count` ids that follow `ids`, ending before `stop`.

    temperature  0 takes the likeliest id (the lowest on ties); 1 draws as the model says
    top_k        draw among the k likeliest only; 0 = all
    raises       ValueError for an empty prompt, a negative temperature or top_k
    """
    if not ids:
        raise ValueError("generate: the prompt is empty; give at least the end-of-document token")
    if temperature < 0 or top_k < 0:
        raise ValueError(f"generate: temperature {temperature} and top_k {top_k} must not be negative")
    device = model.slopes.device
    generator = torch.Generator().manual_seed(seed)
    past, read = bloom.Cache(), torch.tensor([ids], device=device)
    written: list[int] = []
    while len(written) < count:
        logits = model(read, past=past)[0, -1].float().cpu()  # [V]
        choice = pick(logits, temperature, top_k, generator)
        if choice == stop:
            break
        written.append(choice)
        read = torch.tensor([[choice]], device=device)
    return written


def pick(logits: Tensor, temperature: float, top_k: int, generator: torch.Generator) -> int:
    """One id by its logits [V], float32."""
    if temperature == 0:
        return int(logits.argmax())
    if top_k:
        least = logits.topk(min(top_k, len(logits))).values[-1]
        logits = logits.masked_fill(logits < least, float("-inf"))
    return int(torch.multinomial((logits / temperature).softmax(0), 1, generator=generator))
