"""One model on several processes: who we are, how the weights are spread, and two ways beyond data parallelism.

`torchrun` starts a process per GPU (`torchrun --nproc-per-node 2 -m model train ...`); alone, a process is a
world of one and nothing of torch.distributed is used.

    none    one process
    ddp     each process holds all; gradients are averaged
    fsdp    FSDP2: each process holds its share of weights, gradients and moments, block by block
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import device_mesh, fsdp, pipelining
from torch.distributed.tensor import parallel as tensor_parallel
from torch.nn.parallel import DistributedDataParallel

from model import bloom

WAYS = ("none", "ddp", "fsdp")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """This process among all; `device` is its own."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        return self.rank == 0

    def any(self, here: bool) -> bool:
        """Whether it holds in any process; all must ask."""
        if self.size == 1:
            return here
        there = torch.tensor(float(here), device=self.device)
        dist.all_reduce(there, dist.ReduceOp.MAX)
        return bool(there.item())

    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()


@contextlib.contextmanager
def world(device: str) -> Iterator[World]:
    """The world that `torchrun` made, or a world of one.

    device  auto, cpu or cuda
    raises  ValueError for cuda without a GPU
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise ValueError("--device cuda: torch sees no GPU; use --device cpu, or install a torch for this GPU's driver")
    kind = "cuda" if available and device != "cpu" else "cpu"
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    here = torch.device(kind, int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else torch.device("cpu")
    if kind == "cuda":
        torch.cuda.set_device(here)
    if size == 1 or dist.is_initialized():
        yield World(rank=rank, size=size, device=here)
        return
    dist.init_process_group("nccl" if kind == "cuda" else "gloo", device_id=here if kind == "cuda" else None)
    try:
        yield World(rank=rank, size=size, device=here)
    finally:
        dist.destroy_process_group()


def spread(model: bloom.Bloom, way: str, where: World, gathered: bool = False) -> nn.Module:
    """The module to call for a training step: the model itself, or its DDP wrapper.

    With fsdp the model's own parameters become shards (DTensors) of float32; a block's weights are gathered
    in the model's compute type and their gradients summed in float32.
    gathered  with fsdp: a block's weights stay whole from its forward to its backward pass, instead of being
              gathered twice
    raises  ValueError for another way, or a way of several processes in a world of one
    """
    if way not in WAYS:
        raise ValueError(f"--parallel is '{way}'; expected {', '.join(WAYS)} or auto")
    if way == "none":
        if where.size > 1:
            raise ValueError(f"--parallel none in a world of {where.size} processes; use ddp or fsdp")
        return model
    if where.size == 1:
        raise ValueError(f"--parallel {way} in a world of one process; start it with torchrun, or use none")
    if way == "ddp":
        devices = [where.device.index] if where.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)
    mesh = device_mesh.init_device_mesh(where.device.type, (where.size,))
    # what goes into a block is of the right type already; ALiBi's slopes are to stay float32
    policy = fsdp.MixedPrecisionPolicy(model.dtype, torch.float32, cast_forward_inputs=False)
    for block in model.h:
        fsdp.fully_shard(block, mesh=mesh, mp_policy=policy, reshard_after_forward=not gathered)
    fsdp.fully_shard(model, mesh=mesh, mp_policy=policy)
    return model


@contextlib.contextmanager
def summing(module: nn.Module, last: bool) -> Iterator[None]:
    """A micro-batch's backward pass: gradients travel between processes with the last one of a step only.

    Until then fsdp leaves the weights whole where the backward pass gathered them: the next forward pass needs them,
    and the activations are gone.
    """
    if isinstance(module, DistributedDataParallel) and not last:
        with module.no_sync():
            yield
        return
    if isinstance(module, fsdp.FSDPModule):
        module.set_requires_gradient_sync(last)
        module.set_reshard_after_backward(last)
    yield


# --- beyond one host: each block over several GPUs, or the blocks one after another ----------------------------


def split_blocks(model: bloom.Bloom, mesh: device_mesh.DeviceMesh) -> bloom.Bloom:
    """Tensor parallelism: each process of `mesh` (one axis) computes its share of every block's heads and width.

    The embedding, the LayerNorms and the loss stay whole on each. Works on blocks that are not compiled yet.
    raises  ValueError where the processes do not divide the heads
    """
    heads, ranks = model.config.heads, mesh.size()
    if heads % ranks:
        raise ValueError(f"tensor parallelism: {heads} heads cannot be shared by {ranks} processes")
    plan = {
        "self_attention.query_key_value": tensor_parallel.ColwiseParallel(),  # rows are [H, 3, D]: whole heads
        "self_attention.dense": tensor_parallel.RowwiseParallel(),
        "mlp.dense_h_to_4h": tensor_parallel.ColwiseParallel(),
        "mlp.dense_4h_to_h": tensor_parallel.RowwiseParallel(),
    }
    for block in model.h:
        tensor_parallel.parallelize_module(block, mesh, plan)
    model.slopes = model.slopes.chunk(ranks)[mesh.get_local_rank()]
    return model


class Part(nn.Module):
    """Pipeline parallelism: the blocks of one process; the first also embeds, the last ends with the logits.

    The tied embedding is on both: `tie` sums its two gradients.
    """

    def __init__(self, model: bloom.Bloom, rank: int, ranks: int) -> None:
        super().__init__()
        layers = model.config.layers
        self.model, self.first, self.last = model, rank == 0, rank == ranks - 1
        self.mine = range(rank * layers // ranks, (rank + 1) * layers // ranks)
        for i in range(layers):
            if i not in self.mine:
                model.h[i] = nn.Identity()  # keeps the numbers of the others

    def forward(self, x: Tensor) -> Tensor:
        x = self.model.embed(x) if self.first else x
        prepared = self.model.prepare(x.shape[1])
        for i in self.mine:
            x = self.model.h[i](x, prepared)
        if not self.last:
            return x
        x = self.model.ln_f(x)
        return nn.functional.linear(x, self.model.word_embeddings.weight.to(x.dtype))

    def named_own_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Those that this process computes with, by the whole model's names."""
        for name, parameter in self.model.named_parameters():
            ends = (self.first and name.startswith("word_embeddings")) or (self.last and name.startswith("ln_f"))
            if name.startswith("h.") or ends or (self.last and name == "word_embeddings.weight"):
                yield name, parameter

    def tie(self) -> None:
        """Sum the embedding's gradients of the first and the last process; all processes call it."""
        weight = self.model.word_embeddings.weight
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        dist.all_reduce(weight.grad)


def logits_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Summed nats of a micro-batch, float32; logits [B, T, V]."""
    flat = logits.float().flatten(0, -2)
    return nn.functional.cross_entropy(flat, targets.flatten(), ignore_index=bloom.IGNORE, reduction="sum")


def pipeline(
    part: Part, where: World, micro_batches: int, loss: Callable[[Tensor, Tensor], Tensor]
) -> pipelining.Schedule1F1B:
    """The 1F1B schedule, BLOOM's own, over one `Part` a process; `loss` takes logits and targets of a micro-batch."""
    stage = pipelining.PipelineStage(part, where.rank, where.size, where.device)
    return pipelining.Schedule1F1B(stage, micro_batches, loss_fn=loss, scale_grads=False)
