from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from pipelines import ingest, readers, recipe, stage

DOCS = [{"text": f"doc {i} été नमस्ते 你好", "meta": {"n": i}} for i in range(10)]
LINES = b"".join(json.dumps(doc, ensure_ascii=False).encode() + b"\n" for doc in DOCS)


def read(path: Path, limit: int = 10_000, target: int = 2**27, **options):
    """(ids, texts, metas, rejects) of a file through the slices that a plan makes of it."""
    chosen = recipe.SourceOptions(**options)
    job = readers.Job("lm_en_x", "en", chosen, limit)
    rejects = stage.Rejects("lm_en_x")
    form = chosen.format or readers.format_of(path.name) or "text"
    docs = [
        row
        for part in ingest.file_slices(path, path.name, form, target)
        for batch in readers.read(job, part, path, rejects)
        for row in batch.to_pylist()
    ]
    return [d["id"] for d in docs], [d["text"] for d in docs], [d["meta"] for d in docs], rejects


def put(tmp_path: Path, name: str, data: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", LINES),
        ("a.jsonl", LINES.removesuffix(b"\n")),
        ("a.jsonl", LINES.replace(b"\n", b"\r\n")),
        ("a.jsonl", b"\xef\xbb\xbf" + LINES),
        ("a.jsonl.gz", gzip.compress(LINES, mtime=0)),
        ("a.jsonl.gz", gzip.compress(LINES[:100], mtime=0) + gzip.compress(LINES[100:], mtime=0)),
        ("a.jsonl.zst", zstandard.compress(LINES)),
        ("a.jsonl.zst", zstandard.compress(LINES[:100]) + zstandard.compress(LINES[100:])),
    ],
    ids=["plain", "no_last_newline", "crlf", "bom", "gz", "gz_members", "zst", "zst_frames"],
)
def test_json_lines_are_read_whole(tmp_path: Path, name: str, data: bytes) -> None:
    ids, texts, metas, rejects = read(put(tmp_path, name, data))
    assert texts == [doc["text"] for doc in DOCS]
    assert ids == [f"lm_en_x/{name}:{i}" for i in range(10)]
    assert [json.loads(meta) for meta in metas] == [doc["meta"] for doc in DOCS]
    assert rejects.counts == {}


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_a_compressed_file_cut_anywhere_is_told_after_the_documents_before_the_cut(tmp_path: Path, name: str) -> None:
    compress = gzip.compress if name.endswith(".gz") else zstandard.compress
    body = b"".join(json.dumps({"text": f"{i} {hash((i, 1)):x}"}).encode() + b"\n" for i in range(2000))
    whole = compress(body)
    for percent in range(100):
        path = put(tmp_path, name, whole[: len(whole) * percent // 100])
        _, texts, _, rejects = read(path)
        assert rejects.counts.get("truncated_file") == 1, percent
        assert [text.split()[0] for text in texts] == [str(i) for i in range(len(texts))]
    _, texts, _, rejects = read(put(tmp_path, name, whole[:-8]))
    assert "truncated_file" in rejects.counts


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"not json", "invalid_json"),
        (b'{"text": ', "invalid_json"),
        (b'{"text": NaN}', "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b"", "blank_line"),
        (b"  ", "blank_line"),
        (b'{"txt": "x"}', "missing_text"),
        (b'{"text": null}', "null_text"),
        (b'{"text": 5}', "text_not_a_string"),
        (b'["text"]', "not_an_object"),
        (b'{"text": "\xff\xfe"}', "invalid_utf8"),
        (b'{"text": "x \\ud800 y"}', "lone_surrogate"),
        (b'{"text": "' + b"x" * 20_000 + b'"}', "record_too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_record_is_rejected_and_its_neighbours_live(tmp_path: Path, line: bytes, reason: str) -> None:
    first, second = LINES.splitlines(keepends=True)[:2]
    limit = 200_000 if line.startswith(b"[[") else 10_000
    ids, texts, _, rejects = read(put(tmp_path, "a.jsonl", first + line + b"\n" + second), limit)
    assert texts == [DOCS[0]["text"], DOCS[1]["text"]]
    assert ids == ["lm_en_x/a.jsonl:0", "lm_en_x/a.jsonl:2"]
    assert rejects.counts == {reason: 1}
    told = json.loads(rejects.lines[0])
    assert (told["record"], told["offset"], told["file"]) == (1, len(first), "a.jsonl")


def test_lines_end_at_newline_only(tmp_path: Path) -> None:
    _, texts, _, _ = read(put(tmp_path, "a.jsonl", json.dumps({"text": "a\u2028b\x85c"}, ensure_ascii=False).encode()))
    assert texts == ["a\u2028b\x85c"]


def test_a_long_integer_in_metadata_keeps_its_digits(tmp_path: Path) -> None:
    _, _, metas, _ = read(put(tmp_path, "a.jsonl", b'{"text": "a", "meta": {"n": 123456789012345678901234567890}}\n'))
    assert json.loads(metas[0]) == {"n": 123456789012345678901234567890}


def test_metadata_that_disagree_stay_one_text_column(tmp_path: Path) -> None:
    lines = (
        b'{"text": "a", "meta": {"k": 1}}\n{"text": "b", "meta": {"k": [1]}}\n{"text": "c", "k": "x"}\n{"text": "d"}\n'
    )
    _, _, metas, _ = read(put(tmp_path, "a.jsonl", lines))
    assert metas == ['{"k":1}', '{"k":[1]}', '{"k":"x"}', "{}"]


def test_columns_are_chosen_by_options(tmp_path: Path) -> None:
    path = put(tmp_path, "a.jsonl", b'{"body": "t", "key": "k1", "url": "u", "other": 1}\n')
    ids, texts, metas, _ = read(path, text="body", id="key", metadata=("url",))
    assert (ids, texts, metas) == (["lm_en_x/k1"], ["t"], ['{"url":"u"}'])


def test_a_large_plain_file_is_cut_between_lines_and_numbered_on(tmp_path: Path) -> None:
    path = put(tmp_path, "a.jsonl", LINES)
    assert len(list(ingest.file_slices(path, "a.jsonl", "jsonl", 100))) > 4
    ids, texts, _, _ = read(path, target=100)
    assert ids == [f"lm_en_x/a.jsonl:{i}" for i in range(10)]
    assert texts == [doc["text"] for doc in DOCS]


@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("a.tsv", "\t")])
def test_tables_are_read_with_quotes_and_line_feeds(tmp_path: Path, name: str, delimiter: str) -> None:
    with (tmp_path / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([["text", "url"], ["a\nb", "u1"], ['q"q', "u2"]])
    _, texts, metas, rejects = read(tmp_path / name)
    assert texts == ["a\nb", 'q"q']
    assert metas == ['{"url":"u1"}', '{"url":"u2"}']
    assert rejects.counts == {}


def test_a_bad_row_of_a_table_is_rejected_alone(tmp_path: Path) -> None:
    data = b"text,url\nfine,u\n\xff\xfe,u\nshort\n\nlast,u\n"
    _, texts, _, rejects = read(put(tmp_path, "a.csv", data))
    assert texts == ["fine", "last"]
    assert rejects.counts == {"invalid_utf8": 1, "wrong_column_count": 1, "blank_line": 1}


def test_a_quote_that_never_closes_is_told(tmp_path: Path) -> None:
    _, texts, _, rejects = read(put(tmp_path, "a.csv", b'text\nfine\n"open\nmore\n'))
    assert texts == ["fine"]
    assert rejects.counts == {"unreadable_file": 1}


def test_parquet_is_read_by_row_groups(tmp_path: Path) -> None:
    table = pa.table({"text": [d["text"] for d in DOCS], "n": list(range(10))})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=3)
    ids, texts, metas, _ = read(tmp_path / "a.parquet")
    assert texts == [doc["text"] for doc in DOCS]
    assert ids[-1] == "lm_en_x/a.parquet:9"
    assert metas[3] == '{"n":3}'


def test_a_parquet_text_that_is_no_utf8_is_rejected_alone(tmp_path: Path) -> None:
    raw = pa.array([b"good", b"\xff\xfe", b"also"], pa.binary())
    text = pa.StringArray.from_buffers(3, raw.buffers()[1], raw.buffers()[2])
    pq.write_table(pa.table({"text": text}), tmp_path / "a.parquet")
    _, texts, _, rejects = read(tmp_path / "a.parquet")
    assert texts == ["good", "also"]
    assert rejects.counts == {"invalid_utf8": 1}


def test_a_file_without_the_text_column_is_told_with_the_columns_it_has(tmp_path: Path) -> None:
    pq.write_table(pa.table({"content": ["a"]}), tmp_path / "a.parquet")
    _, texts, _, rejects = read(tmp_path / "a.parquet")
    assert texts == []
    assert json.loads(rejects.lines[0])["detail"] == "ValueError: no column 'text' among content"


def test_text_files_are_a_document_each_or_a_line_each(tmp_path: Path) -> None:
    path = put(tmp_path, "a.txt", "première ligne\nзweite\n".encode())
    assert read(path)[1] == ["première ligne\nзweite\n"]
    assert read(path, format="lines")[1] == ["première ligne", "зweite"]
    assert read(put(tmp_path, "b.txt", b"\xff"))[3].counts == {"invalid_utf8": 1}


def test_a_hundred_megabyte_line_is_skipped_without_being_held(tmp_path: Path) -> None:
    import tracemalloc

    with (tmp_path / "a.jsonl").open("wb") as file:
        file.write(b'{"text": "a"}\n{"text": "')
        for _ in range(100):
            file.write(b"x" * 2**20)
        file.write(b'"}\n{"text": "b"}\n')
    tracemalloc.start()
    _, texts, _, rejects = read(tmp_path / "a.jsonl", limit=1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert texts == ["a", "b"]
    assert rejects.counts == {"record_too_large": 1}
    assert peak < 16 * 2**20


def test_the_interpreters_own_topics_are_a_source() -> None:
    job = readers.Job("lm_en_pydoc", "en", recipe.SourceOptions(format="pydoc"), 10**6)
    part = stage.Slice(path="", label="topics.py", sha256="", start=0, end=-1)
    batches = list(readers.read(job, part, Path(), stage.Rejects("lm_en_pydoc")))
    assert sum(batch.num_rows for batch in batches) > 50
    assert batches[0]["id"][0].as_py().startswith("lm_en_pydoc/")


@pytest.mark.parametrize("row", range(9), ids=lambda n: f"row{n}")
def test_each_constructed_malformed_file_ends_as_expected(shared: Path, row: int) -> None:
    folder = shared / "cases" / "malformed"
    with (folder / "EXPECTED.tsv").open(encoding="utf-8", newline="") as file:
        expected = [r for r in csv.DictReader(file, delimiter="\t") if r["origin"] == "constructed"][row]
    _, texts, _, rejects = read(folder / expected["file"], limit=10**6)
    if expected["file"] == "truncated.jsonl.gz":  # 0 or more documents before the error
        assert rejects.counts == {"truncated_file": 1}
    else:
        assert len(texts) == int(expected["recoverable_documents"])


def test_the_real_malformed_files_end_as_documented(shared: Path) -> None:
    folder = shared / "cases" / "malformed" / "real"
    assert read(folder / "002_windows-1250.html", format="text")[3].counts == {"invalid_utf8": 1}
    with_nul = read(folder / "003_switch-user-token-4.4.txt")[1]
    assert len(with_nul) == 1
    assert "\0" in with_nul[0]  # NUL is a character like any other: kept
    assert not read(folder / "004_django.po", format="text")[1][0].startswith("\ufeff")


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ("{'title': \"L'été\", 'n': None, 'tags': ('a', 1.5)}", {"title": "L'été", "n": None, "tags": ["a", 1.5]}),
        ('{"title": "json", "n": null}', {"title": "json", "n": None}),
        ("{1: 2}", {"1": 2}),
        ("{'a', 'b'}", {"meta": "{'a', 'b'}"}),
        ("{'a': open('x')}", {"meta": "{'a': open('x')}"}),
        ("{'a': ", {"meta": "{'a': "}),
        ("no object", {"meta": "no object"}),
        ("", {"meta": ""}),
        (None, {"meta": None}),
        ("{" * 3000, {"meta": "{" * 3000}),
        ("{'a': " + "-" * 100_000 + "1}", {"meta": "{'a': " + "-" * 100_000 + "1}"}),
        ("{'a': " + "(" * 5000 + ")}", {"meta": "{'a': " + "(" * 5000 + ")}"}),
        (["a"], {"meta": ["a"]}),
    ],
    ids=lambda value: str(value)[:20],
)
def test_metadata_are_an_object_also_as_the_text_of_one_and_what_is_none_stays(
    tmp_path: Path, meta: object, expected: dict
) -> None:
    data = json.dumps({"text": "a", "meta": meta}).encode()
    _, texts, metas, rejects = read(put(tmp_path, "a.jsonl", data), limit=10**6)
    assert (texts, [json.loads(found) for found in metas], rejects.counts) == (["a"], [expected], {})
