"""What every test has: no network, the shared development data where present, a small corpus, servers of two stores."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

# an example may pay for compiling a kernel, or for a busy machine
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")
# gcsfs would ask a gRPC service, which the server here has not; it looks when it is imported
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that opens a connection beyond this machine fails."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else address
        if isinstance(host, str) and host not in ("127.0.0.1", "::1", "localhost") and not host.startswith("/"):
            raise OSError(f"tests have no network: connection to {host} refused")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def shared() -> Path:
    """The folder of shared development data; the test is skipped where it is absent (a user's clone)."""
    if not SHARED.is_dir():
        pytest.skip("the shared development data are not beside this checkout")
    return SHARED


RECIPE = """
base = "base.toml"
name = "small"
[run]
task_bytes = 15_000
[ingest]
rejected_share_max = 0.5
[clean.steps]
"lm_nigercongo-sw_*" = ["dedup_document", "dedup_template_soft", "filter_remove_empty_docs"]
"lm_*" = ["dedup_document", "filter_remove_empty_docs"]
[language]
model = ""
sha256 = ""
[dedup]
num_perm = 64
recall_min = 0.95
[tokenizer]
vocab_size = 300
"""
WORDS = (  # noqa: SIM905
    "habari njema leo watu wengi walifika sokoni kununua mboga na matunda mapya kutoka shambani jirani wakati "
    "mvua ilikuwa ikinyesha polepole juu ya paa la nyumba kubwa karibu na mto ambao unapita kijijini kwetu"
).split()


def text_of(seed: int, words: int = 120) -> str:
    """A text of its own: no two seeds share a run of five words."""
    return " ".join(f"{WORDS[(seed * 7 + i * i) % len(WORDS)]}{(seed * 131 + i) % 977}" for i in range(words))


@pytest.fixture(scope="session")
def text() -> Callable[[int], str]:
    """`text_of`, for tests that make documents of their own."""
    return text_of


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two sources with copies in and across them, a near copy, addresses, and a record that is none."""
    root = tmp_path_factory.mktemp("small") / "sources"
    swahili = [text_of(i) + "\nSoma habari zaidi hapa kila siku" for i in range(30)]
    swahili[20] = swahili[3]
    igbo = [text_of(100 + i) + "\nwrite to a.b@example.org" for i in range(10)]
    igbo[5] = text_of(3)
    igbo[7] = igbo[6].replace(igbo[6].split()[60], "imebadilika")
    for name, texts in {
        "lm_nigercongo-sw_news/a": swahili[:14],
        "lm_nigercongo-sw_news/b": swahili[14:],
        "lm_nigercongo-ig_web/a": igbo,
    }.items():
        file = root / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    with (root / "lm_nigercongo-ig_web" / "a.jsonl").open("a") as file:
        file.write("not json\n")
    return root


@pytest.fixture(scope="session")
def small_recipe(small: Path) -> Path:
    """A recipe for the small corpus, as a file."""
    file = small.parent / "small.toml"
    file.write_text(RECIPE + f'[sources]\nfolder = "{small}"\n')
    return file


@pytest.fixture(scope="session")
def gcs() -> Iterator[str]:
    """A bucket of a Google Cloud Storage server on this machine: its URL."""
    emulator = pytest.importorskip("gcp_storage_emulator.server")
    port = free_port()
    os.environ["STORAGE_EMULATOR_HOST"] = f"http://127.0.0.1:{port}"
    os.environ["FSSPEC_GS"] = '{"token": "anon"}'
    _configure("gs", {"token": "anon"})
    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    server = emulator.create_server("127.0.0.1", port, in_memory=True, default_bucket="roots")
    server.start()
    yield "gs://roots"
    server.stop()


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """A bucket of an S3 server on this machine: its URL."""
    moto = pytest.importorskip("moto.server")
    port = free_port()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = moto.ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    import fsspec

    fsspec.filesystem("s3", use_listings_cache=False).mkdir("roots")
    yield "s3://roots"
    server.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _configure(scheme: str, options: dict[str, str]) -> None:
    """What the environment says, for an fsspec that has been imported already."""
    from fsspec.config import conf

    conf.setdefault(scheme, {}).update(options)


@pytest.fixture(params=["gs", "s3"])
def bucket(request: pytest.FixtureRequest) -> str:
    """Each store in turn: the URL of a bucket."""
    return request.getfixturevalue({"gs": "gcs", "s3": "s3"}[request.param])
