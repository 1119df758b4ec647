from __future__ import annotations

import pytest

from model import guard


def steady(watch: guard.Guard, loss: float = 2.0, count: int = guard.WINDOW) -> int:
    for step in range(1, count + 1):
        watch.see(step, loss)
    return count


def test_blooms_own_spike_is_waited_for():
    """From 2.2 to 5.1 over 36 steps, and back; chronicles.md."""
    watch = guard.Guard()
    step = steady(watch, 2.2)
    for i in range(36):
        watch.see(step + i, 5.1)
        assert watch.spiking
    watch.see(step + 36, 2.3)
    assert not watch.spiking


def test_a_loss_that_stays_high_ends_the_run():
    watch = guard.Guard(patience=5)
    step = steady(watch)
    for i in range(1, 5):
        watch.see(step + i, 4.0)
    with pytest.raises(guard.LossSpike, match=r"step 69: the loss is 4.000 and has been over 3.000 for 5 steps"):
        watch.see(step + 5, 4.0)


def test_the_course_falls_with_the_loss_and_is_not_raised_by_a_spike():
    watch = guard.Guard(patience=3)
    steady(watch, 5.0)
    steady(watch, 2.0)
    watch.see(0, 3.5)
    assert watch.spiking and set(watch.course) == {2.0}


def test_the_first_steps_may_jump():
    watch = guard.Guard(patience=1)
    for step, loss in enumerate([10.0, 14.0, 9.0, 12.0]):
        watch.see(step, loss)
    assert not watch.spiking
