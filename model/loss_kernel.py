"""The fused cross-entropy of `model.loss.in_place` on a GPU: two passes over a row, nothing kept between rows."""

from __future__ import annotations

import torch
import triton
from torch import Tensor
from triton import language as tl

COLUMNS = 4096  # logits that one program holds at a time
WARPS = 16


def score(logits: Tensor, targets: Tensor, learn: bool, ignore: int) -> Tensor:
    """-log p of each row's target, float32 [n]; with `learn`, softmax minus one-hot is written over `logits`.

    logits [n, V] contiguous, targets int64 [n]; a row whose target is `ignore` gives 0 and no gradient
    """
    nats = torch.empty(len(logits), device=logits.device)
    _row[(len(logits),)](logits, targets, nats, logits.shape[1], learn, ignore, COLUMNS, num_warps=WARPS)
    return nats


@triton.jit
def _row(logits, targets, nats, width: tl.constexpr, learn: tl.constexpr, ignore: tl.constexpr, columns: tl.constexpr):
    # the width is a constant of the kernel: there is one a run
    row = tl.program_id(0).to(tl.int64)  # n V passes 2^31
    start = logits + row * width
    target = tl.load(targets + row)
    most = -float("inf")
    total = 0.0
    for first in range(0, width, columns):
        at = first + tl.arange(0, columns)
        x = tl.load(start + at, mask=at < width, other=-float("inf")).to(tl.float32)
        top = tl.maximum(most, tl.max(x, 0))
        total = total * tl.exp(most - top) + tl.sum(tl.exp(x - top), 0)
        most = top
    log_total = most + tl.log(total)
    scored = target != ignore
    chosen = tl.load(start + target, mask=scored, other=0.0).to(tl.float32)
    tl.store(nats + row, tl.where(scored, log_total - chosen, 0.0))
    if learn:
        for first in range(0, width, columns):
            at = first + tl.arange(0, columns)
            x = tl.load(start + at, mask=at < width, other=-float("inf")).to(tl.float32)
            slope = tl.exp(x - log_total) - (at == target).to(tl.float32)
            tl.store(start + at, tl.where(scored, slope, 0.0).to(logits.dtype.element_ty), mask=at < width)
