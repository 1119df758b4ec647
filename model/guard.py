"""Stops a run whose loss has left its course, before what it learnt is overwritten.

BLOOM's one large spike (iterations 31,214 to 31,250, from 2.2 to 5.1) came back by itself within about 30 steps:
so a spike is waited for, no checkpoint is made meanwhile, and only one that lasts ends the run.
source  bigscience train/tr11-176B-ml/chronicles.md
"""

from __future__ import annotations

import math
import statistics
from collections import deque

WINDOW = 64  # steps whose median is the course
RISE = 1.0  # nats above the course that make a spike
PATIENCE = 50  # steps in a spike; BLOOM's took 36


class LossSpike(FloatingPointError):
    """The loss stayed high; the last checkpoint is from before."""


class Guard:
    """Sees every loss in order; the same losses lead to the same state, so a resumed run reads its log."""

    def __init__(self, patience: int = PATIENCE) -> None:
        self.patience, self.course, self.above = patience, deque[float](maxlen=WINDOW), 0

    @property
    def spiking(self) -> bool:
        return self.above > 0

    def see(self, step: int, loss: float) -> None:
        """Raises LossSpike at the last step of the patience."""
        usual = statistics.median(self.course) if len(self.course) == WINDOW else math.inf
        if loss <= usual + RISE:
            self.above = 0
            self.course.append(loss)
            return
        self.above += 1
        if self.above >= self.patience:
            raise LossSpike(
                f"step {step}: the loss is {loss:.3f} and has been over {usual + RISE:.3f} for {self.above} steps; the "
                "last checkpoint is from before. Go on with a lower --lr, or with other data, in another --output"
            )
