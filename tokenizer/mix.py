"""How much of each token shard a model is trained on: weights, and the file that says so.

A mix file is one line of quoted groups, each a name and its parts; a part is a weight, the share of a shard's
documents from and to, in file order, and the prefix of the shard:

    "train: 0.75 0:0.950 en/wiki, 0.25 0:0.950 sw/news"
    "valid: 0.75 0.950:1.0 en/wiki, 0.25 0.950:1.0 sw/news" "valid_en: 1 0.950:1.0 en/wiki" ...

source  bigscience-workshop/bigscience, data/catalogue/load_ratios_meg_ds_format.py
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from roots import whole_file

WEIGHT_SUM_TOLERANCE = 1e-6  # weights are written with all their digits; by hand they are often rounded

_NUMBER = r"(\d+(?:\.\d+)?(?:e-?\d+)?)"
_GROUP = re.compile(r'"([A-Za-z0-9_.-]+): ([^"\n]*)"')
_PART = re.compile(rf'{_NUMBER} {_NUMBER}:{_NUMBER} ([^\s",]+)', re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """The documents start <= i / documents < end of a shard, drawn with a weight in 0..1."""

    weight: float
    start: float
    end: float
    prefix: str

    def documents(self, count: int) -> range:
        """The documents of a shard of `count`: start and end rounded, halves to the even number."""
        return range(round(self.start * count), round(self.end * count))


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Parts under one name, whose weights sum to 1."""

    name: str
    parts: tuple[Part, ...]


def weights(tokens: Mapping[str, int]) -> dict[str, float]:
    """Each shard's share of all tokens, by prefix, in the order given; a shard without tokens is left out.

    So nothing is drawn more often than it stands in the corpus. Weights sum to 1.
    raises  ValueError for a negative count, or no token at all
    """
    for prefix, count in tokens.items():
        if count < 0:
            raise ValueError(f"mix.weights: {prefix} has {count} tokens; counts come from a shard's manifest")
    total = sum(tokens.values())
    if total == 0:
        raise ValueError(f"mix.weights: no tokens in {len(tokens)} shards; nothing can be drawn")
    return {prefix: count / total for prefix, count in tokens.items() if count}


def train(shares: Mapping[str, float], train_ratio: float) -> list[Group]:
    """The group of a training mix file: the first `train_ratio` of each shard's documents, by weight."""
    parts = (Part(weight=w, start=0.0, end=train_ratio, prefix=prefix) for prefix, w in shares.items())
    return [Group(name="train", parts=tuple(parts))]


def valid(shares: Mapping[str, float], train_ratio: float) -> list[Group]:
    """The groups of a validation mix file: what `train` leaves, all together and then folder by folder.

    A shard's group is `valid_` and the name of its folder (of the shard itself where it lies in none).
    Departure: several shards of a folder share the group, by weight, where the original would name it twice.
    """
    parts = [Part(weight=w, start=train_ratio, end=1.0, prefix=prefix) for prefix, w in shares.items()]
    folders: dict[str, list[Part]] = {}
    for part in parts:
        folders.setdefault(PurePosixPath(part.prefix).parent.name or part.prefix, []).append(part)
    groups = [Group(name="valid", parts=tuple(parts))]
    for folder, members in folders.items():
        total = math.fsum(part.weight for part in members)
        scaled = (dataclasses.replace(part, weight=part.weight / total) for part in members)
        groups.append(Group(name=f"valid_{folder}", parts=tuple(scaled)))
    return groups


def render(groups: Sequence[Group]) -> str:
    """The line of a mix file, line feed included. Raises ValueError for groups that `parse` would refuse."""
    line = " ".join(f'"{group.name}: {", ".join(map(_part, group.parts))}"' for group in groups) + "\n"
    if (parsed := parse(line, "mix.render")) != list(groups):
        raise ValueError(f"mix.render: start and end take three decimals; {groups} would be read as {parsed}")
    return line


def write(path: Path, groups: Sequence[Group]) -> None:
    """Write a mix file, whole or not at all."""
    whole_file.write(path, render(groups).encode())


def read(path: Path) -> list[Group]:
    """The groups of a mix file. Raises FileNotFoundError, or ValueError naming file, group and part."""
    return parse(path.read_text(encoding="utf-8"), str(path))


def parse(line: str, where: str) -> list[Group]:
    """The groups of a mix file's line; `where` is named in errors."""
    groups = [_parse_group(name, body, where) for name, body in _GROUP.findall(line)]
    if not groups or _GROUP.sub("", line).strip(" \n") or line.count("\n") > 1:
        raise ValueError(f'{where}: expected a line of "name: weight start:end prefix, ..."; got {line!r}')
    repeated = [name for name, times in Counter(group.name for group in groups).items() if times > 1]
    if repeated:
        raise ValueError(f"{where}: group {repeated[0]!r} comes more than once; give each group its own name")
    return groups


def _parse_group(name: str, body: str, where: str) -> Group:
    parts = tuple(_parse_part(part, f"{where}, group {name!r}") for part in body.split(", "))
    total = math.fsum(part.weight for part in parts)
    if abs(total - 1) > WEIGHT_SUM_TOLERANCE:
        raise ValueError(f"{where}, group {name!r}: weights sum to {total}, expected 1; divide each by that")
    return Group(name=name, parts=parts)


def _parse_part(text: str, where: str) -> Part:
    found = _PART.fullmatch(text)
    weight, start, end = map(float, found.groups()[:3]) if found else (0.0, 0.0, 0.0)
    if not found or not 0 < weight <= 1 or not 0 <= start < end <= 1:
        raise ValueError(
            f"{where}: {text!r} is not 'weight start:end prefix' with 0 < weight <= 1, 0 <= start < end <= 1 "
            "and a prefix without spaces, commas and quotes"
        )
    return Part(weight=weight, start=start, end=end, prefix=found[4])


def _part(part: Part) -> str:
    weight = "1" if part.weight == 1 else repr(part.weight)
    return f"{weight} {_share(part.start)}:{_share(part.end)} {part.prefix}"


def _share(value: float) -> str:
    """As the original writes them: 0, 1.0, and three decimals between."""
    return {0.0: "0", 1.0: "1.0"}.get(value, f"{value:.3f}")
