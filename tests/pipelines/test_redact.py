"""The corpus holds no personal data that was found, and beside it stands what was replaced where, under a key."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines import recipe, run, runner, stage

KEY = b"a key of some sixteen bytes and more"
VALUES = [
    "ruth@example.org",
    "+49 30 901820",
    "4111 1111 1111 1111",
    "@ruth_k",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
]
RECIPE = """
base = "base.toml"
name = "test"
[language]
model = ""
sha256 = ""
[quality]
sources = []
[sources]
folder = "sources"
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Two documents with personal data, one of them twice."""
    pick = random.Random(1)
    words = [f"word{i}" for i in range(300)]
    filler = [" ".join(pick.sample(words, 60)) for _ in range(3)]
    texts = [
        f"{filler[0]} écrire à {VALUES[0]} ou {VALUES[1]}",
        f"{filler[1]} card {VALUES[2]} of {VALUES[3]}, {VALUES[0]}, token {VALUES[4]}",
        f"{filler[1]} card {VALUES[2]} of {VALUES[3]}, {VALUES[0]}, token {VALUES[4]}",
    ]
    (tmp_path / "sources" / "lm_fr_web").mkdir(parents=True)
    lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    (tmp_path / "sources" / "lm_fr_web" / "part-00000.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "test.toml").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "secret.key").write_bytes(KEY)
    return tmp_path


def redacted(place: Path, output: str, *overrides: str) -> stage.Context:
    context = stage.Context(place / output, recipe.load(place / "test.toml", list(overrides)))
    run.run(context, "redact", runner.Engine(), lambda progress: None)
    return context


def corpus(context: stage.Context, ending: str) -> list[dict]:
    (file,) = context.folder("corpus").rglob(f"*{ending}")
    return pq.read_table(file).to_pylist()


def test_the_spans_of_a_run_say_where_what_stood_under_a_keyed_digest(place: Path) -> None:
    context = redacted(place, "out", f"redact.key_file={place / 'secret.key'}")
    documents = {row["id"]: row for row in corpus(context, ".parquet")}
    spans = corpus(context, ".spans")
    assert [(row["type"], documents[row["id"]]["pii_count"]) for row in spans] == [
        ("EMAIL", 2),
        ("PHONE", 2),
        ("CREDIT_CARD", 4),
        ("USER", 4),
        ("EMAIL", 4),
        ("KEY", 4),
    ]
    mail = hashlib.blake2b(VALUES[0].encode(), key=KEY, person=b"EMAIL", digest_size=16).hexdigest()
    assert [row["digest"] for row in spans if row["type"] == "EMAIL"] == [mail, mail]
    sources = (place / "sources/lm_fr_web/part-00000.jsonl").read_text("utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in sources]
    assert {texts[int(row["id"].rpartition(":")[2])][row["start"] : row["end"]] for row in spans} == set(VALUES)


def test_no_file_of_the_corpus_holds_a_value_or_the_key(place: Path) -> None:
    context = redacted(place, "out", f"redact.key_file={place / 'secret.key'}")
    (removed,) = context.folder("corpus").rglob("*.removed.jsonl")
    assert "card PI:CREDIT_CARD of PI:USER" in removed.read_text("utf-8")
    for file in [p for p in context.folder("corpus").rglob("*") if p.is_file()] + [context.output / "recipe.toml"]:
        held = file.read_bytes()
        if file.suffix in (".parquet", ".spans"):
            held = json.dumps(pq.read_table(file).to_pylist(), ensure_ascii=False, default=str).encode()
        assert not [value for value in [*VALUES, KEY.decode()] if value.encode() in held], file


def test_without_a_key_there_are_no_digests_and_another_key_is_another_run(place: Path) -> None:
    context = redacted(place, "out")
    assert {row["digest"] for row in corpus(context, ".spans")} == {None}
    override = f"redact.key_file={place / 'secret.key'}"
    context = redacted(place, "out", override)
    first = [row["digest"] for row in corpus(context, ".spans")]
    (place / "secret.key").write_bytes(KEY[::-1])
    second = [row["digest"] for row in corpus(redacted(place, "out", override), ".spans")]
    assert None not in first
    assert not set(first) & set(second)


def test_pseudonyms_are_one_for_one_value(place: Path) -> None:
    context = redacted(place, "out", f"redact.key_file={place / 'secret.key'}", "redact.pseudonyms=true")
    texts = " ".join(row["text"] for row in corpus(context, ".parquet"))
    mails = [word.rstrip(",") for word in texts.split() if word.startswith("PI:EMAIL:")]
    assert len(mails) == 2
    assert len(set(mails)) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, r"redact\.key_file .*: no such file; write 16 to 64 random bytes"), (b"short", r"5 bytes; write 16 to 64")],
)
def test_a_key_that_cannot_be_one_is_refused(place: Path, content: bytes | None, message: str) -> None:
    file = place / "other.key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        redacted(place, "out", f"redact.key_file={file}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("redact.pseudonyms=true", "redact.pseudonyms: must be false where redact.key_file is empty"),
        ('redact.tags=["NAME"]', "redact.tags: must be of CREDENTIALS, EMAIL"),
        ('redact.code_tags=["NAME"]', "redact.code_tags: must be of CREDENTIALS, EMAIL"),
        ("redact.preset=strict", "redact.preset: must be one of roots-original, default"),
    ],
)
def test_a_setting_that_means_nothing_is_refused(place: Path, override: str, message: str) -> None:
    with pytest.raises(recipe.RecipeError, match=message):
        recipe.load(place / "test.toml", [override])
