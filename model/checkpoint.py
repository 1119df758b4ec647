"""Checkpoints that are whole or not there: one folder each, renamed into place, with a digest of every byte.

    checkpoints/step-00000100/__<rank>_0.distcp   weights and moments, each process its shards
    checkpoints/step-00000100/.metadata           which tensor lies where; PyTorch's distributed checkpoint
    checkpoints/step-00000100/manifest.json       sha256 and size of these, step, samples, what the run depends on

It is read at any world size. It holds tensors and plain values only: loading one never runs code.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn

from model import parallel
from roots import whole_file

MANIFEST = "manifest.json"
_FORMAT = 2
_MOMENTS = ("exp_avg", "exp_avg_sq")
_ADVICE = "it was altered or the disk failed; delete this folder to go on from the one before it"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a run stands and what its numbers depend on.

    step, samples  done so far
    config         the model's shape, as a dictionary
    options        of the run, as a dictionary
    data           digests of the shards, the mix and the tokenizer
    machine        torch version, device, processes and threads; another one may round differently
    """

    step: int
    samples: int
    config: dict[str, Any]
    options: dict[str, Any]
    data: dict[str, Any]
    machine: dict[str, Any]


def save(
    folder: Path,
    place: Place,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    keep: int,
    where: parallel.World,
) -> Path:
    """Write a checkpoint, then remove all but the newest `keep`. All processes call it.

    A kill or a full disk at any moment leaves the earlier checkpoints and at most a `.tmp` folder, which
    `clean` removes.
    raises  OSError where the disk refuses
    """
    final = folder / f"step-{place.step:08d}"
    temporary = folder / f".{final.name}.tmp"
    if where.first:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    where.wait()
    _write(_tensors(model, optimizer, place.step), temporary, where)
    seals = _seals(temporary, where)
    if where.first:
        content = {"format": _FORMAT, "files": seals, **dataclasses.asdict(place)}
        with (temporary / MANIFEST).open("w", encoding="utf-8") as text:
            json.dump({**content, "seal": _digest(content)}, text, indent=1, sort_keys=True)
            text.flush()
            os.fsync(text.fileno())
        whole_file.sync_folder(temporary)
        if final.exists():  # a step done again: the older checkpoints cover the moment in between
            _remove(final)
        temporary.rename(final)
        whole_file.sync_folder(folder)
        for old in found(folder)[:-keep]:
            _remove(old)
    where.wait()
    return final


def _write(state: dict[str, Tensor], folder: Path, where: parallel.World) -> None:
    try:
        with warnings.catch_warnings():  # torch tells that one process is alone, which is no news
            warnings.simplefilter("ignore", UserWarning)
            dcp.save(state, storage_writer=dcp.FileSystemWriter(folder), no_dist=where.size == 1)
    except dcp.api.CheckpointException as error:  # torch wraps what the disk said
        causes = [cause for cause, _ in error.failures.values()]
        raise OSError(f"{folder}: {causes[0]}; the checkpoint before it is whole, make room and go on") from error


def _tensors(model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> dict[str, Tensor]:
    """Weights and moments by name; moments that are not there yet become zeros."""
    tensors = {}
    for name, parameter in model.named_parameters():
        state = optimizer.state[parameter]
        if not state:
            state["step"] = torch.tensor(float(step), device=parameter.device)
            state |= {moment: torch.zeros_like(parameter) for moment in _MOMENTS}
        tensors[f"model.{name}"] = parameter.detach()
        tensors |= {f"{moment}.{name}": state[moment] for moment in _MOMENTS}
    return tensors


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


def manifest(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint. Raises ValueError where it is missing, altered or of another format."""
    try:
        found = json.loads((path / MANIFEST).read_text("utf-8"))
        seal, version = found.pop("seal"), found["format"]
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path / MANIFEST}: not the manifest of a checkpoint ({error}); {_ADVICE}") from error
    if version != _FORMAT:
        raise ValueError(f"{path / MANIFEST}: format {version}, this version reads {_FORMAT}; train again")
    if seal != _digest(found):
        raise ValueError(f"{path / MANIFEST}: its seal is {seal}, its content gives {_digest(found)}; {_ADVICE}")
    return found


def describe(path: Path) -> Place:
    """Where a checkpoint stands, once its files are known to be whole.

    raises  ValueError naming the file that is missing, shortened or altered
    """
    found = manifest(path)
    for name, expected in found["files"].items():
        real = _seal(path / name) if (path / name).is_file() else "missing"
        if real != expected:
            raise ValueError(f"{path / name}: is {real}, its manifest says {expected}; {_ADVICE}")
    return Place(**{field.name: found[field.name] for field in dataclasses.fields(Place)})


def load(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, where: parallel.World) -> Place:
    """Put a checkpoint into a model and its optimizer, whatever the number of processes that saved it.

    raises  like `describe`; ValueError for weights of another shape
    """
    place = describe(path)
    _read(_tensors(model, optimizer, place.step), path, where.size == 1)
    for state in optimizer.state.values():
        state["step"].fill_(place.step)
    return place


def weights(path: Path, model: nn.Module) -> None:
    """Put the weights of a described checkpoint into a model of one process, without an optimizer."""
    _read({f"model.{name}": parameter.detach() for name, parameter in model.named_parameters()}, path, True)


def _read(state: dict[str, Tensor], path: Path, alone: bool) -> None:
    reader = _Reader(path)
    stored = reader.read_metadata().state_dict_metadata
    for name, tensor in state.items():
        size = getattr(stored.get(name), "size", None)
        if size != tensor.size():
            raise ValueError(f"{path}: {name} is {size}, the model has {tensor.size()}; it is of another model")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dcp.load(state, storage_reader=reader, no_dist=alone)


_KNOWN = {
    *(
        ("torch.distributed.checkpoint.metadata", name)
        for name in (
            "Metadata",
            "TensorStorageMetadata",
            "TensorProperties",
            "ChunkStorageMetadata",
            "MetadataIndex",
            "StorageMeta",
            "_MEM_FORMAT_ENCODING",
        )
    ),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.serialization", "_get_layout"),
    ("torch", "Size"),
    ("torch", "float32"),
    ("pathlib", "PosixPath"),
    ("pathlib._local", "PosixPath"),
}


class _Unpickler(pickle.Unpickler):
    """Reads the metadata's own classes and nothing that could run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)


class _Reader(dcp.FileSystemReader):
    def read_metadata(self, *args: Any, **kwargs: Any) -> dcp.Metadata:
        path = Path(self.path) / ".metadata"
        try:
            with path.open("rb") as file:
                metadata = _Unpickler(file).load()
        except pickle.UnpicklingError as error:
            raise ValueError(f"{path}: holds more than a checkpoint's own classes ({error}); {_ADVICE}") from error
        return metadata


def _seals(folder: Path, where: parallel.World) -> dict[str, dict[str, Any]]:
    """Seals of all files, each process its own; the first process also the metadata."""
    mine = sorted(folder.glob(f"__{where.rank}_*")) + ([folder / ".metadata"] if where.first else [])
    seals = {path.name: _seal(path) for path in mine}
    if where.size == 1:
        return seals
    everyones: list[dict[str, Any]] = [{} for _ in range(where.size)]
    dist.all_gather_object(everyones, seals)
    return {name: seal for part in everyones for name, seal in part.items()}


def _seal(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
