"""How a run looks while it runs: one live line for each stage on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines import run

PLAIN_SECONDS = 10.0  # between two lines about one stage where there is no terminal


@contextmanager
def shown() -> Iterator[run.Watcher]:
    """A watcher that writes to stderr; on a terminal a stage's line is rewritten until it is finished."""
    live = sys.stderr.isatty()
    told = 0.0

    def watch(progress: run.Progress) -> None:
        nonlocal told
        if progress.finished:
            sys.stderr.write(("\r\x1b[K" if live else "") + final(progress) + "\n")
            told = time.monotonic()
        elif live:
            sys.stderr.write("\r\x1b[K" + current(progress))
        elif progress.seconds and time.monotonic() - told >= PLAIN_SECONDS:
            sys.stderr.write(current(progress) + "\n")
            told = time.monotonic()
        sys.stderr.flush()

    yield watch


def current(progress: run.Progress) -> str:
    """`clean   112/178 tasks   63 %   21.4 MB/s   0:12 left`"""
    share, gained = progress.share, progress.share - progress.before
    speed = _speed(progress.weight_done, progress)
    left = progress.seconds * (1 - share) / gained if gained > 0 else None
    return (
        f"{progress.stage:<26} {progress.done}/{progress.tasks} tasks  {share:4.0%}  {speed}  "
        f"{clock(left) + ' left' if left is not None else ''}"
    ).rstrip()


def final(progress: run.Progress) -> str:
    """`clean   178 tasks   12.3 s   38.9 MB/s   279,100 of 285,474 documents kept (too_few_bytes 6,374)`"""
    counts = progress.counts
    speed = _speed(progress.weight, progress)
    line = f"{progress.stage:<26} {progress.tasks:>4} tasks  {progress.seconds:6.1f} s  {speed}  "
    if counts.documents_in:
        gone = {**counts.removed, **counts.rejected}
        reasons = ", ".join(
            f"{name} {count:,}" for name, count in sorted(gone.items(), key=lambda i: (-i[1], i[0]))[:4]
        )
        more = f", {len(gone) - 4} more reasons" if len(gone) > 4 else ""
        line += f"{counts.kept:,} of {counts.documents_in:,} documents kept" + (f" ({reasons}{more})" if gone else "")
    return line.rstrip()


def _speed(read: int, progress: run.Progress) -> str:
    """Of the text that was read; as many spaces where the stage reads none."""
    return f"{read / 1e6 / max(progress.seconds, 1e-9):6.1f} MB/s" if progress.weight else " " * 11


def clock(seconds: float) -> str:
    """`1:02:03` or `2:03`"""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
