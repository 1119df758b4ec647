"""What a run promises about its files: sealed JSON, digests, and the account of every document.

A file of the run is believed only if its digest stands in a manifest; a manifest only if its own seal holds. Every
artefact is written in a temporary folder beside its place, synced, renamed, and the manifest comes last: a manifest
that is there speaks for files that are whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines import storage

MANIFEST = ".manifest.json"  # suffix of a task's manifest
SUCCESS = "_SUCCESS"  # written last, when every task of a stage is done


class DamagedFile(ValueError):
    """A file of the run is not what its manifest says."""


def canonical(value: Any) -> bytes:
    """The one JSON text of a value: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(value: Any) -> str:
    """sha256 (hex) of a value's canonical JSON."""
    return hashlib.sha256(canonical(value)).hexdigest()


def file_digest(path: storage.Place) -> str:
    """sha256 (hex) of a file's bytes."""
    with storage.named(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # it has readinto


def seal(value: Mapping[str, Any]) -> bytes:
    """One line of JSON that ends with the digest of what stands before it."""
    return canonical({**value, "~sha256": digest(value)}) + b"\n"


def unseal(line: bytes, where: str) -> dict[str, Any]:
    """The value of a sealed line. Raises DamagedFile if a byte of it has changed."""
    try:
        value = json.loads(line)
        stated = value.pop("~sha256")
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise DamagedFile(f"{where}: not a sealed JSON line ({error}); remove the file and run again") from error
    if seal(value) != line:
        raise DamagedFile(
            f"{where}: its digest is {stated}, its content gives {digest(value)}; remove the file and run again"
        )
    return value


def read_sealed(path: storage.Place) -> dict[str, Any]:
    """The value of a sealed file. Raises FileNotFoundError, or DamagedFile."""
    return unseal(path.read_bytes(), str(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Where the documents of a task went: documents_in = kept + removed (by reason) + rejected (by reason)."""

    documents_in: int = 0
    kept: int = 0
    removed: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    text_bytes_in: int = 0  # UTF-8 bytes of the text of the documents that came in and were not rejected
    text_bytes_kept: int = 0

    def __post_init__(self) -> None:
        accounted = self.kept + sum(self.removed.values()) + sum(self.rejected.values())
        if accounted != self.documents_in:
            raise ValueError(
                f"documents are missing: {self.documents_in} in, but {self.kept} kept + {self.removed} removed + "
                f"{self.rejected} rejected = {accounted}; nothing was written, please report this as a defect"
            )

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            documents_in=self.documents_in + other.documents_in,
            kept=self.kept + other.kept,
            removed=_sum(self.removed, other.removed),
            rejected=_sum(self.rejected, other.rejected),
            text_bytes_in=self.text_bytes_in + other.text_bytes_in,
            text_bytes_kept=self.text_bytes_kept + other.text_bytes_kept,
        )

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Counts:
        return cls(**value)


def total(counts: Iterable[Counts]) -> Counts:
    """The sum of the accounts; all zero for none."""
    result = Counts()
    for part in counts:
        result += part
    return result


def _sum(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, int]:
    return {key: a.get(key, 0) + b.get(key, 0) for key in sorted(a.keys() | b.keys())}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What one task did: from which inputs, into which files, and where each document went.

    name    of the task: its outputs' path below the stage's folder, without the ending
    key     digest of all that decides the task's output (`stage.task_key`)
    files   path below the stage's folder -> {sha256, bytes}
    rows    documents in each row group of the task's shard, in order; [] where it wrote none
    text    UTF-8 bytes of text in each row group
    facts   what the stage found, mergeable over tasks (integers, or a table of them)
    """

    stage: str
    name: str
    source: str
    language: str
    key: str
    files: dict[str, dict[str, Any]]
    counts: Counts
    rows: tuple[int, ...] = ()
    text: tuple[int, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: storage.Place) -> None:
        value = {name: getattr(self, name) for name in self.__slots__} | {"counts": self.counts.to_json()}
        storage.write(folder / (self.name + MANIFEST), seal(value))

    @classmethod
    def read(cls, folder: storage.Place, name: str) -> Manifest:
        """Raises FileNotFoundError, or DamagedFile, also for a manifest that another version wrote in another form."""
        path = folder / (name + MANIFEST)
        value = read_sealed(path)
        try:
            counts = Counts.from_json(value.pop("counts"))
            return cls(**value | {"counts": counts, "rows": tuple(value["rows"]), "text": tuple(value["text"])})
        except (KeyError, TypeError) as error:
            raise DamagedFile(f"{path}: another version wrote it ({error}); run the same command again") from error

    def problems(self, folder: storage.Place, whole: bool = True) -> list[str]:
        """What is wrong with the task's files; [] when each is there with its size and, if `whole`, its digest."""
        found = (_problem(folder / name, stated, whole) for name, stated in self.files.items())
        return [problem for problem in found if problem]


def _problem(path: storage.Place, stated: Mapping[str, Any], whole: bool) -> str | None:
    size = storage.size(path)
    if size < 0:
        return f"{path}: missing; run the same command again to make it"
    if size != stated["bytes"]:
        return f"{path}: {size} bytes, its manifest says {stated['bytes']}; remove it and run again"
    found = file_digest(path) if whole else stated["sha256"]
    if found != stated["sha256"]:
        return f"{path}: sha256 is {found}, its manifest says {stated['sha256']}; remove it and run again"
    return None


def files_of(folder: Path, root: Path) -> dict[str, dict[str, Any]]:
    """Digest and size of every file below `folder`, keyed by its path relative to `root`, in order."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(root).as_posix(): {"sha256": file_digest(path), "bytes": path.stat().st_size} for path in paths
    }
