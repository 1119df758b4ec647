"""Train a BLOOM on token shards; killed at any moment, the same line goes on to the same weights.

    OUTPUT/options.json     what the run was started with, and the digests of its data
    OUTPUT/log.csv          a row per step;   OUTPUT/evaluation.csv   a row per evaluation and language
    OUTPUT/checkpoints/     the newest checkpoints;   OUTPUT/index/   which tokens make which sample
    OUTPUT/README.md        the model card, written at the end from the figures above
    OUTPUT/STOP             if it is there: save and end (the original's kill switch)

A step is a pure function of the weights, the optimizer's state and the number of samples consumed: these three
are the checkpoint, and the sample order needs nothing else. Any number of processes takes the same samples in the
same order; the last bits of a sum depend on how many there are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model import (
    assemble,
    batches,
    bloom,
    card,
    checkpoint,
    choices,
    config,
    evaluate,
    guard,
    journal,
    memory,
    meter,
    optimizer,
    parallel,
)
from tokenizer import encode, mix

Say = Callable[[str], None]


@dataclasses.dataclass(kw_only=True, slots=True)
class Run:
    """What a run needs while it trains; `step` and `samples` are those done."""

    options: choices.Options
    where: parallel.World
    encoder: encode.Encoder
    samples_ahead: batches.Ahead
    held_out: dict[str, tuple[mix.Part, ...]]
    data: dict[str, Any]
    model: bloom.Bloom
    module: nn.Module  # what is called in a step: the model, or DDP around it
    adamw: torch.optim.AdamW
    guard: guard.Guard
    meter: meter.Meter
    micro: int
    step: int = 0
    samples: int = 0
    saved: int = 0

    @property
    def checkpoints(self) -> Path:
        return self.options.output / "checkpoints"

    def batch(self, samples: int) -> int:
        """Sequences of the step that begins after `samples`."""
        return optimizer.batch_size(samples, self.options.batch, self.options.ramp)

    @property
    def rate(self) -> float:
        """Learning rate of the next step: the one before its samples, as in the original, so that with a warm-up the
        first step changes nothing."""
        options = self.options
        return optimizer.learning_rate(
            self.samples,
            peak=options.rate,
            minimum=options.rate_min,
            warmup=options.warmup,
            decay=options.decay or options.samples,
        )

    def mine(self, samples: int) -> tuple[int, int]:
        """First and number of the samples that this process takes of that step: as many as every other."""
        share = self.batch(samples) // self.where.size
        return samples + self.where.rank * share, share


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def train(options: choices.Options, say: Say = _say) -> bool:
    """Train until the last step, from the newest checkpoint if there is one. False if STOP ended it early.

    raises  ValueError for other options or data than the run was started with, damaged data or checkpoints, or
            an output in use by another process; FloatingPointError where the loss or the gradient is not finite,
            LossSpike where the loss stays high; OSError where the disk refuses a checkpoint
    """
    options.output.mkdir(parents=True, exist_ok=True)
    with parallel.world(options.device) as where, _claimed(options.output, where), _deterministic(options.threads):
        run = _start(options, where)
        _resume(run, say if where.first else _silent)
        finished = _steps(run, say if where.first else _silent)
        if finished and where.first:
            card.write(options.output, run.model.config, options, run.data)
        return finished


def _silent(message: str) -> None:
    pass


def _start(options: choices.Options, where: parallel.World) -> Run:
    """The run at step 0, on data and options that agree with the output folder."""
    # a text that spells a special token was kept from the shards when they were written
    encoder = encode.Encoder(options.tokenizer, special_collisions="allow")
    shape = config.size(options.size, encoder.vocab_size)
    division = (
        batches.divide(options.shards, options.eval_share)
        if options.mix is None
        else batches.divide_by(options.mix, options.shards)
    )
    data: dict[str, Any] = {}
    if where.first:
        data = batches.identity(division, options.shards, encoder.sha256)
        choices.agree(options, data)
    way, fits = _fit(options, shape, where)
    model, module = assemble.build(
        shape,
        where,
        seed=options.seed,
        way=way,
        attend=options.attention,
        losing=options.loss,
        recompute=fits.recompute,
        gathered=fits.gathered,
    )
    if not where.first:
        where.wait()  # the first process makes the index, the others find it
    index = options.output / "index"
    mixture = batches.Mixture(
        division.train, options.samples, options.sequence, options.seed, encoder.vocab_size, index
    )
    if where.first:
        where.wait()
    return Run(
        options=options,
        where=where,
        encoder=encoder,
        samples_ahead=batches.Ahead(mixture),
        held_out=division.held_out,
        data=data,
        model=model,
        module=module,
        adamw=optimizer.adamw(model, options.rate),
        guard=guard.Guard(),
        meter=meter.Meter(where.device),
        micro=fits.micro,
    )


def _fit(options: choices.Options, shape: config.BloomConfig, where: parallel.World) -> tuple[str, memory.Plan]:
    """How the weights are spread, and the micro-batch: as asked for, on a GPU else what its memory allows."""
    for size in {options.batch, *(options.ramp[:2] if options.ramp else ())}:
        if size % where.size:
            raise ValueError(f"a batch of {size} sequences is no multiple of {where.size} processes; change --batch")
    way, batch = options.parallel, options.batch // where.size
    if where.device.type == "cpu":
        way = ("none" if where.size == 1 else "fsdp") if way == "auto" else way
        return way, memory.Plan(micro=options.micro or batch, recompute=max(options.recompute, 0), bytes=0)
    gib = torch.cuda.get_device_properties(where.device).total_memory / memory.GIB
    if way == "auto":
        way = "none" if where.size == 1 else memory.way(shape, gib, batch, options.sequence)
    fits = memory.plan(shape, gib, batch, options.sequence, where.size, way)
    recompute = fits.recompute if options.recompute < 0 else options.recompute
    return way, dataclasses.replace(fits, micro=options.micro or fits.micro, recompute=recompute)


def _resume(run: Run, say: Say) -> None:
    """Go to the newest checkpoint, if there is one."""
    if run.where.first:
        checkpoint.clean(run.checkpoints)
    saved = checkpoint.found(run.checkpoints)
    run.where.wait()
    if not saved:
        return
    place = checkpoint.load(saved[-1], run.model, run.adamw, run.where)
    if place.machine != _machine(run):
        say(f"warning: {saved[-1].name} was made on {place.machine}, this is {_machine(run)}; the last bits may differ")
    run.step, run.samples, run.saved = place.step, place.samples, place.step


def _steps(run: Run, say: Say) -> bool:
    """The loop: one step, its row, and what is due after it."""
    options = run.options
    parameters = run.model.config.parameters()
    say(f"{options.size}: {parameters:,} parameters, step {run.step} of {options.steps}, on {_machine(run)}")
    with journal.Records(options.output, run.step, options.tensorboard, run.where.first) as records:
        run.where.wait()  # the first process has cut the log back to this step
        for earlier in records.steps():
            run.guard.see(int(earlier["step"]), float(earlier["loss"]))
        while run.step < options.steps:
            if run.where.any(run.where.first and (options.output / "STOP").exists()):
                _save(run, records)
                say(f"stopped after step {run.step}: {options.output / 'STOP'} is there; remove it to go on")
                return False
            row = _step(run)
            records.step(row)
            run.guard.see(row.step, row.loss)
            last = run.step == options.steps
            if last or run.step % 10 == 0:
                say(_line(run, row))
            if last or (options.eval_every and run.step % options.eval_every == 0):
                _evaluate(run, records, say)
            if last or run.step % options.checkpoint_every == 0:
                _save(run, records)
    return True


def _step(run: Run) -> journal.Step:
    """One batch forward and backward, clip, update."""
    began = time.monotonic()
    batch, rate = run.batch(run.samples), run.rate
    total = _backward(run, batch)
    norm = optimizer.clip(run.model)
    loss, length = torch.stack((total, norm)).tolist()  # the step's one wait for the GPU
    if not (math.isfinite(loss) and math.isfinite(length)):
        raise FloatingPointError(
            f"step {run.step + 1}: loss {loss}, gradient norm {length}, learning rate {rate:g}, samples "
            f"{run.samples} to {run.samples + batch}; no weight changed, the last checkpoint is step {run.saved}. "
            "Try a lower --lr, another --output"
        )
    for group in run.adamw.param_groups:
        group["lr"] = rate
    run.adamw.step()
    run.step, run.samples = run.step + 1, run.samples + batch
    return _row(run, loss, rate, length, batch, time.monotonic() - began)


def _backward(run: Run, batch: int) -> Tensor:
    """Gradients of the mean loss over the next `batch` samples, in micro-batches; returns that mean, nats per
    token, of all processes.

    Compiled blocks know one shape: the last micro-batch is filled up with rows that are not scored.
    """
    run.adamw.zero_grad()
    first, share = run.mine(run.samples)
    ids = torch.from_numpy(run.samples_ahead.batch(first, share))  # [share, T + 1]
    following = run.samples + batch
    if run.step + 1 < run.options.steps:
        run.samples_ahead.expect(*run.mine(following))
    if run.where.device.type == "cuda":
        ids = ids.pin_memory()
    total = torch.zeros((), device=run.where.device)
    scale = 1 / (batch * run.options.sequence)
    for start in range(0, share, run.micro):
        part = ids[start : start + run.micro].to(run.where.device, non_blocking=True)
        inputs, targets = part[:, :-1], part[:, 1:]
        if len(part) < run.micro and run.model.compiled:
            inputs, targets = _filled(inputs, run.micro, 0), _filled(targets, run.micro, bloom.IGNORE)
        with parallel.summing(run.module, start + run.micro >= share):
            loss = run.module(inputs, targets) * scale
            (loss * run.where.size).backward()  # gradients are averaged over the processes
        total += loss.detach()
    return run.where.total(total)


def _filled(rows: Tensor, count: int, value: int) -> Tensor:
    """[count, T]: the rows, and below them rows of one value."""
    return torch.cat((rows, rows.new_full((count - len(rows), rows.shape[1]), value)))


def _row(run: Run, loss: float, rate: float, norm: float, batch: int, seconds: float) -> journal.Step:
    shape, sequence = run.model.config, run.options.sequence
    speed = batch * sequence / seconds
    recomputed = run.model.recompute / shape.layers
    joules = run.meter.since()
    if joules is not None:
        joules = run.where.total(torch.tensor(joules, device=run.where.device)).item()
    return journal.Step(
        step=run.step,
        samples=run.samples,
        loss=loss,
        learning_rate=rate,
        gradient_norm=norm,
        seconds=round(seconds, 4),
        tokens_per_second=round(speed, 1),
        model_tflops=round(shape.token_flops(sequence) * speed / run.where.size / 1e12, 4),
        hardware_tflops=round(shape.hardware_flops(sequence, recomputed) * speed / run.where.size / 1e12, 4),
        joules=joules,
    )


def _evaluate(run: Run, records: journal.Records, say: Say) -> None:
    options = run.options
    found = evaluate.held_out(
        run.model, run.held_out, run.encoder, options.sequence, run.micro, options.eval_documents, run.where
    )
    for language, score in found.items():
        records.evaluation(
            journal.Evaluation(
                step=run.step,
                language=language,
                documents=score.documents,
                tokens=score.tokens,
                bytes=score.bytes,
                bits_per_byte=score.bits_per_byte,
            )
        )
    say(f"step {run.step}  bits per byte  " + "  ".join(f"{k} {s.bits_per_byte:.3f}" for k, s in found.items()))


def _save(run: Run, records: journal.Records) -> None:
    """A checkpoint of this step, unless there is one already or the loss is in a spike."""
    if run.saved == run.step or run.guard.spiking:
        return
    records.sync()
    place = checkpoint.Place(
        step=run.step,
        samples=run.samples,
        config=dataclasses.asdict(run.model.config),
        options=run.options.plain(),
        data=run.data,
        machine=_machine(run),
    )
    checkpoint.save(run.checkpoints, place, run.model, run.adamw, run.options.keep, run.where)
    run.saved = run.step


def _line(run: Run, row: journal.Step) -> str:
    """Progress for a person; the rest of the run is taken to be as fast as this step."""
    left = round((run.options.samples - run.samples) * run.options.sequence / row.tokens_per_second)
    peak = meter.peak_tflops(run.where.device)
    share = f" ({row.model_tflops / peak:.0%} of peak)" if peak else ""
    return (
        f"step {run.step}/{run.options.steps}  loss {row.loss:.4f}  lr {row.learning_rate:.3e}  "
        f"norm {row.gradient_norm:.2f}  {row.tokens_per_second:,.0f} tokens/s  {row.model_tflops:.3g} TFLOP/s{share}  "
        f"ETA {left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
    )


def _machine(run: Run) -> dict[str, Any]:
    """What the last bits of a number depend on, beside the program and the data."""
    cuda = run.where.device.type == "cuda"
    return {
        "torch": str(torch.__version__),
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "processes": run.where.size,
        "threads": torch.get_num_threads(),
        "micro": run.micro,
        "attention": run.options.attention,
        "loss": run.options.loss,
        "parallel": run.options.parallel,
    }


@contextlib.contextmanager
def _deterministic(threads: int) -> Iterator[None]:
    """Same numbers in every run on this machine; an operation that cannot promise it is an error."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    # cuBLAS knows no other switch, and torch refuses to multiply without it
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if threads:
        torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # else each `empty` is written
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


@contextlib.contextmanager
def _claimed(output: Path, where: parallel.World) -> Iterator[None]:
    """Hold the output folder; the lock ends with the process, however it ends."""
    if not where.first:
        yield
        return
    with (output / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"{output}: another training run is using it; wait for it, or name another --output"
            ) from error
        yield
