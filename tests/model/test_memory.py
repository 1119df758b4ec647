"""The plan against what the cards measured (benchmarks/LOG.md, 2026-11-28, two H200, GiB of `max_memory_allocated`)."""

from __future__ import annotations

import pytest

from model import config, memory


@pytest.mark.parametrize(
    ("size", "micro", "recompute", "processes", "way", "gathered", "measured"),
    [
        ("560M", 32, 0, 1, "none", False, 63.0),
        ("1.7B", 8, 0, 1, "none", False, 59.1),
        ("1.7B", 16, 0, 1, "none", False, 83.4),
        ("3B", 8, 0, 1, "none", False, 94.8),
        ("7.1B", 4, 23, 1, "none", False, 126.3),
        ("1.7B", 8, 0, 2, "ddp", False, 65.5),
        ("1.7B", 8, 0, 2, "fsdp", False, 47.3),
        ("1.7B", 8, 0, 2, "fsdp", True, 49.5),
        ("1.7B", 16, 0, 2, "fsdp", True, 73.8),
    ],
)
def test_computed_bytes_are_those_of_the_card(size, micro, recompute, processes, way, gathered, measured):
    computed = memory.step_bytes(config.SIZES[size], micro, 2048, recompute, processes, way, gathered)
    assert computed / memory.GIB == pytest.approx(measured, rel=0.015)


@pytest.mark.parametrize("size", ["560M", "1.1B", "1.7B", "3B", "7.1B"])
@pytest.mark.parametrize("gib", memory.CARDS.values())
def test_a_plan_fits_its_card_and_a_larger_one_would_not(size, gib):
    shape = config.SIZES[size]
    try:
        found = memory.plan(shape, gib, 32, 2048)
    except ValueError:
        assert memory.step_bytes(shape, 1, 2048, shape.layers) > gib * memory.GIB * memory.SHARE
        return
    assert found.bytes == memory.step_bytes(shape, found.micro, 2048, found.recompute)
    assert found.bytes <= gib * memory.GIB * memory.SHARE
    if found.recompute:
        assert memory.step_bytes(shape, found.micro, 2048, found.recompute - 1) > gib * memory.GIB * memory.SHARE
    elif found.micro < 32:
        assert memory.step_bytes(shape, 2 * found.micro, 2048, 0) > gib * memory.GIB * memory.SHARE


def test_7b_trains_on_one_card_of_141_gb_and_not_on_one_of_80():
    shape = config.SIZES["7.1B"]
    assert memory.plan(shape, memory.CARDS["141"], 32, 2048).micro >= 1
    with pytest.raises(ValueError, match=r"a step of 7,069,016,064 parameters takes .* spread it with --parallel fsdp"):
        memory.plan(shape, memory.CARDS["80"], 32, 2048)


def test_sharing_states_takes_less_and_copies_of_all_take_more():
    shape = config.SIZES["1.7B"]
    one, shared, copied = (
        memory.step_bytes(shape, 8, 2048, 0, processes, way)
        for processes, way in ((1, "none"), (8, "fsdp"), (8, "ddp"))
    )
    assert shared < one < copied


def test_gathered_weights_are_kept_where_they_fit():
    assert memory.plan(config.SIZES["3B"], memory.CARDS["80"], 32, 2048, 2, "fsdp").gathered
    assert not memory.plan(config.SIZES["7.1B"], memory.CARDS["80"], 32, 2048, 4, "fsdp").gathered


def test_whole_states_are_preferred_where_they_fit():
    assert memory.way(config.SIZES["560M"], memory.CARDS["80"], 32, 2048) == "ddp"
    assert memory.way(config.SIZES["3B"], memory.CARDS["80"], 32, 2048) == "fsdp"
