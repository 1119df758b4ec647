from __future__ import annotations

import json
import shutil

import pytest
import torch

from model import bloom, checkpoint, config, optimizer


def a_model(seed: int = 0) -> bloom.Bloom:
    shape = config.BloomConfig(layers=1, hidden=8, heads=2, vocabulary=16)
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
        data="d",
        machine={"threads": 2},
    )


def saved(folder, step: int = 3):
    model = a_model()
    adamw = optimizer.adamw(model, 1e-2)
    stepped(model, adamw)
    return model, adamw, checkpoint.save(folder, place(step), model, adamw, keep=2)


def test_what_is_saved_comes_back_and_goes_on_alike(tmp_path):
    torch.manual_seed(5)
    model, adamw, path = saved(tmp_path)
    drawn = torch.rand(3)
    found, state = checkpoint.load(path)
    assert found == place(3)
    other = a_model(1)
    again = optimizer.adamw(other, 1.0)
    checkpoint.restore(state, other, again)
    assert torch.equal(torch.rand(3), drawn)
    for m, a in ((model, adamw), (other, again)):
        stepped(m, a)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_only_the_newest_are_kept(tmp_path):
    model, adamw, _ = saved(tmp_path, 1)
    for step in (2, 10):
        checkpoint.save(tmp_path, place(step), model, adamw, keep=2)
    assert [path.name for path in checkpoint.found(tmp_path)] == ["step-00000002", "step-00000010"]


def test_a_replayed_step_replaces_its_checkpoint(tmp_path):
    model, adamw, path = saved(tmp_path)
    (path / "state.pt").write_bytes(b"torn")
    checkpoint.save(tmp_path, place(3), model, adamw, keep=2)
    assert checkpoint.describe(path) == place(3)


def test_what_a_kill_left_behind_is_not_a_checkpoint_and_is_removed(tmp_path):
    _, _, path = saved(tmp_path)
    shutil.copytree(path, tmp_path / ".step-00000009.tmp")
    assert checkpoint.found(tmp_path) == [path]
    checkpoint.clean(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_shortened_state_is_refused(tmp_path):
    _, _, path = saved(tmp_path)
    data = (path / "state.pt").read_bytes()
    (path / "state.pt").write_bytes(data[:-1])
    with pytest.raises(ValueError, match=rf"state.pt is \(1, {len(data) - 1}, .*delete this folder to go on"):
        checkpoint.load(path)


def test_a_flipped_bit_is_refused(tmp_path):
    _, _, path = saved(tmp_path)
    data = bytearray((path / "state.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (path / "state.pt").write_bytes(data)
    with pytest.raises(ValueError, match="its manifest says"):
        checkpoint.load(path)


def test_an_altered_manifest_is_refused(tmp_path):
    _, _, path = saved(tmp_path)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"samples": 25}))
    with pytest.raises(ValueError, match=r"manifest.json was altered, its state was saved with .*'samples': 24"):
        checkpoint.load(path)


@pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"format": 1}'])
def test_a_missing_or_broken_manifest_is_refused(tmp_path, content):
    _, _, path = saved(tmp_path)
    (path / "manifest.json").unlink()
    if content is not None:
        (path / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        checkpoint.load(path)


def test_loading_runs_no_code(tmp_path):
    """A pickle that would run something is refused, although its digest is right."""

    class Trap:
        def __reduce__(self):
            return (print, ("this must not run",))

    _, _, path = saved(tmp_path)
    torch.save({"model": Trap()}, path / "state.pt")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest |= checkpoint._seal(path / "state.pt")
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"state.pt holds more than tensors and plain values"):
        checkpoint.load(path)
