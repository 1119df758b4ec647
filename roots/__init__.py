"""What a document is, and what is done to it: pure functions on Arrow batches. Never imports Beam or torch."""

import hashlib
import os
from pathlib import Path


def _kernel_cache() -> Path:
    """Where compiled kernels are kept: a folder of their source's digest.

    numba looks for a change only in a kernel's own file, not in the kernels of other files that it inlines; without
    this a stale kernel would go on running after an update, silently.
    """
    sources = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    kernels = hashlib.sha256(b"".join(source for source in sources if b"numba" in source))
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "bloom-roots" / kernels.hexdigest()[:16]


os.environ.setdefault("NUMBA_CACHE_DIR", str(_kernel_cache()))  # before any module of ours imports numba
