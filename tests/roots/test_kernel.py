"""Compiled kernels are kept under a digest of all the code that they are made of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from roots import code_digest, kernel

INNER = "from roots import kernel\n\n\n@kernel.inlined\ndef step(x):\n    return x + {}\n"
OUTER = (
    "from ours import inner\nfrom roots import kernel\n\n\n@kernel.compiled\ndef twice(x):\n"
    "    return 2 * inner.step(x)\n"
)
PROGRAM = (
    "import sys\nfrom roots import code_digest\ncode_digest.OUR_PACKAGES += ('ours',)\nfrom ours import outer\n"
    "print(outer.twice(10), sum(outer.twice.stats.cache_hits.values()))\n"
)


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A package `ours` of two modules with a kernel each, one inlined into the other."""
    folder = tmp_path / "ours"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "inner.py").write_text(INNER.format(1))
    (folder / "outer.py").write_text(OUTER)
    return folder


def run(ours: Path) -> str:
    """(twice(10), kernels found in the cache) as a fresh process prints them."""
    roots = str(Path(kernel.__file__).parents[1])
    environment = os.environ | {
        "PYTHONPATH": f"{ours.parent}{os.pathsep}{roots}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "XDG_CACHE_HOME": str(ours.parent / "cache"),
    }
    line = [sys.executable, "-c", PROGRAM]
    return subprocess.run(line, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_a_kernel_is_compiled_once_and_again_when_a_kernel_that_it_inlines_changes(ours: Path) -> None:
    assert run(ours) == "22 0"
    assert run(ours) == "22 1"
    (ours / "inner.py").write_text(INNER.format(5))
    assert run(ours) == "30 0"


def test_a_digest_counts_the_code_of_imported_modules_but_no_comment(
    ours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ours.parent))
    monkeypatch.setattr(code_digest, "OUR_PACKAGES", ("ours",))

    def digest() -> str:
        code_digest.of.cache_clear()
        code_digest._code.cache_clear()
        return code_digest.of("ours.outer")

    first = digest()
    (ours / "inner.py").write_text("# why\n" + INNER.format(1))
    assert digest() == first
    (ours / "inner.py").write_text(INNER.format(2))
    assert digest() != first
