from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys

import pytest
import torch

from model import bloom, checkpoint, config, optimizer, parallel

ALONE = parallel.World(rank=0, size=1, device=torch.device("cpu"))


def a_model(seed: int = 0, hidden: int = 8) -> bloom.Bloom:
    shape = config.BloomConfig(layers=1, hidden=hidden, heads=2, vocabulary=16)
    return bloom.Bloom(shape).initialise(torch.Generator().manual_seed(seed))


def stepped(model: bloom.Bloom, adamw: torch.optim.AdamW) -> None:
    adamw.zero_grad()
    model(torch.arange(6)[None], torch.arange(1, 7)[None]).backward()
    adamw.step()


def place(step: int) -> checkpoint.Place:
    return checkpoint.Place(
        step=step,
        samples=8 * step,
        config={"layers": 1},
        options={"seed": 42},
        data={"tokenizer": "d"},
        machine={"threads": 2},
    )


def saved(folder, step: int = 3):
    model = a_model()
    adamw = optimizer.adamw(model, 1e-2)
    for _ in range(step):
        stepped(model, adamw)
    return model, adamw, checkpoint.save(folder, place(step), model, adamw, 2, ALONE)


def test_what_is_saved_comes_back_and_goes_on_alike(tmp_path):
    model, adamw, path = saved(tmp_path)
    other = a_model(1)
    again = optimizer.adamw(other, 1e-2)
    assert checkpoint.load(path, other, again, ALONE) == place(3)
    for m, a in ((model, adamw), (other, again)):
        stepped(m, a)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_weights_alone_come_back_too(tmp_path):
    model, _, path = saved(tmp_path)
    other = a_model(1)
    checkpoint.weights(path, other)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_only_the_newest_are_kept(tmp_path):
    model, adamw, _ = saved(tmp_path, 1)
    for step in (2, 10):
        checkpoint.save(tmp_path, place(step), model, adamw, 2, ALONE)
    assert [path.name for path in checkpoint.found(tmp_path)] == ["step-00000002", "step-00000010"]


def test_a_replayed_step_replaces_its_checkpoint(tmp_path):
    model, adamw, path = saved(tmp_path)
    (path / "__0_0.distcp").write_bytes(b"torn")
    checkpoint.save(tmp_path, place(3), model, adamw, 2, ALONE)
    assert checkpoint.describe(path) == place(3)


def test_what_a_kill_left_behind_is_not_a_checkpoint_and_is_removed(tmp_path):
    _, _, path = saved(tmp_path)
    shutil.copytree(path, tmp_path / ".step-00000009.tmp")
    assert checkpoint.found(tmp_path) == [path]
    checkpoint.clean(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["__0_0.distcp", ".metadata"])
def test_a_shortened_file_is_refused_by_its_name(tmp_path, name):
    _, _, path = saved(tmp_path)
    data = (path / name).read_bytes()
    (path / name).write_bytes(data[:-1])
    with pytest.raises(ValueError, match=rf"{name}: is .*'bytes': {len(data) - 1}, .*delete this folder to go on"):
        checkpoint.describe(path)


@pytest.mark.parametrize("name", ["__0_0.distcp", ".metadata"])
def test_a_flipped_bit_is_refused(tmp_path, name):
    _, _, path = saved(tmp_path)
    data = bytearray((path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (path / name).write_bytes(data)
    with pytest.raises(ValueError, match=rf"{name}: is .* its manifest says"):
        checkpoint.describe(path)


def test_a_missing_file_is_refused(tmp_path):
    _, _, path = saved(tmp_path)
    (path / "__0_0.distcp").unlink()
    with pytest.raises(ValueError, match=r"__0_0.distcp: is missing, its manifest says"):
        checkpoint.describe(path)


def test_an_altered_manifest_is_refused(tmp_path):
    _, _, path = saved(tmp_path)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"samples": 25}))
    with pytest.raises(ValueError, match=r"manifest.json: its seal is \w+, its content gives \w+"):
        checkpoint.describe(path)


def test_another_format_is_refused(tmp_path):
    _, _, path = saved(tmp_path)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"format": 1}))
    with pytest.raises(ValueError, match=r"manifest.json: format 1, this version reads 2; train again"):
        checkpoint.describe(path)


@pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"format": 1}'])
def test_a_missing_or_broken_manifest_is_refused(tmp_path, content):
    _, _, path = saved(tmp_path)
    (path / "manifest.json").unlink()
    if content is not None:
        (path / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match="not the manifest of a checkpoint"):
        checkpoint.describe(path)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    _, _, path = saved(tmp_path)
    other = a_model(hidden=10)
    with pytest.raises(ValueError, match=r"word_embeddings.weight is .*16, 8.*, the model has .*16, 10"):
        checkpoint.load(path, other, optimizer.adamw(other, 1e-2), ALONE)


def test_loading_runs_no_code(tmp_path):
    """Metadata that would run something is refused, although its digest is right."""

    class Trap:
        def __reduce__(self):
            return (print, ("this must not run",))

    _, _, path = saved(tmp_path)
    (path / ".metadata").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match=r".metadata: holds more than a checkpoint's own classes \(builtins.print\)"):
        checkpoint.weights(path, a_model())


FULL = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, {here!r})
import test_checkpoint as own
model, adamw, path = own.saved(Path({folder!r}))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # from here on the system refuses a larger file
try:
    own.checkpoint.save(Path({folder!r}), own.place(4), model, adamw, 2, own.ALONE)
except OSError as error:
    print(error)
"""


def test_a_disk_that_is_full_leaves_the_last_checkpoint(tmp_path):
    from pathlib import Path

    code = FULL.format(here=str(Path(__file__).parent), folder=str(tmp_path))
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120).stdout
    assert "step-00000004.tmp: " in told and "the checkpoint before it is whole, make room and go on" in told
    (path,) = checkpoint.found(tmp_path)
    assert checkpoint.describe(path) == place(3)
    checkpoint.clean(tmp_path)
    assert list(tmp_path.iterdir()) == [path]
