"""Data sets of the Hugging Face hub, or local folders of one, through the `datasets` library, streamed.

Nothing that a data set brings along is executed. The extra `hub` installs the library.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines import manifest, recipe


def is_local(options: recipe.SourceOptions) -> bool:
    return Path(options.dataset).is_dir()


def pin(options: recipe.SourceOptions) -> str:
    """What identifies the data: the digest of a local folder's files, or the commit of the hub's data set.

    raises  ValueError where the hub has to be asked for its newest commit and does not answer
    """
    if is_local(options):
        folder = Path(options.dataset)
        return manifest.digest(manifest.files_of(folder, folder))
    if options.revision:
        return hashlib.sha256(f"{options.dataset}@{options.revision}".encode()).hexdigest()
    return hashlib.sha256(f"{options.dataset}@{newest_commit(options.dataset)}".encode()).hexdigest()


def newest_commit(name: str) -> str:
    """The commit that the hub's `main` of a data set stands at."""
    from huggingface_hub import HfApi

    try:
        info = HfApi().dataset_info(name)
    except Exception as error:  # requests, httpx, httpx2: the library's transport differs by version
        raise ValueError(
            f"data set {name}: the hub did not say which commit is the newest ({type(error).__name__}: {error}); "
            "set sources.options.NAME.revision, or give the data as a local folder with sources.folder"
        ) from error
    return str(info.sha)


def shards(options: recipe.SourceOptions) -> int:
    """In how many pieces the data set can be read side by side."""
    return int(_load(options).num_shards)


def open_shard(options: recipe.SourceOptions, path: Path, index: int, count: int) -> Iterator[dict[str, Any]]:
    """The records of one shard, in the data set's own order."""
    data = _load(options)
    if count > 1:
        data = data.shard(num_shards=count, index=index)
    return iter(data)


def _load(options: recipe.SourceOptions) -> Any:
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise ValueError(f"data set {options.dataset}: reading it needs `pip install 'bloom-roots[hub]'`") from error
    saved = Path(options.dataset) / "state.json"
    if saved.is_file():
        return datasets.load_from_disk(options.dataset).to_iterable_dataset()
    if (Path(options.dataset) / "dataset_dict.json").is_file():
        return datasets.load_from_disk(options.dataset)[options.split].to_iterable_dataset()
    return datasets.load_dataset(
        options.dataset,
        options.config or None,
        split=options.split,
        revision=options.revision or None,
        streaming=True,
    )
