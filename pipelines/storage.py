"""Where files lie: on this machine as plain `pathlib` paths, in an object store as `Remote`, which answers to the same.

Stores are spoken to through fsspec: one driver for each scheme, gs:// and s3:// to read and write, hf:// to read; each
keeps its own credentials and retries. Beam's own FileSystems know no hf://. A local path stays a `Path`, so that
nothing is slower for this layer. An object appears whole when its upload ends, so it is written straight to its name:
what a rename is on a disk. Its bytes are checked by the store; a resumed run compares an object's size only, and
`roots verify` reads everything.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar, cast

from roots import whole_file

Item = TypeVar("Item")
Found = TypeVar("Found")

DRIVERS = {"gs": "gcp", "s3": "s3", "hf": "hub"}  # scheme -> the extra that installs its driver
URL = re.compile(r"([a-z][a-z0-9]*)://(.+)")
THREADS = 32  # requests to a store at a time: one takes tens of milliseconds, most of it waiting
STREAM_BYTES = 4 * 2**20  # of a store's object read at a time


@functools.total_ordering
class Remote:
    """An object of a store, or all objects below a name: the part of `pathlib.Path` that the frame needs."""

    __slots__ = ("_path", "_scheme")

    def __init__(self, scheme: str, path: PurePosixPath):
        self._scheme = scheme
        self._path = path

    def __str__(self) -> str:
        return f"{self._scheme}://{self._path}"

    def __repr__(self) -> str:
        return f"Remote({str(self)!r})"

    def __hash__(self) -> int:
        return hash((self._scheme, self._path))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and (self._scheme, self._path) == (other._scheme, other._path)

    def __lt__(self, other: Remote) -> bool:
        return (self._scheme, self._path) < (other._scheme, other._path)

    def __truediv__(self, below: str | PurePosixPath | Path) -> Remote:
        return Remote(self._scheme, self._path / below)

    @property
    def name(self) -> str:
        return self._path.name

    @property
    def suffix(self) -> str:
        return self._path.suffix

    @property
    def parts(self) -> tuple[str, ...]:
        return self._path.parts

    @property
    def parent(self) -> Remote:
        return Remote(self._scheme, self._path.parent)

    def with_suffix(self, suffix: str) -> Remote:
        return Remote(self._scheme, self._path.with_suffix(suffix))

    def relative_to(self, folder: Remote) -> PurePosixPath:
        return self._path.relative_to(folder._path)

    def resolve(self) -> Remote:
        return self

    def exists(self) -> bool:
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        return self.size() >= 0

    def is_dir(self) -> bool:
        # the drivers' own `isdir` takes a store that refuses for one that has no such folder
        try:
            return self._ask(lambda driver, name: driver.info(name))["type"] == "directory"
        except FileNotFoundError:
            return False

    def folders(self) -> list[Remote]:
        """The names directly below this one that have objects below them."""
        entries = self._ask(lambda driver, name: driver.ls(name, detail=True))
        found = {PurePosixPath(entry["name"]) for entry in entries if entry["type"] == "directory"}
        return [Remote(self._scheme, path) for path in found - {self._path}]

    def open(self, mode: str = "rb") -> BinaryIO:
        if mode != "rb":
            raise ValueError(f"{self}: opened as '{mode}'; an object is written whole, by write_bytes")
        return io.BufferedReader(Stream(self), STREAM_BYTES)

    def read_bytes(self) -> bytes:
        return self._ask(lambda driver, name: driver.cat_file(name))

    def read_range(self, start: int, end: int) -> bytes:
        return self._ask(lambda driver, name: driver.cat_file(name, start=start, end=end))

    def write_bytes(self, data: bytes, new: bool = False) -> None:
        """Write the object, whole. With `new`, FileExistsError if it is there already, where the store can tell."""
        self._ask(lambda driver, name: driver.pipe_file(name, data, mode="create" if new else "overwrite"))

    def unlink(self, missing_ok: bool = False) -> None:
        with contextlib.suppress(FileNotFoundError) if missing_ok else contextlib.nullcontext():
            self._ask(lambda driver, name: driver.rm_file(name))

    def below(self) -> dict[PurePosixPath, int]:
        """Every object below this name, with its size."""
        found = self._ask(lambda driver, name: driver.find(name, detail=True))
        return {PurePosixPath(name): entry["size"] for name, entry in found.items() if entry["type"] == "file"}

    def size(self) -> int:
        """Bytes of the object, -1 where there is none."""
        try:
            entry = self._ask(lambda driver, name: driver.info(name))
        except FileNotFoundError:
            return -1
        return int(entry["size"]) if entry["type"] == "file" else -1

    def upload(self, file: Path) -> None:
        """Store a file of this machine under this name."""
        self._ask(lambda driver, name: driver.put_file(str(file), name))
        if (stored := self.size()) != (sent := file.stat().st_size):
            raise OSError(errno.EIO, f"sent {sent} bytes, {stored} are stored; run the same command again", str(self))

    def _ask(self, call: Callable[[Any, str], Found]) -> Found:
        """What the driver answers for this name. What goes wrong beyond it is an OSError that says what to do."""
        driver = _driver(self._scheme)
        driver.invalidate_cache()
        try:
            return call(driver, str(self._path))
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, "no such object or bucket", str(self)) from error
        except FileExistsError:
            raise
        except Exception as error:
            # each driver has exceptions of its own for a refused key, a network that is down, a store that is busy
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            status = getattr(getattr(error, "response", None), "status_code", None)
            if isinstance(error, PermissionError) or status in (401, 403):
                raise PermissionError(
                    errno.EACCES,
                    f"the store refuses it ({said}); look at the name, the credentials and what they allow (on the "
                    "hub: accept the data set's conditions, set HF_TOKEN)",
                    str(self),
                ) from error
            raise OSError(
                errno.EIO,
                f"the store did not do it ({said}); look at the network, the name and the credentials, then run the "
                "same command again",
                str(self),
            ) from error


Place = Path | Remote


class Stream(io.RawIOBase):
    """An object's bytes by ranges. A reply shorter than asked for is an error, not an end."""

    def __init__(self, place: Remote):
        self._place = place
        self._size = place.size()
        if self._size < 0:
            raise FileNotFoundError(errno.ENOENT, "no such object", str(place))
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def readall(self) -> bytes:
        return self.read(max(0, self._size - self._position)) or b""

    def readinto(self, buffer: Any) -> int:
        count = max(0, min(len(buffer), self._size - self._position))
        if count:
            data = self._place.read_range(self._position, self._position + count)
            if len(data) != count:
                raise OSError(
                    errno.EIO,
                    f"asked for {count} bytes from {self._position}, got {len(data)}; run the same command again",
                    str(self._place),
                )
            buffer[:count] = data
            self._position += count
        return count


