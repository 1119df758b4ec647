"""The model of a run as its device computes it: attention, loss, type, compilation, spreading, weights."""

from __future__ import annotations

import importlib.util

import torch
from torch import nn

from model import bloom, config, loss, parallel

ATTENTION = ("auto", "sdpa", "flex", "cudnn", "legacy")
LOSS = ("auto", *loss.BY_NAME)


def attention(name: str, shape: config.BloomConfig, device: torch.device) -> bloom.Attention:
    """The attention of a name. `auto`: on CUDA cuDNN's where it is installed and knows the heads, else Flex.

    raises  ValueError for an unknown name, or one that this device or environment lacks
    """
    if name not in ATTENTION:
        raise ValueError(f"--attention is '{name}'; expected {', '.join(ATTENTION)}")
    power_of_two = not shape.heads & (shape.heads - 1)
    installed = importlib.util.find_spec("cudnn") is not None
    if name == "auto":
        name = "sdpa" if device.type == "cpu" else "cudnn" if installed and power_of_two else "flex"
    if name in ("flex", "cudnn") and device.type == "cpu":
        raise ValueError(f"--attention {name}: torch has no backward pass of it on a CPU; use sdpa")
    if name == "cudnn":
        if not installed:
            raise ValueError("--attention cudnn: not installed; `pip install 'bloom-roots[cudnn]'`, or use flex")
        from model import cudnn

        return cudnn.ALIBI
    return {"sdpa": bloom.SDPA, "flex": bloom.FLEX, "legacy": bloom.LEGACY}[name]


def loss_of(name: str, device: torch.device) -> loss.Loss:
    """The loss of a name. `auto`: in place, but compiled on a GPU whose torch came without Triton."""
    if name not in LOSS:
        raise ValueError(f"--loss is '{name}'; expected {', '.join(LOSS)}")
    if name == "auto":
        name = "compiled" if device.type == "cuda" and importlib.util.find_spec("triton") is None else "in-place"
    return loss.BY_NAME[name]


def build(
    shape: config.BloomConfig,
    where: parallel.World,
    *,
    seed: int,
    way: str = "none",
    attend: str = "auto",
    losing: str = "auto",
    recompute: int = 0,
    gathered: bool = False,
) -> tuple[bloom.Bloom, nn.Module]:
    """The model with its first weights, and the module to call for a step (the model, or DDP around it).

    On CUDA it computes in bfloat16 and its blocks are compiled. The weights are a function of the seed and the
    kind of device, at any number of processes: each draws every tensor whole and keeps its share.
    """
    dtype = torch.bfloat16 if where.device.type == "cuda" else torch.float32
    with torch.device("meta"):
        model = bloom.Bloom(shape, attention(attend, shape, where.device), loss_of(losing, where.device), dtype)
    model.recompute = recompute
    if where.device.type == "cuda":
        model.compile_blocks()
    if way == "fsdp":
        parallel.spread(model, way, where, gathered)
    model.to_empty(device=where.device)
    model.slopes = bloom.alibi_slopes(shape.heads).to(where.device)
    model.initialise(torch.Generator(where.device).manual_seed(seed))
    return model, model if way == "fsdp" else parallel.spread(model, way, where)


def placed(model: bloom.Bloom, where: parallel.World) -> bloom.Bloom:
    """A loaded model on this process' device, as it is trained with segments: Flex on CUDA, compiled; else SDPA."""
    if where.device.type == "cpu":
        return model
    other = bloom.Bloom(model.config, bloom.FLEX, loss_of("auto", where.device), torch.bfloat16)
    other.load_state_dict(model.state_dict())
    return other.to(where.device).compile_blocks()
