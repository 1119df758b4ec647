from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from model import choices

FIRST = {
    "shards": Path("shards"),
    "tokenizer": Path("tokenizer"),
    "output": Path("run"),
    "mix": None,
    "size": "nano",
    "steps": 100,
    "batch": 8,
    "micro": 0,
    "ramp": None,
    "sequence": 16,
    "rate": 1e-3,
    "rate_min": 1e-4,
    "warmup": 80,
    "eval_share": 0.05,
    "eval_every": 0,
    "eval_documents": 64,
    "checkpoint_every": 10,
    "keep": 3,
    "seed": 42,
    "device": "cpu",
    "threads": 0,
    "tensorboard": False,
}


DATA = {"tokenizer": "1", "en/a.bin": "2"}


@pytest.fixture
def options(tmp_path) -> choices.Options:
    return choices.Options(**{**FIRST, "output": tmp_path})


def test_the_samples_of_a_run_are_those_of_its_steps(options):
    assert options.samples == 800
    assert dataclasses.replace(options, ramp=(2, 2, 90)).samples == 15 * 2 + 8 * 4 + 5 * 6 + 72 * 8


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": 0}, "--steps is 0; expected at least 1"),
        ({"checkpoint_every": 0}, "--checkpoint-every is 0; expected at least 1"),
        ({"micro": -1}, "--micro-batch is -1; expected at least 0"),
        ({"eval_share": 1.0}, "--eval-share is 1.0; expected a share"),
        ({"rate_min": 0.1}, r"--lr-min is 0.1; expected 0 to --lr \(0.001\)"),
        ({"warmup": 801}, "--warmup is 801 sequences, the whole run has 800"),
        ({"device": "tpu"}, "--device is 'tpu'; expected auto, cpu or cuda"),
        ({"ramp": (3, 4, 10)}, "batch ramp: 3 plus steps of 4 does not reach 8"),
    ],
)
def test_a_value_out_of_range_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        choices.Options(**FIRST | changed)


def test_the_same_options_agree_also_from_other_places(options, tmp_path):
    choices.agree(options, DATA)
    choices.agree(dataclasses.replace(options, shards=Path("elsewhere"), keep=1, ramp=None), DATA)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rate": 2e-3}, "--lr is 0.002, the run here has 0.001; repeat its options"),
        ({"steps": 101}, "--steps is 101, the run here has 100"),
        ({"ramp": (2, 2, 90)}, r"--batch-ramp is \[2, 2, 90\], the run here has None"),
        ({"eval_share": 0.1}, "--eval-share is 0.1, the run here has 0.05"),
    ],
)
def test_another_option_is_refused_by_its_name(options, changed, message):
    choices.agree(options, DATA)
    with pytest.raises(ValueError, match=message):
        choices.agree(dataclasses.replace(options, **changed), DATA | {"tokenizer": "x"})


@pytest.mark.parametrize(
    "changed", [{"micro": 2}, {"parallel": "fsdp"}, {"recompute": 1}, {"attention": "sdpa"}, {"loss": "plain"}]
)
def test_another_machine_may_go_on(options, changed):
    choices.agree(options, DATA)
    choices.agree(dataclasses.replace(options, **changed), DATA)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"en/a.bin": "3"}, r"en/a.bin is 3 \(sha256\), the run here has 2; bring back the data"),
        ({"sw/b.bin": "4"}, r"sw/b.bin is 4 \(sha256\), the run here has None"),
    ],
)
def test_other_data_are_refused_by_the_name_of_the_file(options, changed, message):
    choices.agree(options, DATA)
    with pytest.raises(ValueError, match=message):
        choices.agree(options, DATA | changed)
