"""The shape of the distribution. Runs in the checkout and, from .ci/run, against the installed wheel."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from importlib import metadata, resources
from pathlib import Path

import pytest

PACKAGES = ("roots", "tokenizer", "model", "pipelines")
# who may import whom: each package and those to its left in the list of the right-hand side
ALLOWED = {
    "roots": {"roots"},
    "tokenizer": {"roots", "tokenizer"},
    "model": {"roots", "tokenizer", "model"},
    "pipelines": {"roots", "tokenizer", "model", "pipelines"},
}
HEAVY = {
    "roots": {"apache_beam", "torch", "datasets"},
    "tokenizer": {"apache_beam", "torch", "datasets"},
    "pipelines": {"torch"},
}


def _folder(package: str) -> Path:
    return Path(str(resources.files(package)))


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_the_distribution_installs_the_four_packages_and_nothing_else() -> None:
    # a checkout has an egg-info and an editable installation a RECORD of its finder: neither is an installed wheel
    records = [found.read_text("RECORD") or "" for found in metadata.distributions(name="bloom-roots")]
    installed = [record for record in records if "\nroots/__init__.py," in f"\n{record}"]
    if not installed:
        pytest.skip("bloom-roots is not installed from a wheel here")
    names = [line.split(",")[0] for line in installed[0].splitlines()]
    assert {name.split("/")[0] for name in names if name.endswith(".py") and "/" in name} == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_in_one_direction(package: str) -> None:
    for path in _folder(package).rglob("*.py"):
        assert _imports(path) & set(PACKAGES) <= ALLOWED[package], path
        assert not _imports(path) & HEAVY.get(package, set()) or path.name == "hub.py", path


def test_pipelines_import_of_the_model_is_its_command_line_alone() -> None:
    with_model = {path.name for path in _folder("pipelines").rglob("*.py") if "model" in _imports(path)}
    assert with_model == {"cli.py"}


@pytest.mark.parametrize("name", ["roots.sample", "roots.tables", "pipelines.recipes", "roots.models"])
def test_data_travel_with_the_package(name: str) -> None:
    assert any(not path.name.endswith(".py") for path in resources.files(name).iterdir())


def test_no_module_has_a_drawers_name() -> None:
    names = {path.stem for package in PACKAGES for path in _folder(package).rglob("*.py")}
    assert not names & {"utils", "helpers", "common", "misc", "main", "definitions", "abbrev"}
    assert not (_folder("tokenizer") / "tokenizer.py").exists()


def test_a_worker_never_imports_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed here")
    code = "import sys, pipelines.runner; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
