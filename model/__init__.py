"""A compact BLOOM in PyTorch: model, training, evaluation, export."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["Bloom", "BloomConfig", "load", "save"]

_HOME = {"Bloom": "bloom", "BloomConfig": "config", "load": "export", "save": "export"}


def __getattr__(name: str) -> Any:
    """The names above, from their modules when first asked for: `model.cli` is read without torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'model' has no attribute '{name}'; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"model.{_HOME[name]}"), name)
