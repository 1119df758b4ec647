"""Checkpoints that are whole or not there: one folder each, renamed into place, with a digest of every byte.

    checkpoints/step-00000100/state.pt        model, optimizer and random states, as tensors and plain values
    checkpoints/step-00000100/manifest.json   sha256 and size of state.pt, step, samples, and what the run
    depends on

A checkpoint is read with `weights_only`: loading one never runs code.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch

STATE, MANIFEST = "state.pt", "manifest.json"
_FORMAT = 1


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a run stands and what its numbers depend on.

    step, samples  done so far
    config         the model's shape, as a dictionary
    options        of the run, as a dictionary
    data           digest of the shards, the mix and the tokenizer
    machine        torch version, device and thread count; another one may round differently
    """

    step: int
    samples: int
    config: dict[str, Any]
    options: dict[str, Any]
    data: str
    machine: dict[str, Any]


def save(folder: Path, place: Place, model: torch.nn.Module, optimizer: torch.optim.Optimizer, keep: int) -> Path:
    """Write a checkpoint, then remove all but the newest `keep`.

    A kill at any moment leaves the earlier checkpoints and at most a `.tmp` folder, which `clean` removes.
    """
    final = folder / f"step-{place.step:08d}"
    temporary = folder / f".{final.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    state = {
        "place": dataclasses.asdict(place),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": _random_states(),
    }
    with (temporary / STATE).open("wb") as file:
        torch.save(state, file)
        _sync(file)
    manifest = {"format": _FORMAT, **dataclasses.asdict(place), **_seal(temporary / STATE)}
    with (temporary / MANIFEST).open("w", encoding="utf-8") as text:
        json.dump(manifest, text, indent=1, sort_keys=True)
        _sync(text)
    _sync_folder(temporary)
    if final.exists():  # a step done again: the older checkpoints cover the moment in between
        _remove(final)
    temporary.rename(final)
    _sync_folder(folder)
    for old in found(folder)[:-keep]:
        _remove(old)
    return final


def _remove(path: Path) -> None:
    """Remove a checkpoint so that a kill leaves no part of it under its name."""
    hidden = path.with_name(f".{path.name}.old.tmp")
    shutil.rmtree(hidden, ignore_errors=True)
    path.rename(hidden)
    shutil.rmtree(hidden)


def found(folder: Path) -> list[Path]:
    """All checkpoints of a run, the oldest first."""
    return sorted(folder.glob("step-*"))


def clean(folder: Path) -> None:
    """Remove what a killed run left half written."""
    for left in folder.glob(".step-*.tmp"):
        shutil.rmtree(left)


def describe(path: Path) -> Place:
    """The manifest of a checkpoint, once its state is known to be whole.

    raises  ValueError for a missing, shortened or altered file
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text("utf-8"))
        fields = {field.name: manifest[field.name] for field in dataclasses.fields(Place)}
        stated = (manifest["format"], manifest["bytes"], manifest["sha256"])
        whole = (_FORMAT, *_seal(path / STATE).values())
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a whole checkpoint ({error}); {_ADVICE}") from error
    if stated != whole:
        raise ValueError(f"{path}: {STATE} is {whole}, its manifest says {stated}; {_ADVICE}")
    return Place(**fields)


_ADVICE = "it was altered or the disk failed; delete this folder to go on from the one before it"


def load(path: Path) -> tuple[Place, dict[str, Any]]:
    """A checkpoint's manifest and its state, on the CPU.

    raises  like `describe`; ValueError for a state that holds other objects, or belongs to another manifest
    """
    place = describe(path)
    try:
        state = torch.load(path / STATE, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: {STATE} holds more than tensors and plain values; {_ADVICE}") from error
    if state["place"] != dataclasses.asdict(place):
        raise ValueError(f"{path}: {MANIFEST} was altered, its state was saved with {state['place']}; {_ADVICE}")
    return place, state


def restore(state: dict[str, Any], model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put a loaded state into a model and an optimizer of the same shape, and into torch's random
    generators."""
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"]["cpu"])
    if torch.cuda.is_available() and state["random"]["cuda"]:
        torch.cuda.set_rng_state_all(state["random"]["cuda"])


def _random_states() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _seal(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
