from __future__ import annotations

import sys

import pytest

from model import journal

HEADER = "step,samples,loss,learning_rate,gradient_norm,seconds,tokens_per_second,model_tflops,hardware_tflops,joules\n"


def row(step: int, loss: float = 1.5) -> journal.Step:
    return journal.Step(
        step=step,
        samples=8 * step,
        loss=loss,
        learning_rate=1e-4,
        gradient_norm=0.5,
        seconds=0.1,
        tokens_per_second=640.0,
        model_tflops=0.5,
        hardware_tflops=0.75,
        joules=None,
    )


def test_a_row_is_in_the_file_as_soon_as_it_is_added(tmp_path):
    log = journal.Journal(tmp_path / "log.csv", journal.Step, 0)
    log.add(row(1))
    assert (tmp_path / "log.csv").read_text() == HEADER + "1,8,1.5,0.0001,0.5,0.1,640.0,0.5,0.75,\n"
    log.close()


def test_a_number_reads_back_to_the_same_bits(tmp_path):
    log = journal.Journal(tmp_path / "log.csv", journal.Step, 0)
    log.add(row(1, loss=1 / 3))
    log.close()
    assert float((tmp_path / "log.csv").read_text().splitlines()[1].split(",")[2]) == 1 / 3


def test_opening_cuts_rows_that_are_going_to_be_made_again_and_a_torn_one(tmp_path):
    rows = "1,8,1.5,0.0001,0.5,0.1,640.0,0.5,0.75,\n2,16,1.5,0.0001,0.5,0.1,640.0,0.5,0.75,\n"
    (tmp_path / "log.csv").write_text(HEADER + rows + "3,24,1.5,0.0001,0.5,0.1,640.0,0.5,0.75,\n4,32,1.")
    journal.Journal(tmp_path / "log.csv", journal.Step, 2).close()
    assert (tmp_path / "log.csv").read_text() == HEADER + rows


@pytest.mark.parametrize("torn", ["", "step,sam", HEADER[:-1]])
def test_a_file_killed_in_its_header_starts_anew(tmp_path, torn):
    (tmp_path / "log.csv").write_text(torn)
    journal.Journal(tmp_path / "log.csv", journal.Step, 0).close()
    assert (tmp_path / "log.csv").read_text() == HEADER


def test_a_file_with_other_columns_is_refused(tmp_path):
    (tmp_path / "log.csv").write_text("step,perplexity\n1,3\n")
    with pytest.raises(ValueError, match=r"columns are step,perplexity, expected step,samples.*move the file away"):
        journal.Journal(tmp_path / "log.csv", journal.Step, 0)


def test_tensorboard_that_is_not_installed_is_the_users_fault(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match="--tensorboard: not installed"):
        journal.board(tmp_path, 0)
