"""Train a BLOOM on token shards; killed at any moment, the same line goes on to the same weights.

    OUTPUT/options.json     what the run was started with
    OUTPUT/log.csv          a row per step;   OUTPUT/evaluation.csv   a row per evaluation and language
    OUTPUT/checkpoints/     the newest checkpoints
    OUTPUT/STOP             if it is there: save and end (the original's kill switch)

A step is a pure function of the weights, the optimizer's state and the number of samples consumed: these
three are the checkpoint, and the sample order needs nothing else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from model import batches, bloom, checkpoint, choices, config, evaluate, journal, optimizer
from tokenizer import encode, mix


@dataclasses.dataclass(kw_only=True, slots=True)
class Run:
    """What a run needs while it trains; `step` and `samples` are those done."""

    options: choices.Options
    encoder: encode.Encoder
    mixture: batches.Mixture
    held_out: dict[str, tuple[mix.Part, ...]]
    data: str
    model: bloom.Bloom
    adamw: torch.optim.AdamW
    device: torch.device
    step: int = 0
    samples: int = 0

    @property
    def checkpoints(self) -> Path:
        return self.options.output / "checkpoints"


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def train(options: choices.Options, say: Callable[[str], None] = _say) -> bool:
    """Train until the last step, from the newest checkpoint if there is one. False if STOP ended it early.

    raises  ValueError for other options or data than the run was started with, a damaged checkpoint, or an
            output in use by another process; FloatingPointError where the loss or the gradient is not finite
    """
    options.output.mkdir(parents=True, exist_ok=True)
    device = _device(options.device)
    with _claimed(options.output), _deterministic(device, options.threads):
        run = _start(options, device)
        _resume(run, say)
        return _steps(run, say)


def _start(options: choices.Options, device: torch.device) -> Run:
    """The run at step 0, on data and options that agree with the output folder."""
    # a text that spells a special token was kept from the shards when they were written
    encoder = encode.Encoder(options.tokenizer, special_collisions="allow")
    shape = config.size(options.size, encoder.vocab_size)
    if options.mix is None:
        division = batches.divide(options.shards, options.eval_share)
    else:
        division = batches.divide_by(options.mix, options.shards)
    data = _digest(division, encoder)
    choices.agree(options, data)
    model = bloom.Bloom(shape).initialise(torch.Generator().manual_seed(options.seed)).to(device)
    return Run(
        options=options,
        encoder=encoder,
        mixture=batches.Mixture(division.train, options.samples, options.sequence, options.seed, encoder.vocab_size),
        held_out=division.held_out,
        data=data,
        model=model,
        adamw=optimizer.adamw(model, options.rate),
        device=device,
    )


def _digest(division: batches.Division, encoder: encode.Encoder) -> str:
    """What the samples depend on: every part, its shard's bytes, and the tokenizer; not where they lie."""
    groups = {"train": division.train, **{f"{batches.VALID}{k}": v for k, v in division.held_out.items()}}
    prefixes = {part.prefix for parts in groups.values() for part in parts}
    prints = {prefix: batches.fingerprint(Path(prefix)) for prefix in prefixes}
    rows = [[g, prints[p.prefix], p.weight, p.start, p.end] for g, parts in groups.items() for p in parts]
    return hashlib.sha256(json.dumps([encoder.sha256, rows]).encode()).hexdigest()


def _resume(run: Run, say: Callable[[str], None]) -> None:
    """Go to the newest checkpoint, if there is one."""
    checkpoint.clean(run.checkpoints)
    saved = checkpoint.found(run.checkpoints)
    if not saved:
        return
    place, state = checkpoint.load(saved[-1])
    if place.machine != _machine(run.device):
        say(
            f"warning: {saved[-1].name} was made on {place.machine}, this is {_machine(run.device)}; "
            "the last bits may differ"
        )
    checkpoint.restore(state, run.model, run.adamw)
    run.step, run.samples = place.step, place.samples


def _steps(run: Run, say: Callable[[str], None]) -> bool:
    """The loop: one step, its row, and what is due after it."""
    options = run.options
    log = journal.Journal(options.output / "log.csv", journal.Step, run.step)
    scores = journal.Journal(options.output / "evaluation.csv", journal.Evaluation, run.step)
    board = journal.board(options.output / "tensorboard", run.step) if options.tensorboard else None
    parameters = sum(p.numel() for p in run.model.parameters())
    say(f"{options.size}: {parameters:,} parameters, step {run.step} of {options.steps}, on {run.device}")
    first, began, saved = run.step, time.monotonic(), run.step
    try:
        while run.step < options.steps:
            if (options.output / "STOP").exists():
                if saved < run.step:
                    _save(run, log, scores)
                say(f"stopped after step {run.step}: {options.output / 'STOP'} is there; remove it to go on")
                return False
            row = _step(run)
            log.add(row)
            last = run.step == options.steps
            if board is not None:
                for name in ("loss", "learning_rate", "gradient_norm"):
                    board.add_scalar(name, getattr(row, name), run.step)
            if last or run.step % 10 == 0:
                say(_line(run, row, (time.monotonic() - began) / (run.step - first)))
            if last or (options.eval_every and run.step % options.eval_every == 0):
                _evaluate(run, scores, board, say)
            if last or run.step % options.checkpoint_every == 0:
                _save(run, log, scores)
                saved = run.step
        return True
    finally:
        log.close()
        scores.close()
        if board is not None:
            board.close()


