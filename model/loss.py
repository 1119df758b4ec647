"""The loss over 250,880 rows: three ways to the same sum, of which two never hold float32 logits.

    N tokens   C channels   V vocabulary

`plain` is the definition. `in_place` walks over chunks of tokens and writes each chunk's gradient over its
logits, so that memory is one chunk's and the backward pass is done with the forward one. `compiled` is
`plain` through torch.compile, for a GPU without Triton kernels of ours.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

IGNORE = -100  # a target that is not scored; torch's own default in cross_entropy
# Logits at one time: 8,560 tokens of bfloat16 at V = 250,880 on a GPU; with fewer than 4,096 the products slow down
CHUNK_BYTES = {"cuda": 2**32, "cpu": 2**28}

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def plain(hidden: Tensor, embedding: Tensor, targets: Tensor) -> Tensor:
    """Sum of -log p over the targets that are not IGNORE, in nats, float32.

    hidden [..., C], embedding [V, C], targets int64 [...]. Padded rows of the vocabulary stay in the softmax,
    as in the original.
    """
    logits = functional.linear(hidden, embedding.to(hidden.dtype)).flatten(0, -2)  # [N, V]
    return functional.cross_entropy(logits.float(), targets.flatten(), ignore_index=IGNORE, reduction="sum")


def in_place(hidden: Tensor, embedding: Tensor, targets: Tensor) -> Tensor:
    """As `plain`; the gradients of both inputs are made in the forward pass, float32 for the embedding."""
    return _InPlace.apply(hidden, embedding, targets, torch.is_grad_enabled())


def compiled(hidden: Tensor, embedding: Tensor, targets: Tensor) -> Tensor:
    """As `plain`, compiled for each shape once."""
    return _compiled()(hidden, embedding, targets)


@functools.cache
def _compiled() -> Any:
    return torch.compile(plain, fullgraph=True, dynamic=False)


BY_NAME: dict[str, Loss] = {"plain": plain, "in-place": in_place, "compiled": compiled}


class _InPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, embedding: Tensor, targets: Tensor, learn: bool) -> Tensor:
        states, wanted = hidden.flatten(0, -2), targets.flatten()  # [N, C], [N]
        rows = embedding.to(states.dtype)  # [V, C]
        nats = torch.empty(len(states), device=states.device)  # [N]
        by_states = torch.empty_like(states) if learn else None
        by_rows: Tensor | None = None  # float32 [V, C]
        step = max(CHUNK_BYTES[states.device.type] // (len(rows) * states.element_size()), 1)
        for start in range(0, len(states), step):
            part = slice(start, start + step)
            logits = states[part] @ rows.T  # [n, V]
            nats[part] = _score(logits, wanted[part], learn)  # and the logits are their own gradient now
            if by_states is not None:
                torch.mm(logits, rows, out=by_states[part])
                by_rows = _add_product(by_rows, logits, states[part])
            del logits  # or two chunks would be held at a time
        if learn:
            ctx.shape = hidden.shape
            ctx.save_for_backward(by_states, by_rows)
        return nats.sum()

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor, Tensor, None, None]:
        by_states, by_rows = ctx.saved_tensors
        return by_states.mul_(scale).view(ctx.shape), by_rows.mul_(scale), None, None


def _add_product(total: Tensor | None, logits: Tensor, states: Tensor) -> Tensor:
    """total + logits' states, [V, C]: summed in float32 whatever the type of the two, and over `total` itself."""
    if not logits.is_cuda:
        product = (logits.T @ states).float()
        return product if total is None else total.add_(product)
    if total is None:
        return torch.mm(logits.T, states, out_dtype=torch.float32)
    if logits.dtype == torch.float32:
        return total.addmm_(logits.T, states)
    return torch.addmm(total, logits.T, states, out_dtype=torch.float32, out=total)


def _score(logits: Tensor, targets: Tensor, learn: bool) -> Tensor:
    """-log p of each row's target, float32 [n]; with `learn`, softmax minus one-hot is written over `logits`."""
    if logits.is_cuda:
        from model import loss_kernel

        return loss_kernel.score(logits, targets, learn, IGNORE)
    scored = targets != IGNORE
    column = targets.clamp(min=0)[:, None]
    work = logits.float()  # the logits themselves where they are float32
    total = work.logsumexp(1, keepdim=True)  # [n, 1]
    nats = (total - work.gather(1, column))[:, 0] * scored
    if learn:
        work.sub_(total).exp_().scatter_add_(1, column, torch.full_like(total, -1.0))
        work.mul_(scored[:, None])
        if work is not logits:
            logits.copy_(work)
    return nats
