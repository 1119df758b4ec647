"""Files that appear whole or not at all: temporary name, sync, rename, sync of the folder."""

from __future__ import annotations

import os
from pathlib import Path


def write(path: Path, data: bytes, mark: str = "") -> None:
    """Write a file whole, in a folder that is made if it is not there; on the disk when this returns.

    mark  put into the temporary name, where several may write the same file at a time; with none, what a kill leaves
          is overwritten the next time
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}{mark}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Force a file's bytes to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Force a folder's entries (renames, new names) to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