def _step(run: Run) -> journal.Step:
    """One batch forward and backward, clip, update."""
    began = time.monotonic()
    options = run.options
    batch = optimizer.batch_size(run.samples, options.batch, options.ramp)
    # the rate before this step's samples, as in the original: with a warm-up the first step changes nothing
    rate = optimizer.learning_rate(
        run.samples, peak=options.rate, minimum=options.rate_min, warmup=options.warmup, decay=options.samples
    )
    loss = _backward(run, batch)
    norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), optimizer.CLIP).item()
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise FloatingPointError(
            f"step {run.step + 1}: loss {loss}, gradient norm {norm}, learning rate {rate:g}, samples "
            f"{run.samples} to {run.samples + batch}; no weight changed. Try a lower --lr, another --output"
        )
    for group in run.adamw.param_groups:
        group["lr"] = rate
    run.adamw.step()
    run.step, run.samples = run.step + 1, run.samples + batch
    return journal.Step(
        step=run.step,
        samples=run.samples,
        loss=loss,
        learning_rate=rate,
        gradient_norm=norm,
        seconds=round(time.monotonic() - began, 4),
    )


def _backward(run: Run, batch: int) -> float:
    """Gradients of the mean loss over the next `batch` samples, in micro-batches; returns that mean, nats
    per token."""
    run.adamw.zero_grad()
    total = torch.zeros((), device=run.device)
    micro = run.options.micro or batch
    for start in range(0, batch, micro):
        ids = torch.from_numpy(run.mixture.batch(run.samples + start, min(micro, batch - start))).to(run.device)
        with torch.autocast(run.device.type, torch.bfloat16, enabled=run.device.type == "cuda"):
            loss = run.model(ids[:, :-1], ids[:, 1:]) / (batch * run.options.sequence)
        loss.backward()
        total += loss.detach()
    return total.item()


def _evaluate(run: Run, scores: journal.Journal, board: Any, say: Callable[[str], None]) -> None:
    options = run.options
    found = evaluate.held_out(
        run.model,
        run.held_out,
        run.encoder,
        options.sequence,
        options.micro or options.batch,
        options.eval_documents,
    )
    for language, score in found.items():
        scores.add(
            journal.Evaluation(
                step=run.step,
                language=language,
                documents=score.documents,
                tokens=score.tokens,
                bytes=score.bytes,
                bits_per_byte=score.bits_per_byte,
            )
        )
        if board is not None:
            board.add_scalar(f"bits_per_byte/{language}", score.bits_per_byte, run.step)
    say(f"step {run.step}  bits per byte  " + "  ".join(f"{k} {s.bits_per_byte:.3f}" for k, s in found.items()))


def _save(run: Run, log: journal.Journal, scores: journal.Journal) -> None:
    log.sync()
    scores.sync()
    place = checkpoint.Place(
        step=run.step,
        samples=run.samples,
        config=dataclasses.asdict(run.model.config),
        options=run.options.plain(),
        data=run.data,
        machine=_machine(run.device),
    )
    checkpoint.save(run.checkpoints, place, run.model, run.adamw, run.options.keep)


def _line(run: Run, row: journal.Step, seconds: float) -> str:
    """Progress for a person; `seconds` per step, mean of this session."""
    tokens = optimizer.batch_size(run.samples, run.options.batch, run.options.ramp) * run.options.sequence / seconds
    left = round((run.options.steps - run.step) * seconds)
    return (
        f"step {run.step}/{run.options.steps}  loss {row.loss:.4f}  lr {row.learning_rate:.3e}  "
        f"norm {row.gradient_norm:.2f}  {tokens:,.0f} tokens/s  "
        f"ETA {left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
    )


def _device(name: str) -> torch.device:
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ValueError("--device cuda: torch sees no GPU; use --device cpu, or install a torch for this GPU's driver")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def _machine(device: torch.device) -> dict[str, Any]:
    """What the last bits of a number depend on, beside the program and the data."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    return {"torch": str(torch.__version__), "device": name, "threads": torch.get_num_threads()}


@contextlib.contextmanager
def _deterministic(device: torch.device, threads: int) -> Iterator[None]:
    """Same numbers in every run on this machine; an operation that cannot promise it is an error.

    The price on an H200: 560M at 29,352 tokens/s instead of 50,853 (torch 2.11, 4 x 2,048 tokens a step), in
    SDPA's backward.
    """
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    if device.type == "cuda":  # cuBLAS knows no other switch, and torch refuses to multiply without it
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if threads:
        torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


@contextlib.contextmanager
def _claimed(output: Path) -> Iterator[None]:
    """Hold the output folder; the lock ends with the process, however it ends."""
    with (output / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"{output}: another training run is using it; wait for it, or name another --output"
            ) from error
        yield
