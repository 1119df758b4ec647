"""Tensor and pipeline parallelism over two processes beside one: loss, gradient and time of a step.

torchrun --nproc-per-node 2 -m benchmarks.train_beyond [SIZE]
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import device_mesh
from torch.distributed.tensor import DTensor

from model import bloom, config, parallel

SEQUENCE, BATCH, MICRO_BATCHES = 1024, 8, 4


def main() -> None:
    shape = config.SIZES[sys.argv[1] if len(sys.argv) > 1 else "560M"]
    with parallel.world("auto") as where:
        small = where.device.type == "cpu"
        batch, sequence = (4, 64) if small else (BATCH, SEQUENCE)
        ids = torch.randint(4, shape.vocabulary, (batch, sequence + 1), generator=torch.Generator().manual_seed(1))
        inputs, targets = (part.to(where.device) for part in (ids[:, :-1], ids[:, 1:]))
        whole = fresh(shape, where)
        facts: dict[str, Any] = {"one": timed(lambda: whole(inputs, targets).backward(), where, whole)}
        true = {name: parameter.grad for name, parameter in whole.named_parameters()}

        split = parallel.split_blocks(
            fresh(shape, where), device_mesh.init_device_mesh(where.device.type, (where.size,))
        )
        facts["tensor"] = timed(lambda: split(inputs, targets).backward(), where, split)
        facts["tensor_error"] = off(split.named_parameters(), true, where)

        part = parallel.Part(fresh(shape, where), where.rank, where.size)
        schedule = parallel.pipeline(part, where, MICRO_BATCHES, parallel.logits_loss)

        def step() -> None:
            if part.first:
                schedule.step(inputs)
            else:
                schedule.step(target=targets)
            part.tie()

        facts["pipeline"] = timed(step, where, part)
        facts["pipeline_error"] = off(part.named_own_parameters(), true, where)
        if where.first:
            print(json.dumps({"case": "beyond", "size": shape.parameters(), "device": str(where.device)} | facts))


def fresh(shape: config.BloomConfig, where: parallel.World) -> bloom.Bloom:
    model = bloom.Bloom(shape)
    return model.to(where.device).initialise(torch.Generator(where.device).manual_seed(0))


def timed(step: Callable[[], Any], where: parallel.World, module: torch.nn.Module) -> float:
    """Seconds of the third of three steps; the last one's gradients stay."""
    for _ in range(3):
        module.zero_grad()
        dist.barrier()
        began = time.monotonic()
        step()
        if where.device.type == "cuda":
            torch.cuda.synchronize()
        spent = time.monotonic() - began
    return round(spent, 4)


def off(named: Any, true: dict[str, torch.Tensor], where: parallel.World) -> float:
    """The worst relative error of a weight's gradient, in any process."""
    grads = {n: p.grad.full_tensor() if isinstance(p.grad, DTensor) else p.grad for n, p in named}
    floor = 1e-6 * max(grad.norm() for grad in true.values())
    worst = torch.stack([(grad - true[n]).norm() / true[n].norm().clamp(min=floor) for n, grad in grads.items()]).max()
    dist.all_reduce(worst, dist.ReduceOp.MAX)
    return float(worst)


if __name__ == "__main__":
    main()
