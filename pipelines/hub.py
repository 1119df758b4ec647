"""Data sets of the Hugging Face hub, or local folders of one, through the `datasets` library, streamed.

Nothing that a data set brings along is executed. The extra `hub` installs the library. A hub elsewhere is named by the
library's own variable HF_ENDPOINT, a token by HF_TOKEN or `hf auth login`. A request that fails is tried again by the
library; what fails in the end fails the stage, so that the same command again goes on with it.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines import manifest, recipe, stage

CLOSED = ("GatedRepoError", "RepositoryNotFoundError", "RevisionNotFoundError", "DatasetNotFoundError")


def is_local(options: recipe.SourceOptions) -> bool:
    return Path(options.dataset).is_dir()


def pin(options: recipe.SourceOptions) -> str:
    """What identifies the data: the digest of a local folder's files, or the commit of the hub's data set."""
    if is_local(options):
        folder = Path(options.dataset)
        return manifest.digest(manifest.files_of(folder, folder))
    return hashlib.sha256(f"{options.dataset}@{options.revision}".encode()).hexdigest()


def newest_commit(name: str) -> str:
    """The commit that the hub's `main` of a data set stands at.

    raises  ValueError where the hub does not say
    """
    hub_library = _library(name, "huggingface_hub")
    with _told(name):
        return str(hub_library.HfApi().dataset_info(name).sha)


def shards(options: recipe.SourceOptions) -> int:
    """In how many pieces the data set can be read side by side."""
    return int(_load(options).num_shards)


def open_shard(options: recipe.SourceOptions, path: object, index: int, count: int) -> Iterator[dict[str, Any]]:
    """The records of one shard, in the data set's own order.

    raises  ValueError or stage.StageFailed where the hub does not give them all; a local folder's own errors
    """
    data = _load(options)
    if count > 1:
        data = data.shard(num_shards=count, index=index)
    if is_local(options):
        yield from data
        return
    with _told(options.dataset):
        yield from data


def _load(options: recipe.SourceOptions) -> Any:
    datasets = _library(options.dataset, "datasets")
    if (Path(options.dataset) / "state.json").is_file():
        return datasets.load_from_disk(options.dataset).to_iterable_dataset()
    if (Path(options.dataset) / "dataset_dict.json").is_file():
        return datasets.load_from_disk(options.dataset)[options.split].to_iterable_dataset()
    with _told(options.dataset):
        return datasets.load_dataset(
            options.dataset,
            options.config or None,
            split=options.split,
            revision=options.revision or None,
            streaming=True,
        )


def _library(name: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(f"data set {name}: reading it needs `pip install 'bloom-roots[hub]'`") from error


@contextmanager
def _told(name: str) -> Iterator[None]:
    """The library's errors, of which there are many kinds (requests, httpx, its own), with what to do."""
    from huggingface_hub import constants

    try:
        yield
    except Exception as error:  # what the libraries below raise differs by version
        said = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
        status = getattr(getattr(error, "response", None), "status_code", None)
        if type(error).__name__ in CLOSED or "gated" in str(error).lower() or status in (401, 403):
            raise ValueError(
                f"data set {name} is gated, or does not exist: accept its conditions at "
                f"{constants.ENDPOINT}/datasets/{name}, then log in with `hf auth login`, or set HF_TOKEN ({said})"
            ) from error
        raise stage.StageFailed(
            f"data set {name}: the hub at {constants.ENDPOINT} did not give all of it ({said}); run the same command "
            "again, or give the data as a local folder (--set sources.folder=DIR)"
        ) from error
