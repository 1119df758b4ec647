"""Runs the command in forks of one warm process, each with a fault in the operating system's way.

Reads JSON lines {arguments, stderr, kind, at, lasting} on stdin, answers {code, operations}. The operations that a
commit is made of (fsync, rename, unlink) are counted; before number `at` the process is killed, or the call fails with
an error, once or from then on. 0 lets everything pass. `file_bytes_max` bounds the size of a file.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from pipelines import cards, cli, progress, run, runner, sources  # noqa: F401, so that each fork has them


class Faults:
    def __init__(self, kind: str, at: int, lasting: bool):
        self._kind, self._at, self._lasting = kind, at, lasting
        self.operations = 0

    def guard(self, name: str) -> None:
        call = getattr(os, name)

        def guarded(path: Any, *given: Any, **options: Any) -> Any:
            self.operations += 1
            if self.operations == self._at or (self._lasting and 0 < self._at < self.operations):
                if self._kind == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                number = getattr(errno, self._kind)
                shown = str(Path(f"/proc/self/fd/{path}").readlink()) if isinstance(path, int) else str(path)
                raise OSError(number, os.strerror(number), shown)
            return call(path, *given, **options)

        setattr(os, name, guarded)


def child(wanted: dict[str, Any], answer: int) -> None:
    errors = os.open(wanted["stderr"], os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(errors, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if limit := wanted.get("file_bytes_max"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    faults = Faults(wanted.get("kind", ""), wanted.get("at", 0), wanted.get("lasting", False))
    for name in ("fsync", "replace", "unlink"):
        faults.guard(name)
    sys.argv = ["roots", *wanted["arguments"]]
    code: Any = 0
    try:
        cli.main()
    except SystemExit as ended:
        code = ended.code or 0
    os.write(answer, str(faults.operations).encode())
    os._exit(code)


def main() -> None:
    for line in sys.stdin:
        read, write = os.pipe()
        if (process := os.fork()) == 0:
            child(json.loads(line), write)
        os.close(write)
        _, status = os.waitpid(process, 0)
        operations = os.read(read, 20)
        os.close(read)
        value = {"code": os.waitstatus_to_exitcode(status), "operations": int(operations or 0)}
        print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
