"""The command line: every command helps, stands in the README, and tells faults in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from pipelines import cli

README = Path(__file__).parents[2] / "README.md"


def commands() -> dict[str, typer.main.TyperCommand]:
    """`roots a b` -> command, for all of them."""
    found = {}
    waiting = [("roots", typer.main.get_command(cli.app))]
    while waiting:
        name, command = waiting.pop()
        children = getattr(command, "commands", None)
        if children is None:
            found[name] = command
        else:
            waiting += [(f"{name} {child}", under) for child, under in children.items()]
    return found


@pytest.mark.parametrize("name", sorted(commands()))
def test_a_command_has_help_for_itself_and_each_of_its_options(name: str) -> None:
    command = commands()[name]
    assert command.help
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name}: {parameter.name}"


@pytest.mark.parametrize("name", sorted(commands()))
def test_a_command_stands_in_the_readme(name: str) -> None:
    assert name in README.read_text(encoding="utf-8")


def roots(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def documents(path: Path) -> Path:
    text = " ".join(f"word{i}" for i in range(60))
    rows = [
        {"id": "a", "text": text + " mail me: someone@example.org"},
        {"id": "b", "text": text + " mail me: someone@example.org"},
        {"id": "c", "text": text.replace("word30", "other") + " mail me: someone@example.org"},
        {"id": "d", "text": "quite another text of a few words, which nobody has written before it"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_dedup_of_plain_files_writes_the_duplicates_with_their_witness(tmp_path: Path) -> None:
    code, out, _ = roots("dedup", str(documents(tmp_path / "a.jsonl")), "--output", str(tmp_path / "out"))
    assert code == 0
    assert "2 duplicates of 4 documents" in out
    rows = pq.read_table(tmp_path / "out" / "duplicates.parquet").to_pylist()
    assert [(r["id"], r["kept_id"], r["witness_id"], r["kind"]) for r in rows] == [
        ("b", "a", "a", "exact"),
        ("c", "a", "a", "near"),
    ]
    assert rows[0]["similarity"] == 1.0
    assert 0.8 <= rows[1]["similarity"] < 1.0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["duplicates.parquet"]


def test_pii_of_plain_files_writes_documents_and_spans_in_code_points(tmp_path: Path) -> None:
    rows = [{"id": "x", "text": "écrire à quelqu.un@example.org vite"}, {"id": "y", "text": "quelqu.un@example.org"}]
    lines, table = tmp_path / "a.jsonl", tmp_path / "b.parquet"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), table)
    for file in (lines, table):
        code, out, _ = roots("pii", str(file), "--output", str(tmp_path / file.stem))
        assert code == 0
        assert "2 spans (EMAIL 2) in 2 documents" in out
        spans = pq.read_table(tmp_path / file.stem / "spans.parquet").to_pylist()
        assert [(s["id"], s["start"], s["end"], s["type"]) for s in spans] == [
            ("x", 9, 30, "EMAIL"),
            ("y", 0, 21, "EMAIL"),
        ]
        assert spans[0]["digest"] == spans[1]["digest"]
        documents = pq.read_table(tmp_path / file.stem / "documents.parquet").to_pylist()
        assert [document["text"] for document in documents] == ["écrire à PI:EMAIL vite", "PI:EMAIL"]


def test_pii_keys_its_digests_with_the_users_key_or_one_that_stays_with_the_output(tmp_path: Path) -> None:
    file, key = tmp_path / "a.jsonl", tmp_path / "my.key"
    file.write_text(json.dumps({"id": "x", "text": "to a@b.org"}) + "\n", encoding="utf-8")
    key.write_bytes(b"sixteen bytes are the least")

    def digest(output: str, *options: str) -> str:
        code, _, _ = roots("pii", str(file), "--output", str(tmp_path / output), *options)
        assert code == 0
        return pq.read_table(tmp_path / output / "spans.parquet")["digest"][0].as_py()

    assert digest("one") == digest("one") != digest("two")
    assert (tmp_path / "one" / "redact.key").stat().st_mode & 0o077 == 0
    assert digest("three", "--key-file", str(key)) == digest("four", "--key-file", str(key))
    assert not (tmp_path / "three" / "redact.key").exists()


def test_langid_of_plain_files_writes_a_code_for_each_document(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    lines = [
        {"id": "1", "text": "Le marché ouvre à huit heures et les gens du village y viennent à pied."},
        {"id": "2", "text": "আজ সকালে নদীর ধারে অনেক মানুষ জড়ো হয়েছিল।"},
    ]
    file.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    code, _, _ = roots("langid", "predict", str(file), "--output", str(tmp_path / "out.tsv"))
    assert code == 0
    rows = [line.split("\t")[:2] for line in (tmp_path / "out.tsv").read_text().splitlines()]
    assert rows == [["id", "language"], ["1", "fr"], ["2", "bn"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dedup", "nowhere.jsonl", "--output", "x"], "roots: nowhere.jsonl: no such file"),
        (["verify", "nowhere"], "roots: nowhere: no run here"),
        (["run", "nowhere.toml", "--output", "x"], "roots: nowhere.toml: no such recipe"),
        (
            ["run", "sample.toml", "--output", "x", "--until", "end"],
            "roots: --until end: no such stage; the stages are",
        ),
        (["sources", "show", "roots_en_wikiqoute"], "roots_en_wikiquote"),
        (
            ["langid", "predict", str(README), "--output", "x.csv"],
            "expected a name that ends in .parquet or .tsv",
        ),
        (["langid", "evaluate", str(README), "--model", str(README)], "give --sha256 too"),
        (["shards", "verify", "nowhere", "--vocab-size", "300"], "nowhere.idx: not found"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_the_users_fault_is_one_line_and_exit_2(arguments: list[str], message: str) -> None:
    code, _, err = roots(*arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_sources_are_listed_by_language_kind_and_licence() -> None:
    code, out, _ = roots("sources", "list", "--language", "sw")
    assert code == 0
    assert out.splitlines()[-1] == "1 of 498 sources"
    assert roots("sources", "list", "--kind", "oscar")[1].splitlines()[-1] == "13 of 498 sources"
    assert roots("sources", "list")[1].splitlines()[-1] == "498 of 498 sources"


def test_the_steps_say_which_are_implemented() -> None:
    lines = roots("sources", "steps")[1].splitlines()
    assert any(
        line.startswith("dedup_document ") and "479 sources" in line and " implemented" in line for line in lines
    )
    assert any(line.startswith("simhash_near_dedup ") and "in stage dedup" in line for line in lines)
    assert lines[-1] == "41 steps, 0 missing"


def test_help_is_quick_to_load() -> None:
    heavy = "('apache_beam', 'torch', 'pyarrow')"
    code = f"import sys; from pipelines import cli; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_a_failed_stage_is_exit_1_and_names_the_remedy(tmp_path: Path) -> None:
    source = tmp_path / "sources" / "lm_en_x"
    source.mkdir(parents=True)
    (source / "a.jsonl.gz").write_bytes(b"\x1f\x8b")
    command = [
        sys.executable,
        "-m",
        "pipelines",
        "run",
        "folder.toml",
        "--set",
        f"sources.folder={source.parent}",
    ]
    done = subprocess.run([*command, "--output", str(tmp_path / "out")], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "1 damaged files ({'truncated_file': 1}), ingest.damaged_files_max is 0" in done.stderr
    assert "Traceback" not in done.stderr
