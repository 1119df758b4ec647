"""The commands, in this process: exit codes, messages, output."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import transformers
import typer
from typer import testing

from model import cli

RUNNER = testing.CliRunner()


def run(*arguments) -> testing.Result:
    return RUNNER.invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def trained(tmp_path_factory, shards_folder, tokenizer_folder):
    output = tmp_path_factory.mktemp("trained") / "run"
    line = ["train", "--shards", shards_folder, "--tokenizer", tokenizer_folder, "--output", output]
    line += ["--size", "nano", "--steps", 30, "--sequence", 32, "--checkpoint-every", 10, "--device", "cpu"]
    result = run(*line)
    assert result.exit_code == 0, result.output
    return line, output, result


def test_training_says_where_it_stands(trained):
    _, _, result = trained
    assert "step 30/30  loss " in result.stderr and " TFLOP/s  ETA 0:00:00" in result.stderr
    assert "step 30  bits per byte  en " in result.stderr
    assert result.stdout == ""


def test_the_same_line_again_is_no_fault_and_another_one_is(trained):
    line, _, _ = trained
    assert run(*line).exit_code == 0
    result = run(*line, "--lr", 0.001)
    assert result.exit_code == 2
    assert "--lr is 0.001, the run here has 0.003" in result.stderr


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--size", "mikro", "did you mean 'micro'"),
        ("--shards", "nowhere", "no shards"),
        ("--tokenizer", "nowhere", "no tokenizer here"),
        ("--mix", "nowhere", "nowhere"),
        ("--batch-ramp", "1,2", "--batch-ramp is '1,2'; expected FIRST,INCREMENT,SEQUENCES"),
    ],
)
def test_the_users_fault_exits_2_with_a_message(trained, tmp_path, option, value, message):
    line, _, _ = trained
    result = run(*line, "--output", tmp_path / "run", option, value)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_failed_run_exits_1(trained, tmp_path):
    line, _, _ = trained
    result = run(*line, "--output", tmp_path / "run", "--lr", 1e30, "--warmup", 0)
    assert result.exit_code == 1
    assert "failed: step " in result.stderr


def test_a_batch_ramp_is_read(trained, tmp_path):
    line, _, _ = trained
    line = [*line, "--output", tmp_path / "run", "--batch", 6, "--steps", 4, "--eval-documents", 1]
    assert run(*line, "--batch-ramp", "2,2,20").exit_code == 0
    samples = [row.split(",")[1] for row in (tmp_path / "run/log.csv").read_text().splitlines()[1:]]
    assert samples == ["2", "4", "6", "8"]


def test_evaluation_of_shards_and_of_a_file_is_a_table(trained, shards_folder, tokenizer_folder, tmp_path):
    _, output, _ = trained
    table = run("evaluate", output, "--tokenizer", tokenizer_folder, "--shards", shards_folder, "--sequence", 32)
    lines = [line.split("\t") for line in table.stdout.splitlines()]
    assert lines[0] == ["language", "documents", "tokens", "bytes", "bits_per_byte", "byte_perplexity"]
    assert [line[:2] for line in lines[1:]] == [["en", "2"], ["nigercongo-sw", "2"], ["zhs", "2"]]
    assert all(0 < float(line[4]) < 8 for line in lines[1:])
    (tmp_path / "text.tsv").write_text("zhs\t那年夏天\nen\tThe river\n", "utf-8")
    table = run("evaluate", output, "--tokenizer", tokenizer_folder, "--text", tmp_path / "text.tsv")
    lines = [line.split("\t") for line in table.stdout.splitlines()]
    assert [(line[0], line[1], line[3]) for line in lines[1:]] == [("en", "1", "9"), ("zhs", "1", "12")]


def test_evaluation_of_nothing_is_refused(trained, tokenizer_folder):
    result = run("evaluate", trained[1], "--tokenizer", tokenizer_folder)
    assert result.exit_code == 2
    assert "give either --text FILE or --shards DIR" in result.stderr


def test_a_text_is_continued(trained, tokenizer_folder):
    line = ["generate", trained[1], "--tokenizer", tokenizer_folder, "--prompt", "The river", "--tokens", 8]
    result = run(*line)
    assert result.exit_code == 0 and result.stdout.startswith("The river")
    drawn = [run(*line, "--temperature", 1, "--seed", seed).stdout for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_an_exported_run_is_a_transformers_model_and_loads_again(trained, tokenizer_folder, tmp_path):
    result = run("export", trained[1], "--output", tmp_path / "hub", "--tokenizer", tokenizer_folder)
    assert result.exit_code == 0, result.output
    theirs = transformers.BloomForCausalLM.from_pretrained(tmp_path / "hub")
    assert theirs.config.n_layer == 2
    line = ["--tokenizer", tokenizer_folder, "--prompt", "Mto", "--tokens", 5]
    assert run("generate", tmp_path / "hub", *line).stdout == run("generate", trained[1], *line).stdout


def write_pairs(path, count: int = 12) -> None:
    rows = [{"inputs": f"The number after {n}", "targets": f"is {n + 1}"} for n in range(count)]
    path.write_text("\n".join(map(json.dumps, rows)))


def test_finetuning_tells_the_loss_of_pairs_that_it_held_out(trained, tokenizer_folder, tmp_path):
    write_pairs(tmp_path / "pairs.jsonl")
    line = ["finetune", tmp_path / "pairs.jsonl", "--model", trained[1], "--tokenizer", tokenizer_folder]
    line += ["--output", tmp_path / "run", "--steps", 2, "--batch", 2, "--micro-batch", 1, "--sequence", 64]
    result = run(*line, "--held-out", 0.25)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("held_out\t3\tnats_per_answer_token\t")
    assert "9 pairs in " in result.stderr and "step 2/2  loss " in result.stderr
    assert run("generate", tmp_path / "run", "--tokenizer", tokenizer_folder, "--prompt", "The").exit_code == 0


def test_embedding_tells_retrieval_before_and_after(trained, tokenizer_folder, tmp_path):
    write_pairs(tmp_path / "pairs.jsonl")
    line = ["embed", tmp_path / "pairs.jsonl", "--model", trained[1], "--tokenizer", tokenizer_folder]
    result = run(*line, "--output", tmp_path / "vectors", "--steps", 2, "--batch", 4, "--held-out", 4)
    assert result.exit_code == 0, result.output
    lines = [row.split("\t") for row in result.stdout.splitlines()]
    assert [row[:2] for row in lines] == [["when", "pairs"], ["before", "4"], ["after", "4"]]
    assert run("generate", tmp_path / "vectors", "--tokenizer", tokenizer_folder, "--prompt", "The").exit_code == 0


def test_a_plan_names_what_fits_and_what_does_not():
    result = run("plan", "--size", "3B")
    assert [row.split("\t")[0] for row in result.stdout.splitlines()] == ["card_gb", "80", "141"]
    assert "40: a step of 3,002,557,440 parameters takes " in result.stderr
    assert run("plan", "--size", "3B", "--processes", 8).stdout.count("\n") == 4


def test_tasks_need_their_extra(trained, tokenizer_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "model.harness", None)
    monkeypatch.delattr("model.harness", raising=False)
    result = run("tasks", trained[1], "--tokenizer", tokenizer_folder, "--names", "rivers")
    assert result.exit_code == 2
    assert "tasks: `pip install 'bloom-roots[harness]'` first" in result.stderr


def test_published_figures_are_those_of_the_size(trained, tmp_path):
    """The log line's length: 115,311 iterations; a size of ours has none."""
    from model import cli, config

    assert cli._published("176B", 2048) == (115_311, config.WARMUP_SAMPLES)
    line, _, _ = trained
    result = run(*line, "--output", tmp_path / "run", "--published")
    assert result.exit_code == 2
    assert "--published: 'nano' is our own size; it has no published length" in result.stderr


def test_every_option_has_help():
    for command in typer.main.get_command(cli.app).commands.values():
        assert command.help
        assert [p.name for p in command.params if not getattr(p, "help", None)] == []


def test_the_commands_are_listed_without_torch():
    code = "import sys; from model import cli; assert 'torch' not in sys.modules, 'torch was imported'"
    subprocess.run([sys.executable, "-c", code], check=True)
