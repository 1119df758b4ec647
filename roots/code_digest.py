"""Digest of our own code: what a stage's key and a compiled kernel's cache rest on."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import re
from importlib import resources
from pathlib import Path

OUR_PACKAGES = ("roots", "tokenizer", "model", "pipelines")
TABLE = re.compile(r"[\w-]+\.\w+")  # a string constant that may name a file of roots/tables


@functools.cache
def of(module: str) -> str:
    """sha256 (hex) of a module's code, of all modules of ours that it imports, and of the tables that they name.

    Comments and layout do not count: the parsed code does. So a change redoes what it can change.
    """
    seen: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen[name], imported = _code(name)
            waiting += imported
    return hashlib.sha256("\n".join(f"{name} {seen[name]}" for name in sorted(seen)).encode()).hexdigest()


@functools.cache
def _code(module: str) -> tuple[str, tuple[str, ...]]:
    """Digest of one module's code and of the tables that it names, and the modules of ours that it imports."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return "", ()
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    found = hashlib.sha256(ast.dump(tree).encode())
    imported: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and TABLE.fullmatch(node.value):
            table = Path(str(resources.files("roots.tables"))) / node.value
            if table.is_file():
                found.update(table.read_bytes())
        for name in _imports(node):
            if name.split(".")[0] in OUR_PACKAGES:
                imported[name] = None
    return found.hexdigest(), tuple(imported)


def _imports(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        return [node.module, *(name for name in names if _is_module(name))]
    return []


def _is_module(name: str) -> bool:
    try:
        return name.split(".")[0] in OUR_PACKAGES and importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
