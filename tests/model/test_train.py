"""Training in this process, and the promise that a killed run goes on bit for bit, with real processes."""

from __future__ import annotations

import dataclasses
import fcntl
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from model import assemble, batches, checkpoint, choices, config, export, guard, parallel, train
from tokenizer import encode, mix

ALONE = parallel.World(rank=0, size=1, device=torch.device("cpu"))


@pytest.fixture
def options(nano, tmp_path) -> choices.Options:
    return dataclasses.replace(nano, output=tmp_path / "run")


def quiet(message: str) -> None:
    pass


def rows(output: Path) -> list[list[str]]:
    """The log without what differs from run to run: the seconds and all that follows from them."""
    return [line.split(",")[:5] for line in (output / "log.csv").read_text().splitlines()]


@pytest.fixture
def outcome(saved_tensors):
    """Everything that a rerun must give again: log, evaluation, and the last weights and moments."""

    def read(output: Path) -> tuple:
        path = checkpoint.found(output / "checkpoints")[-1]
        return rows(output), (output / "evaluation.csv").read_text(), path.name, saved_tensors(path)

    return read


def test_the_loss_falls_and_every_step_is_logged(options):
    options = dataclasses.replace(options, steps=60)
    assert train.train(options, quiet)
    log = rows(options.output)
    assert log[0] == ["step", "samples", "loss", "learning_rate", "gradient_norm"]
    assert [row[:2] for row in log[1:]] == [[str(n), str(4 * n)] for n in range(1, 61)]
    losses = [float(row[2]) for row in log[1:]]
    assert losses[0] == pytest.approx(math.log(512), rel=0.03)  # an untrained model guesses; 400 ids, padded
    assert sum(losses[-5:]) / 5 < 0.75 * losses[0]


def test_the_end_is_evaluated_by_language_and_improves(options):
    train.train(dataclasses.replace(options, steps=40, eval_every=10), quiet)
    lines = [line.split(",") for line in (options.output / "evaluation.csv").read_text().splitlines()]
    assert lines[0] == ["step", "language", "documents", "tokens", "bytes", "bits_per_byte"]
    assert [line[:3] for line in lines[1:]] == [
        [str(step), language, "3"] for step in (10, 20, 30, 40) for language in ("en", "nigercongo-sw", "zhs")
    ]
    by_language = {language: [float(line[5]) for line in lines if line[1] == language] for language in ("en", "zhs")}
    assert all(found[-1] < 0.9 * found[0] for found in by_language.values())


def test_micro_batches_give_the_gradient_of_the_whole_batch(options, tmp_path):
    train.train(options, quiet)
    other = dataclasses.replace(options, output=tmp_path / "micro", micro=3)  # 3 + 1
    train.train(other, quiet)
    for one, two in zip(rows(options.output)[1:], rows(other.output)[1:], strict=True):
        assert [float(v) for v in one] == pytest.approx([float(v) for v in two], rel=1e-4)


def test_a_growing_batch_consumes_what_it_says(options):
    train.train(dataclasses.replace(options, steps=6, ramp=(1, 1, 9)), quiet)
    assert [row[1] for row in rows(options.output)[1:]] == ["1", "2", "3", "5", "7", "10"]


def test_two_runs_of_one_line_are_equal_to_the_bit(options, tmp_path, outcome):
    train.train(options, quiet)
    other = dataclasses.replace(options, output=tmp_path / "again")
    train.train(other, quiet)
    assert outcome(other.output) == outcome(options.output)


def test_another_seed_is_another_run(options, tmp_path):
    train.train(options, quiet)
    other = dataclasses.replace(options, output=tmp_path / "again", seed=2)
    train.train(other, quiet)
    assert rows(other.output)[1][2] != rows(options.output)[1][2]


def test_a_finished_run_is_left_as_it_is(options, outcome):
    train.train(options, quiet)
    before = outcome(options.output)
    assert train.train(options, quiet)
    assert outcome(options.output) == before


def test_stop_saves_and_ends_and_the_run_goes_on_without_it(options, tmp_path, outcome):
    said = []

    def stop_at_10(message: str) -> None:
        said.append(message)
        if message.startswith("step 10/"):
            (options.output / "STOP").touch()

    assert not train.train(options, stop_at_10)
    assert said[-1].startswith("stopped after step 10")
    assert checkpoint.found(options.output / "checkpoints")[-1].name == "step-00000010"
    assert not train.train(options, quiet)  # still there
    (options.output / "STOP").unlink()
    assert train.train(options, quiet)
    undisturbed = dataclasses.replace(options, output=tmp_path / "undisturbed")
    train.train(undisturbed, quiet)
    assert outcome(options.output) == outcome(undisturbed.output)