def at(text: str) -> Place:
    """The place that a text names: a URL of a store, or a path of this machine.

    raises  ValueError for a scheme that no driver of ours reads
    """
    if (found := URL.fullmatch(text)) is None:
        return Path(text)
    if found[1] not in DRIVERS:
        raise ValueError(f"{text}: no storage is called {found[1]}://; known are {', '.join(DRIVERS)}, and local paths")
    return Remote(found[1], PurePosixPath(found[2]))


@functools.cache
def _driver(scheme: str) -> Any:
    import fsspec

    try:
        return fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError as error:
        raise ValueError(
            f"{scheme}://: its driver is not installed; pip install 'bloom-roots[{DRIVERS[scheme]}]'"
        ) from error


def files(folder: Place) -> list[Any]:
    """Every file below a folder, sorted by its path; [] where there is no folder."""
    if isinstance(folder, Remote):
        return sorted(Remote(folder._scheme, path) for path in folder.below())
    return sorted(path for path in folder.rglob("*") if path.is_file())


def matching(folder: Place, pattern: str) -> list[Any]:
    """The files below a folder whose path in it fits a glob pattern, sorted."""
    if isinstance(folder, Remote):
        from fsspec.utils import glob_translate

        wanted = re.compile(glob_translate(pattern))
        return [file for file in files(folder) if wanted.match(relative(file, folder))]
    return sorted(path for path in folder.glob(pattern) if path.is_file())


