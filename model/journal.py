"""The record of a training run: CSV files that survive a kill without a doubled or a missing row."""

from __future__ import annotations

import csv
import dataclasses
import os
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One row of log.csv. Up to `gradient_norm` it is the same in every run of the same line on one machine.

    samples        sequences consumed so far, this step included
    loss           mean nats per token of the step's batch, before its update
    learning_rate  of this step
    gradient_norm  before clipping
    seconds        of the step, saving and evaluation apart
    model_tflops, hardware_tflops  TFLOP/s of a device by `config.token_flops` and `config.hardware_flops`
    joules         that the GPUs drew since the row before, all that happened in between included; null without a
                   GPU that tells
    """

    step: int
    samples: int
    loss: float
    learning_rate: float
    gradient_norm: float
    seconds: float
    tokens_per_second: float
    model_tflops: float
    hardware_tflops: float
    joules: float | None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """One row of evaluation.csv: held-out documents of one language after a step."""

    step: int
    language: str
    documents: int
    tokens: int
    bytes: int
    bits_per_byte: float


class Journal:
    """A CSV file of one kind of row, cut back to what was true after `step` when it is opened.

    A number is written so that reading it gives the same bits. Rows reach the system with each `add`, the
    disk with `sync`; a checkpoint is taken after `sync`, so the rows up to it are always there.
    raises  ValueError where the file has other columns
    """

    def __init__(self, path: Path, kind: type[Step] | type[Evaluation], step: int) -> None:
        names = [field.name for field in dataclasses.fields(kind)]
        header = ",".join(names) + "\n"
        lines = path.read_text("utf-8").splitlines(keepends=True) if path.exists() else []
        if lines and lines[0].endswith("\n") and lines[0] != header:
            raise ValueError(f"{path}: columns are {lines[0].strip()}, expected {header.strip()}; move the file away")
        # the last row may be torn by a kill; later rows than the checkpoint are going to be made again
        kept = [line for line in lines[1:] if line.endswith("\n") and int(line.split(",")[0]) <= step]
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_text(header + "".join(kept), "utf-8")
        temporary.replace(path)
        self.file = path.open("a", encoding="utf-8")
        self.sync()

    def add(self, row: Step | Evaluation) -> None:
        self.file.write(",".join("" if value is None else str(value) for value in dataclasses.astuple(row)) + "\n")
        self.file.flush()

    def sync(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())

    def close(self) -> None:
        self.file.close()


class Records:
    """Both journals of a run and its TensorBoard; in a process that is not the first one, nothing is written."""

    def __init__(self, output: Path, step: int, tensorboard: bool, first: bool) -> None:
        self.output, self.first = output, first
        if first:
            self.log = Journal(output / "log.csv", Step, step)
            self.scores = Journal(output / "evaluation.csv", Evaluation, step)
            self.board = board(output / "tensorboard", step) if tensorboard else None

    def __enter__(self) -> Records:
        return self

    def __exit__(self, *error: object) -> None:
        if self.first:
            self.log.close()
            self.scores.close()
            if self.board is not None:
                self.board.close()

    def steps(self) -> list[dict[str, str]]:
        """The rows of earlier steps, in every process alike."""
        return rows(self.output / "log.csv")

    def step(self, row: Step) -> None:
        if not self.first:
            return
        self.log.add(row)
        if self.board is not None:
            for name in ("loss", "learning_rate", "gradient_norm", "tokens_per_second", "model_tflops"):
                self.board.add_scalar(name, getattr(row, name), row.step)

    def evaluation(self, row: Evaluation) -> None:
        if not self.first:
            return
        self.scores.add(row)
        if self.board is not None:
            self.board.add_scalar(f"bits_per_byte/{row.language}", row.bits_per_byte, row.step)

    def sync(self) -> None:
        if self.first:
            self.log.sync()
            self.scores.sync()


def rows(path: Path) -> list[dict[str, str]]:
    """All rows of a journal by column, as text."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def board(folder: Path, step: int) -> Any:
    """A TensorBoard writer that hides what an earlier attempt wrote after `step`.

    raises  ValueError where TensorBoard is not installed
    """
    try:
        from torch.utils import tensorboard
    except ImportError as error:
        raise ValueError("--tensorboard: not installed; `pip install tensorboard`, or leave the option out") from error
    return tensorboard.SummaryWriter(str(folder), purge_step=step + 1)