def test_a_loss_that_is_not_finite_ends_the_run_before_the_update(options, saved_tensors):
    options = dataclasses.replace(options, rate=1e30, rate_min=0.0, warmup=0, checkpoint_every=1)
    with pytest.raises(FloatingPointError, match=r"step \d+: loss nan, .* samples \d+ to \d+; no weight changed"):
        train.train(options, quiet)
    last = checkpoint.found(options.output / "checkpoints")[-1]
    assert len(rows(options.output)) - 1 == int(last.name[5:])
    assert all(np.isfinite(np.frombuffer(value, np.float32)).all() for value in saved_tensors(last).values())


def test_no_checkpoint_is_made_in_a_spike_and_one_that_lasts_ends_the_run(options, monkeypatch):
    """With a border of -10 nats every loss after the first four is a spike."""
    monkeypatch.setattr(guard, "WINDOW", 4)
    monkeypatch.setattr(guard, "RISE", -10.0)
    options = dataclasses.replace(options, checkpoint_every=2, steps=70)
    with pytest.raises(
        guard.LossSpike, match=r"step 54: the loss is .* for 50 steps; the last checkpoint is from before"
    ):
        train.train(options, quiet)
    assert [path.name for path in checkpoint.found(options.output / "checkpoints")] == [
        "step-00000002",
        "step-00000004",
    ]


def test_a_mix_file_decides_what_is_read(options):
    shares = {"en/lm_en_river-00000": 1.0}
    file = options.output.parent / "mix.txt"
    mix.write(file, [*mix.train(shares, 0.9), *mix.valid(shares, 0.9)])
    train.train(dataclasses.replace(options, mix=file, steps=2), quiet)
    lines = (options.output / "evaluation.csv").read_text().splitlines()
    assert [line.split(",")[:3] for line in lines[1:]] == [["2", "en", "3"]]


def test_an_output_in_use_is_refused(options):
    options.output.mkdir()
    with (options.output / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another training run is using it"):
            train.train(options, quiet)


def test_a_damaged_checkpoint_is_refused(options):
    train.train(options, quiet)
    path = checkpoint.found(options.output / "checkpoints")[-1] / "__0_0.distcp"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"step-00000012/__0_0.distcp: is .* delete this folder to go on"):
        train.train(options, quiet)


def test_another_number_of_threads_is_warned_about(options):
    said = []
    train.train(dataclasses.replace(options, steps=5), quiet)
    train.train(dataclasses.replace(options, steps=5, threads=2), said.append)
    assert said[0].startswith("warning: step-00000005 was made on ")
    assert "'threads': 1" in said[0].split("this is")[0] and "'threads': 2" in said[0].split("this is")[1]


def test_a_run_can_be_exported_and_read(options, saved_tensors):
    train.train(options, quiet)
    model = export.load(options.output)
    path = checkpoint.found(options.output / "checkpoints")[-1]
    assert checkpoint.describe(path).step == 12
    saved = saved_tensors(path)
    assert {f"model.{name}": value.numpy().tobytes() for name, value in model.state_dict().items()} == {
        name: value for name, value in saved.items() if name.startswith("model.")
    }


def test_tensorboard_has_the_curve(options):
    train.train(dataclasses.replace(options, steps=3, tensorboard=True), quiet)
    from tensorboard.backend.event_processing import event_accumulator

    found = event_accumulator.EventAccumulator(str(options.output / "tensorboard"))
    found.Reload()
    curve = [float(row[2]) for row in rows(options.output)[1:]]
    assert [event.value for event in found.Scalars("loss")] == pytest.approx(curve)


def test_cuda_without_a_gpu_is_refused(options):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match="--device cuda: torch sees no GPU"):
        train.train(dataclasses.replace(options, device="cuda"), quiet)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_trains_in_bfloat16_as_the_cpu_in_float32(options, tmp_path):
    options = dataclasses.replace(options, steps=20)
    train.train(options, quiet)
    other = dataclasses.replace(options, output=tmp_path / "gpu", device="cuda")
    train.train(other, quiet)
    for one, two in zip(rows(options.output)[1:], rows(other.output)[1:], strict=True):
        assert float(one[2]) == pytest.approx(float(two[2]), rel=0.02)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_two_runs_on_a_gpu_are_equal_to_the_bit(options, tmp_path, outcome):
    options = dataclasses.replace(options, device="cuda", steps=30, sequence=64)
    other = dataclasses.replace(options, output=tmp_path / "again")
    for one in (options, other):
        train.train(one, quiet)
    assert outcome(other.output) == outcome(options.output)