def folders(folder: Place) -> list[Place]:
    """The sub-folders of a folder, sorted."""
    if isinstance(folder, Remote):
        return sorted(folder.folders())
    return [path for path in sorted(folder.iterdir()) if path.is_dir()]


def relative(path: Place, folder: Place) -> str:
    """The path of a file below a folder, with slashes."""
    return path.relative_to(folder).as_posix()  # type: ignore[arg-type]


def present(paths: Iterable[Any], folder: Place) -> list[Any]:
    """Those of a folder's files that are there."""
    if isinstance(folder, Remote):
        there = set(files(folder))
        return [path for path in paths if path in there]
    return [path for path in paths if path.exists()]


def size(path: Place) -> int:
    """Bytes of a file, -1 where there is none."""
    if isinstance(path, Remote):
        return path.size()
    return path.stat().st_size if path.is_file() else -1


def opened(path: Place) -> BinaryIO:
    """A file's bytes, to read here and there: each read of a store's object is one request."""
    return cast(BinaryIO, Stream(path)) if isinstance(path, Remote) else path.open("rb")


def source(path: Place) -> Any:
    """What pyarrow reads a file from."""
    return Stream(path) if isinstance(path, Remote) else path


@contextlib.contextmanager
def named(path: Place) -> Iterator[None]:
    """An error of the disk while a file is read says which file, as one on opening it does."""
    try:
        yield
    except OSError as error:
        if not error.errno or error.filename:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


@contextlib.contextmanager
def local(path: Place) -> Iterator[Path]:
    """The file on this machine: itself, or a copy that is gone afterwards."""
    if not isinstance(path, Remote):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="roots-") as temporary:
        copy = Path(temporary) / path.name
        with path.open() as stored, copy.open("wb") as file:
            shutil.copyfileobj(stored, file)
        yield copy


@contextlib.contextmanager
def workplace(folder: Place, name: str) -> Iterator[Path]:
    """An empty folder of this machine to write a task's files into, gone afterwards.

    For a local folder it lies in it, so that a rename moves its files to their places.
    """
    if isinstance(folder, Remote):
        with tempfile.TemporaryDirectory(prefix="roots-") as temporary:
            yield Path(temporary)
        return
    folder.mkdir(parents=True, exist_ok=True)
    # a name of its own: an engine may have a task done twice at a time
    beside = Path(tempfile.mkdtemp(prefix=f".{name.replace('/', '~')[:100]}.", suffix=".tmp", dir=folder))
    try:
        yield beside
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def publish(temporary: Path, names: Iterable[str], folder: Place) -> None:
    """Bring the files of a workplace to their places, each whole; when this returns they are on the disk, or stored."""
    if isinstance(folder, Remote):
        for name in names:
            (folder / name).upload(temporary / name)
        return
    parents = set()
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        whole_file.sync_file(temporary / name)
        (temporary / name).replace(target)
        parents.add(target.parent)
    for parent in sorted(parents):
        whole_file.sync_folder(parent)


def write(path: Place, data: bytes) -> None:
    """Write a whole file or nothing: on a disk temporary name, sync, rename, sync of the folder."""
    if isinstance(path, Remote):
        path.write_bytes(data)
        return
    # a task that is done twice at a time has its own temporary name; `tidy` removes what a kill leaves
    whole_file.write(path, data, mark=f".{uuid.uuid4().hex[:12]}")


def append(path: Place, line: bytes) -> None:
    """Add a line to a file that nobody else writes to."""
    if isinstance(path, Remote):
        path.write_bytes((path.read_bytes() if path.is_file() else b"") + line)
        return
    with path.open("ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def tidy(folder: Place) -> None:
    """Remove the workplaces of tasks that were interrupted, and empty folders. A store has neither."""
    if isinstance(folder, Remote):
        return
    for path in list(folder.rglob(".*.tmp")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()


def each(function: Callable[[Item], Found], items: Iterable[Item], place: Place) -> list[Found]:
    """The function of each item, in order: many at a time where each waits for a store."""
    if not isinstance(place, Remote):
        return [function(item) for item in items]
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(function, items))
