"""The card of a finished run, by its sections and its figures."""

from __future__ import annotations

import dataclasses
import re

import pytest

from model import card, choices, journal, train

SECTIONS = [
    "Model Details",
    "Uses",
    "Training Data",
    "Risks and Limitations",
    "Evaluation",
    "Recommendations",
    "Glossary and Calculations",
    "More Information",
    "Authors",
]


@pytest.fixture(scope="module")
def run(nano, tmp_path_factory) -> choices.Options:
    options = dataclasses.replace(nano, output=tmp_path_factory.mktemp("card") / "run", steps=4, ramp=(2, 2, 4))
    assert train.train(options, lambda line: None)
    return options


def test_a_card_has_the_sections_of_blooms(run):
    told = (run.output / "README.md").read_text()
    assert re.findall(r"^## (.*)$", told, re.MULTILINE) == SECTIONS
    for part in ("Basics", "Technical Specifications", "Environmental Impact", "Out of scope", "Misuse", "Affected"):
        assert f"**{part}.**" in told


def test_its_figures_are_those_of_the_runs_files(run):
    told = (run.output / "README.md").read_text()
    steps = journal.rows(run.output / "log.csv")
    assert f"{float(steps[0]['loss']):.4f}, {float(steps[-1]['loss']):.4f} nats a token" in told
    assert f"trained on | {int(steps[-1]['samples']) * 16:,} tokens in 4 steps" in told
    assert "batch | 4 sequences, from 2 by 2 over 4" in told
    for row in journal.rows(run.output / "evaluation.csv"):
        assert f"| {row['language']} | 3 | {int(row['bytes']):,} | {float(row['bits_per_byte']):.4f} |" in told
    assert "The energy was not measured" in told
    assert "3 token shards in 3 languages (en, nigercongo-sw, zhs)" in told


def test_the_curve_in_the_card_is_that_of_the_log(run):
    assert "(loss.svg)" in (run.output / "README.md").read_text()
    plot = (run.output / "loss.svg").read_text()
    assert plot == card.loss_curve(journal.rows(run.output / "log.csv"), run.sequence)
    assert ">tokens<" in plot


def test_a_card_counts_what_the_gpus_drew(run, tmp_path):
    """Two steps of 1.8 MJ each are one kWh."""
    steps = journal.rows(run.output / "log.csv")[:2]
    told = card._impact([row | {"joules": "1800000"} for row in steps], run, {"processes": 2, "device": "H200"})
    assert "The GPUs drew 1.0000 kWh" in told
    assert "At 57 g of CO2eq a kWh that is 57.00 g" in told


def test_a_run_without_held_out_documents_says_so(run, tmp_path):
    other = dataclasses.replace(run, output=tmp_path / "run", eval_share=0.0, steps=1, ramp=None)
    train.train(other, lambda line: None)
    assert "No documents were held out." in (other.output / "README.md").read_text()
