"""AdamW as BLOOM used it, its learning rate and its growing batch, both counted in samples (sequences)."""

from __future__ import annotations

import math

import torch
from torch.distributed.tensor import DTensor

# All sizes; bigscience train/tr11-176B-ml scripts
BETAS = (0.9, 0.95)
EPSILON = 1e-8
WEIGHT_DECAY = 0.1
CLIP = 1.0  # global norm of the gradient


def adamw(model: torch.nn.Module, rate: float, weight_decay: float = WEIGHT_DECAY) -> torch.optim.AdamW:
    """AdamW over two groups: matrices and the embedding decay, LayerNorms and biases (all the vectors) do
    not.

    source  Megatron-DeepSpeed megatron/optimizer/__init__.py, _get_params_for_weight_decay_optimization
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=BETAS, eps=EPSILON, fused=True)


def clip(model: torch.nn.Module) -> torch.Tensor:
    """Scale the gradient so that its global norm is at most CLIP; the norm before, float32 scalar."""
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def learning_rate(samples: int, *, peak: float, minimum: float, warmup: int, decay: int) -> float:
    """The rate after `samples` samples: linear from 0 to `peak`, then half a cosine down to `minimum` at
    `decay`.

    warmup, decay  in samples from the start; after `decay` the rate stays at `minimum`
    source  Megatron-DeepSpeed megatron/learning_rates.py, AnnealingLR.get_lr
    """
    if warmup and samples <= warmup:
        return peak * samples / warmup
    if samples > decay:
        return minimum
    progress = (samples - warmup) / max(decay - warmup, 1)
    return minimum + (peak - minimum) * 0.5 * (1 + math.cos(math.pi * progress))


def batch_size(samples: int, full: int, ramp: tuple[int, int, int] | None) -> int:
    """Sequences in the step that starts after `samples` samples.

    ramp    first batch, increment, samples over which it grows to `full`; null = `full` from the start
    raises  ValueError where the increments do not lead from the first batch to the full one
    source  Megatron-DeepSpeed megatron/microbatches.py, RampupBatchsizeNumMicroBatches
    """
    if ramp is None:
        return full
    first, increment, length = ramp
    if increment < 1 or first > full or (full - first) % increment:
        raise ValueError(f"batch ramp: {first} plus steps of {increment} does not reach {full}; change the increment")
    if samples > length or first == full:
        return full
    # a batch that has reached `full` stays there: the last step begins exactly at `length`
    return min(first + int(samples / (length / ((full - first) // increment))) * increment, full)


def samples_after(steps: int, full: int, ramp: tuple[int, int, int] | None) -> int:
    """Samples that the first `steps` steps consume together."""
    samples = 0
    for step in range(steps):
        if ramp is None or samples > ramp[2]:
            return samples + (steps - step) * full
        samples += batch_size(samples, full, ramp)
    return samples


def steps_within(samples: int, full: int, ramp: tuple[int, int, int] | None) -> int:
    """Whole steps that some samples allow. source: megatron/training.py, update_train_iters"""
    steps = consumed = 0
    while ramp is not None and consumed <= ramp[2]:
        size = batch_size(consumed, full, ramp)
        if consumed + size > samples:
            return steps
        steps, consumed = steps + 1, consumed + size
    return steps + (samples - consumed) // full