LINE = [sys.executable, "-c", "from model import cli; cli.app()", "train", "--size", "nano", "--threads", "1"]


def line(options: choices.Options) -> list[str]:
    """The command line of some options, as far as they are not the command's own defaults."""
    same = "shards tokenizer output steps batch sequence eval_share eval_every eval_documents keep seed device"
    values = {name: getattr(options, name) for name in same.split()}
    values |= {"lr": options.rate, "lr_min": options.rate_min, "warmup": options.warmup}
    values["checkpoint_every"] = options.checkpoint_every
    return [*LINE, *(f"--{name.replace('_', '-')}={value}" for name, value in values.items())]


def killed_after(command: list[str], log: Path, count: int) -> None:
    """Start a run and SIGKILL it as soon as its log has `count` rows."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            if log.exists() and log.read_text().count("\n") > count:
                break
            time.sleep(0.003)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.wait(60)
    assert process.returncode == -signal.SIGKILL  # it was killed, it had not ended


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(options, tmp_path, outcome):
    options = dataclasses.replace(options, steps=60, sequence=32, eval_every=7, checkpoint_every=3)
    train.train(options, quiet)  # undisturbed, and in another process
    killed = dataclasses.replace(options, output=tmp_path / "killed")
    for count in (2, 31):  # before the first checkpoint, and between two
        killed_after(line(killed), killed.output / "log.csv", count)
    done = subprocess.run(line(killed), check=True, capture_output=True, timeout=120, text=True)
    assert "step 0 of" not in done.stderr  # it went on, it did not start again
    assert outcome(killed.output) == outcome(options.output)
    assert [row[0] for row in rows(killed.output)[1:]] == [str(n) for n in range(1, 61)]
    assert not list(killed.output.rglob("*.tmp"))


@pytest.mark.parametrize("step", [0, 5, 10])
def test_whatever_a_kill_leaves_behind_the_run_ends_with_the_same_bits(options, tmp_path, step, outcome):
    """The worst that a kill can leave: rows beyond the checkpoint, a torn one, half a checkpoint."""
    train.train(options, quiet)
    before = outcome(options.output)
    for path in checkpoint.found(options.output / "checkpoints"):
        half = path.with_name(f".{path.name}.tmp")
        if int(path.name[5:]) > step:
            path.rename(half)
            (half / "manifest.json").unlink()
    if step == 0:
        assert not checkpoint.found(options.output / "checkpoints")
    with (options.output / "log.csv").open("a") as file:
        file.write("13,52,4.1")
    said: list[str] = []
    assert train.train(options, said.append)
    assert f"step {max(step, 0)} of 12" in said[0]
    assert outcome(options.output) == before


def test_the_first_steps_are_those_of_transformers(options):
    """The referee: the same first weights, samples, schedule, clip and AdamW, transformers' own model and loss."""
    import transformers

    options = dataclasses.replace(options, steps=12)
    train.train(options, quiet)
    ours = [float(row[2]) for row in rows(options.output)[1:]]

    encoder = encode.Encoder(options.tokenizer, special_collisions="allow")
    first, _ = assemble.build(config.size("nano", encoder.vocab_size), ALONE, seed=options.seed)
    shape = first.config
    model = transformers.BloomForCausalLM(
        transformers.BloomConfig(
            vocab_size=shape.vocabulary, hidden_size=shape.hidden, n_layer=shape.layers, n_head=shape.heads
        )
    )
    model.load_state_dict({export.PREFIX + n: v for n, v in first.state_dict().items()}, strict=False)
    model.tie_weights()
    parts = batches.divide(options.shards, options.eval_share).train
    mixture = batches.Mixture(parts, options.samples, options.sequence, options.seed, encoder.vocab_size)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8)
    theirs = []
    for step in range(12):
        ids = torch.from_numpy(mixture.batch(4 * step, 4))
        loss = torch.nn.functional.cross_entropy(model(ids[:, :-1]).logits.flatten(0, 1), ids[:, 1:].flatten())
        adamw.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        rate = 3e-3 * step  # warm-up over 4 samples: one step
        if step:
            progress = (4 * step - 4) / (48 - 4)
            rate = 3e-4 + (3e-3 - 3e-4) * 0.5 * (1 + math.cos(math.pi * progress))
        for group in adamw.param_groups:
            group["lr"] = rate
        adamw.step()
        theirs.append(loss.item())
    assert ours == pytest.approx(theirs, rel=1e-4)
