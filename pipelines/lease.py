"""One run at a time on one output folder.

On a disk the system's lock on a file ends with its process. A store has no locks: there the holder writes its token
with a counter that grows, and who finds the counter standing still takes over. No clocks are compared. Whoever finds
another's token where its own should be has lost, and stops; since every object of a run is whole and decided by its
inputs, the moment in which both believed to hold can waste work but spoil nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from pipelines import manifest, path, storage

BEAT_SECONDS = 10.0
STILL_SECONDS = 35.0  # a counter that stands so long belongs to nobody: three beats may fail
SETTLE_SECONDS = 1.0  # for another's write to arrive, where a store cannot create only what is new


class Busy(RuntimeError):
    """Another run is writing to the same folder."""

    def __init__(self, output: storage.Place, holder: str = ""):
        who = f" ({holder})" if holder else ""
        super().__init__(f"{output}: another run is writing here{who}; wait for it, or choose another --output")


@contextlib.contextmanager
def held(output: storage.Place) -> Iterator[None]:
    """Hold the output folder for this process. Raises Busy."""
    with _of_store(output) if isinstance(output, storage.Remote) else _of_disk(output):
        yield


@contextlib.contextmanager
def _of_disk(output: Path) -> Iterator[None]:
    output.mkdir(parents=True, exist_ok=True)
    with (output / path.LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy(output) from error
        yield


@contextlib.contextmanager
def _of_store(output: storage.Remote) -> Iterator[None]:
    lease = _Lease(output)
    lease.take()
    ended = threading.Event()
    beat = threading.Thread(target=lease.keep, args=(ended,), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        lease.release()


class _Lease:
    def __init__(self, output: storage.Remote):
        self._output = output
        self._file = output / path.LOCK
        self._holder = f"{socket.gethostname()} process {os.getpid()}"
        self._token = uuid.uuid4().hex
        self._count = 0

    def take(self) -> None:
        """Write our token where there is none, or where one stands still. Raises Busy."""
        found = self._read()
        if found is not None:
            time.sleep(STILL_SECONDS)
            if self._read() not in (None, found):
                raise Busy(self._output, found["holder"])
        try:
            self._write(new=found is None)
        except FileExistsError as error:
            raise Busy(self._output) from error
        time.sleep(SETTLE_SECONDS)
        self._check()

    def keep(self, ended: threading.Event) -> None:
        """Count on until the run has ended; end the process if another has taken over."""
        while not ended.wait(BEAT_SECONDS):
            try:
                self._check()
                self._count += 1
                self._write()
            except Busy as error:
                os.write(2, f"roots: {error}\n".encode())
                os._exit(1)
            except OSError:
                continue  # the store did not answer: the next beat may come through

    def release(self) -> None:
        with contextlib.suppress(OSError, Busy):
            self._check()
            self._file.unlink(missing_ok=True)

    def _check(self) -> None:
        found = self._read()
        if found is None or found["token"] != self._token:
            raise Busy(self._output, found["holder"] if found else "")

    def _read(self) -> dict | None:
        try:
            return json.loads(self._file.read_bytes())
        except FileNotFoundError:
            return None

    def _write(self, new: bool = False) -> None:
        value = {"token": self._token, "holder": self._holder, "count": self._count}
        self._file.write_bytes(manifest.canonical(value), new)
