"""A sign of life: a process that does tasks shows what it is at, in a few bytes that the run's command looks at.

The bytes change with every task, every batch and every segment that is read. A process that is stopped, or never comes
to the end of a batch, leaves them as they are. Where nobody looks (on another engine's workers) none are written.
"""

from __future__ import annotations

import contextlib
import mmap
import tempfile
import time
from collections.abc import Iterator

SIGN_BYTES = 1024
SILENT_SECONDS_MAX = 3600.0  # the slowest batch known, one document of 500 MB, took 160 s


class Pulse:
    """What this process is at: a count that only rises, and the task's name.

    share   how much of the task is done, 0 to 1, as far as it says so; read in this process alone
    """

    def __init__(self) -> None:
        self._sign: mmap.mmap | None = None
        self._beats = 0
        self._task = ""
        self.share = 0.0

    def into(self, sign: mmap.mmap) -> None:
        """Show it there from now on."""
        self._sign = sign

    @contextlib.contextmanager
    def of_task(self, name: str) -> Iterator[None]:
        self._task = name
        self.beat()
        try:
            yield
        finally:
            self._task = ""
            self.beat()

    def beat(self, share: float = 0.0) -> None:
        """Show that the work goes on; a task that is a stage by itself also says how far it is."""
        self._beats += 1
        self.share = share
        if self._sign is not None:
            self._sign[:] = f"{self._beats} {self._task}".encode()[:SIGN_BYTES].ljust(SIGN_BYTES)


HERE = Pulse()  # of this process


class Listener:
    """The other end: which task a process is at, and since when it has shown nothing new."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115, open as long as this object is
        self.file.truncate(SIGN_BYTES)
        self.sign = mmap.mmap(self.file.fileno(), SIGN_BYTES)
        self._last = b""
        self._changed = time.monotonic()

    def listen(self) -> tuple[float, str]:
        """When the sign last changed, on the monotonic clock, and the task in it; "" where the process is at none."""
        if (sign := self.sign[:]) != self._last:
            self._last, self._changed = sign, time.monotonic()
        return self._changed, sign.rstrip(b" \0").decode("utf-8", "replace").partition(" ")[2]
