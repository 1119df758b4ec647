from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipelines import manifest, storage


def test_a_sealed_value_comes_back_and_every_flipped_bit_is_found(tmp_path: Path) -> None:
    value = {"stage": "clean", "counts": {"kept": 3}, "name": "நூல்"}
    line = manifest.seal(value)
    assert manifest.unseal(line, "here") == value
    for place in range(len(line)):
        for bit in range(8):
            flipped = bytearray(line)
            flipped[place] ^= 1 << bit
            with pytest.raises(manifest.DamagedFile, match=r"^here: (not a sealed JSON line|its digest is)"):
                manifest.unseal(bytes(flipped), "here")


def test_documents_that_vanish_are_refused() -> None:
    with pytest.raises(ValueError, match=r"documents are missing: 5 in, but 3 kept \+ .* = 4; nothing was written"):
        manifest.Counts(documents_in=5, kept=3, removed={"empty_text": 1})


def test_counts_add_up_by_reason() -> None:
    first = manifest.Counts(documents_in=3, kept=1, removed={"a": 2}, text_bytes_in=10, text_bytes_kept=5)
    second = manifest.Counts(documents_in=2, kept=0, removed={"a": 1}, rejected={"b": 1})
    assert manifest.total([first, second]) == manifest.Counts(
        documents_in=5, kept=1, removed={"a": 3}, rejected={"b": 1}, text_bytes_in=10, text_bytes_kept=5
    )


def test_a_file_is_written_whole_and_no_temporary_stays(tmp_path: Path) -> None:
    storage.write(tmp_path / "deep" / "file", b"data")
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["deep", "deep/file"]
    assert (tmp_path / "deep" / "file").read_bytes() == b"data"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.unlink(), "missing; run the same command again"),
        (lambda p: p.write_bytes(b"12"), "2 bytes, its manifest says 3"),
        (lambda p: p.write_bytes(b"124"), "sha256 is .* its manifest says"),
    ],
)
def test_a_changed_file_is_told_with_what_to_do(tmp_path: Path, change, message: str) -> None:
    (tmp_path / "part.seg").write_bytes(b"123")
    part = manifest.Manifest(
        stage="s",
        name="part",
        source="",
        language="",
        key="k",
        files=manifest.files_of(tmp_path, tmp_path),
        counts=manifest.Counts(),
    )
    assert part.problems(tmp_path) == []
    change(tmp_path / "part.seg")
    (problem,) = part.problems(tmp_path)
    assert re.search(message, problem)


def test_a_manifest_is_read_back_equal(tmp_path: Path) -> None:
    part = manifest.Manifest(
        stage="clean",
        name="lm_sw_x/part-00000-of-00001",
        source="lm_sw_x",
        language="nigercongo-sw",
        key="k",
        files={"a": {"sha256": "0", "bytes": 1}},
        counts=manifest.Counts(documents_in=2, kept=1, removed={"empty_text": 1}),
        rows=(1,),
        text=(10,),
        facts={"found": {"x": 1}},
    )
    part.write(tmp_path)
    assert manifest.Manifest.read(tmp_path, part.name) == part
