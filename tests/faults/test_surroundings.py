"""Odd paths, locale, clock, links, places that cannot be written, a network that lies: the same bytes, or a message."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from pipelines import readers, recipe, sources, stage, storage

Roots = Callable[..., Any]


def test_an_odd_path_locale_clock_and_umask_change_no_byte(
    small_recipe: Path, tmp_path: Path, roots: Roots, looks: tuple
) -> None:
    odd = tmp_path / "wo'rk 日本 #%?&" / "out"
    odd.parent.mkdir()
    surroundings = {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "TZ": "Asia/Kathmandu",
        "PYTHONHASHSEED": "3",
        "COLUMNS": "20",
    }
    call = [sys.executable, "-m", "pipelines", "run", str(small_recipe), "--until", "clean", "--output", "out"]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, **surroundings, "PYTHONPATH": root}
    done = subprocess.run(call, cwd=odd.parent, env=environment, umask=0o077, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert roots("run", small_recipe, "--until", "clean", "--output", tmp_path / "plain").code == 0
    assert looks[0](odd) == looks[0](tmp_path / "plain")
    assert {file.stat().st_mode & 0o777 for file in odd.rglob("*.parquet")} == {0o600}


def test_links_that_lead_in_a_circle_are_not_followed(
    small: Path, small_recipe: Path, tmp_path: Path, roots: Roots, looks: tuple
) -> None:
    copy = shutil.copytree(small, tmp_path / "copy")
    arguments = ["run", small_recipe, "--until", "ingest", "--set", f"sources.folder={copy}", "--output"]
    assert roots(*arguments, tmp_path / "without").code == 0
    (copy / "lm_nigercongo-sw_news" / "again").symlink_to(copy)
    (copy / "lm_nigercongo-sw_news" / "nowhere.jsonl").symlink_to(tmp_path / "gone")
    assert roots(*arguments, tmp_path / "with").code == 0
    assert looks[0](tmp_path / "with") == looks[0](tmp_path / "without")


@pytest.mark.parametrize("place", ["a file", "/proc/roots/out", "/sys/roots"])
def test_a_place_that_cannot_be_written_is_the_users_fault(
    place: str, small_recipe: Path, tmp_path: Path, roots: Roots
) -> None:
    (tmp_path / "a file").touch()
    output = tmp_path / place  # an absolute place stays what it is
    ended = roots("run", small_recipe, "--output", output)
    assert ended.code == 2
    assert ended.stderr.startswith("roots: ")
    assert str(output.parent if place.startswith("/proc") else output) in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_file_that_shrinks_after_it_was_planned_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"text": "one"}\n{"text": "two"}\n')
    part = stage.Slice(path=str(file), label="a.jsonl", sha256="", start=0, end=32)
    file.write_bytes(b'{"text": "one"}\n')
    rejects = stage.Rejects("lm_en_x")
    job = readers.Job("lm_en_x", "en", recipe.SourceOptions(), 1_000)
    batches = list(readers.read(job, part, file, rejects))
    assert [batch.column("text").to_pylist() for batch in batches] == [["one"]]
    assert rejects.counts == {"truncated_file": 1}
    assert "ends at byte 16; it had 32 when the work was planned" in rejects.lines[0].decode()


def packed(kind: str, folder: Path) -> bytes:
    lines = b"".join(b'{"text": "document %d"}\n' % number for number in range(3_000))
    if kind == "gz":
        return gzip.compress(lines)
    if kind == "zst":
        return zstandard.ZstdCompressor(write_checksum=True).compress(lines)
    table = pa.table({"text": [f"document {number}" for number in range(3_000)]})
    pq.write_table(table, folder / "whole.parquet", row_group_size=1_000)
    return (folder / "whole.parquet").read_bytes()


@pytest.mark.parametrize("kind", ["gz", "zst", "parquet"])
def test_a_file_cut_at_any_hundredth_or_in_its_last_bytes_is_damaged(kind: str, tmp_path: Path) -> None:
    whole = packed(kind, tmp_path)
    name = "cut.parquet" if kind == "parquet" else f"cut.jsonl.{kind}"
    job = readers.Job("lm_en_x", "en", recipe.SourceOptions(), 1_000)
    cuts = sorted({len(whole) * share // 100 for share in range(100)} | {len(whole) - left for left in range(1, 9)})
    for cut in cuts:
        (tmp_path / name).write_bytes(whole[:cut])
        rejects = stage.Rejects("lm_en_x")
        part = stage.Slice(path=str(tmp_path / name), label=name, sha256="", start=0, end=-1)
        read = sum(batch.num_rows for batch in readers.read(job, part, tmp_path / name, rejects))
        assert read <= 3_000
        assert sum(rejects.counts.get(reason, 0) for reason in readers.DAMAGE) == 1, (kind, cut)


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_a_file_that_unpacks_to_a_thousand_times_its_size_is_not_held(kind: str, tmp_path: Path) -> None:
    """A line of 2 GB from less than 3 MB: one reject, and a memory that stays below 300 MB."""
    file = tmp_path / f"bomb.jsonl.{kind}"
    block = bytes(2**20)
    if kind == "gz":
        with gzip.open(file, "wb", compresslevel=1) as packing:
            for _ in range(500):
                packing.write(block)
    else:
        with zstandard.ZstdCompressor().stream_writer(file.open("wb")) as packing:
            for _ in range(2_000):
                packing.write(block)
    program = (
        "import resource, sys; from pathlib import Path; from pipelines import readers, recipe, stage\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "path = Path(sys.argv[1]); rejects = stage.Rejects('x')\n"
        "job = readers.Job('x', 'en', recipe.SourceOptions(), 1_000_000)\n"
        "part = stage.Slice(path=str(path), label=path.name, sha256='', start=0, end=-1)\n"
        "print(sum(b.num_rows for b in readers.read(job, part, path, rejects)), rejects.counts)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=True)
    told, grown = done.stdout.splitlines()
    assert told == "0 {'record_too_large': 1}"
    assert int(grown) < 300_000  # KB


@pytest.mark.parametrize("name", ["../lm_en_x", "lm_en/../../x", ".hidden", "a\\b"])
def test_a_sources_name_cannot_lead_out_of_the_output_folder(name: str, small_recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n')
    plan = recipe.load(small_recipe)
    options = {name: recipe.SourceOptions(language="en", path=str(tmp_path / "a.jsonl"))}
    wanted = recipe.Sources(extra=(name,), options=options)
    with pytest.raises(ValueError, match="its name becomes a folder of the output; it may hold no slash"):
        sources.resolve(dataclasses.replace(plan, sources=wanted))


def test_what_documents_say_of_paths_is_text(small_recipe: Path, tmp_path: Path, roots: Roots) -> None:
    folder = tmp_path / "in" / "lm_en_x"
    folder.mkdir(parents=True)
    hostile = {"text": "words enough " * 20, "id": "../../../../escaped", "source": "/etc/x", "path": "../x"}
    (folder / "a.jsonl").write_text(json.dumps(hostile) + "\n")
    ended = roots(
        "run", small_recipe, "--until", "redact", "--output", tmp_path / "out",
        "--set", f"sources.folder={tmp_path / 'in'}", "--set", 'sources.options."lm_en_x".id=id',
    )  # fmt: skip
    assert ended.code == 0, ended.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_keys_of_a_store_are_in_no_message_and_no_file(s3: str, small_recipe: Path, tmp_path: Path) -> None:
    secret = "SECRET-5f1d7c"
    call = [sys.executable, "-m", "pipelines", "run", str(small_recipe), "--until", "ingest", "--output"]
    environment = {**os.environ, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": secret}
    failed = subprocess.run([*call, "s3://no-such-bucket/out"], env=environment, capture_output=True, text=True)
    assert failed.returncode == 2
    assert "s3://no-such-bucket/out" in failed.stderr
    done = subprocess.run([*call, f"{s3}/secret"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for text in (failed.stdout, failed.stderr, done.stdout, done.stderr):
        assert secret not in text
    assert not [file for file in storage.files(storage.at(f"{s3}/secret")) if secret.encode() in file.read_bytes()]


class Liar(BaseHTTPRequestHandler):
    """A store that gives half of what is asked, or is busy at first, or breaks off."""

    busy = 0
    content = bytes(range(256)) * 40

    def log_message(self, *given: Any) -> None:
        pass

    def do_GET(self) -> None:
        kind = unquote(self.path).partition("/o/")[2].partition("?")[0]
        if "alt=media" not in self.path:
            self._answer(200, json.dumps({"name": kind, "bucket": "b", "size": str(len(self.content))}).encode())
        elif kind == "busy" and Liar.busy < 2:
            Liar.busy += 1
            self._answer(503, b"later")
        elif kind == "cut":
            self._answer(206, self.content[:100], promised=len(self.content))
        else:
            first, _, last = self.headers["range"].removeprefix("bytes=").partition("-")
            data = self.content[int(first) : int(last) + 1]
            self._answer(206, data[:100] if kind == "half" else data)

    def _answer(self, status: int, data: bytes, promised: int = 0) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(promised or len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = True


@pytest.fixture
def liar() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize(
    ("name", "fault"),
    [("busy", ""), ("half", "asked for 10240 bytes from 0, got 100; run the same command again")],
)
def test_a_short_reply_is_no_end_and_a_busy_store_is_asked_again(name: str, fault: str, liar: str) -> None:
    pytest.importorskip("gcsfs")
    program = f"from pipelines import storage; print(len(storage.at('gs://b/{name}').open().read()))"
    environment = {**os.environ, "STORAGE_EMULATOR_HOST": liar, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
    environment["FSSPEC_GS"] = '{"token": "anon"}'
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert time.monotonic() - started < 100
    if fault:
        assert fault in done.stderr
    else:
        assert done.stdout == "10240\n", done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cut", "down"])
def test_a_network_that_is_down_ends_in_a_message_not_in_a_short_file(name: str, liar: str) -> None:
    """The driver tries for a minute before it gives up."""
    pytest.importorskip("gcsfs")
    program = f"from pipelines import storage; print(len(storage.at('gs://b/{name}').open().read()))"
    host = "http://127.0.0.1:9" if name == "down" else liar
    environment = {**os.environ, "STORAGE_EMULATOR_HOST": host, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
    environment["FSSPEC_GS"] = '{"token": "anon"}'
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "look at the network, the name and the credentials, then run the same command again" in done.stderr
