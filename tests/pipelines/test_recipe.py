from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import recipe

FOLDER = "sources.folder=data"


@pytest.mark.parametrize("name", ["sample.toml", "folder.toml", "roots.toml", "tools"])
def test_a_shipped_recipe_comes_back_from_its_dump(name: str, tmp_path: Path) -> None:
    found = recipe.load(Path(name), [] if name != "folder.toml" else [FOLDER])
    (tmp_path / "dump.toml").write_text(recipe.dump(found), encoding="utf-8")
    assert recipe.load(tmp_path / "dump.toml") == found


def put(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "mine.toml"
    file.write_text('base = "base.toml"\nname = "mine"\n' + text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[run]\ntask_byte = 5\n",
            r"mine\.toml line 4: run\.task_byte: unknown key; did you mean 'task_bytes'\?",
        ),
        ("[runs]\n", r"mine\.toml line 3: runs: unknown key; did you mean 'run'\?"),
        ("[run]\nzzz = 5\n", r"run\.zzz: unknown key; known here: task_bytes, removed_sample"),
        ('[run]\ntask_bytes = "5"\n', r"line 4: run\.task_bytes: expected a whole number, got '5' \(str\)"),
        ("[run]\ntask_bytes = true\n", r"run\.task_bytes: expected a whole number, got True \(bool\)"),
        ("[dedup]\nthreshold = 1.5\n", r"line 4: dedup\.threshold: must be above 0, at most 1, got 1\.5"),
        (
            "[ingest]\nrecord_bytes_max = 0\n",
            r"ingest\.record_bytes_max: must be from 1 to 1,073,741,824, got 0",
        ),
        ("[tokenizer]\nvocab_size = 100\n", r"tokenizer\.vocab_size: must be at least 260"),
        (
            '[language]\nmodel = "m.bin"\nsha256 = ""\n',
            r"language\.sha256: must be set where a model is named",
        ),
        (
            "[quality.limits.en]\nword_min = 5\n",
            r"line 4: quality\.limits\.en\.word_min: unknown key; did you mean",
        ),
        ('[clean.steps]\n"lm_*" = "dedup_document"\n', r"line 4: clean\.steps\.lm_\*: expected a list"),
        ("[clean]\nsteps = 5\n", r"clean\.steps: expected a table, got 5 \(int\)"),
        ("= 5\n", r"mine\.toml: not valid TOML: "),
    ],
    ids=lambda value: "" if "\n" in value else value[:24],
)
def test_a_fault_is_told_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(recipe.RecipeError, match=message):
        recipe.load(put(tmp_path, text), [FOLDER])


def test_a_recipe_without_sources_says_how_to_name_them(tmp_path: Path) -> None:
    with pytest.raises(recipe.RecipeError, match=r"sources: names no documents; set sources\.folder"):
        recipe.load(put(tmp_path, ""))


def test_a_recipe_that_is_not_there_names_the_shipped_ones() -> None:
    with pytest.raises(recipe.RecipeError, match=r"no such recipe; give a file, or one of the shipped .*sample\.toml"):
        recipe.load(Path("nowhere.toml"))


def test_an_override_is_checked_like_the_recipe(tmp_path: Path) -> None:
    file = put(tmp_path, "")
    assert recipe.load(file, [FOLDER, "dedup.threshold=0.7"]).dedup.threshold == 0.7
    assert recipe.load(file, ["sources.folder=a folder"]).sources.folder == str(Path.cwd() / "a folder")
    with pytest.raises(recipe.RecipeError, match=r"dedup\.treshold: unknown key; did you mean 'threshold'"):
        recipe.load(file, [FOLDER, "dedup.treshold=0.7"])
    with pytest.raises(recipe.RecipeError, match=r"--set dedup: expected TABLE\.KEY=VALUE"):
        recipe.load(file, ["dedup"])
    with pytest.raises(recipe.RecipeError, match="name is not a table of the recipe"):
        recipe.load(file, ["name.x=1"])


def test_a_required_value_is_missed(tmp_path: Path) -> None:
    (tmp_path / "bare.toml").write_text('name = "bare"\n[run]\ntask_bytes = 1\n')
    with pytest.raises(recipe.RecipeError, match=r"clean, dedup, ingest, .* is missing; set it, or start from a base"):
        recipe.load(tmp_path / "bare.toml")


def test_paths_are_relative_to_the_recipe(tmp_path: Path) -> None:
    found = recipe.load(put(tmp_path, '[sources]\nfolder = "data"\n'))
    assert found.sources.folder == str(tmp_path / "data")


def test_the_first_pattern_that_fits_counts_and_a_name_comes_before_patterns() -> None:
    table = {"lm_code_*": 1, "lm_*": 2, "lm_en_x": 3}
    assert [recipe.matching(table, name) for name in ("lm_code_c", "lm_fr_y", "lm_en_x", "other")] == [
        1,
        2,
        3,
        None,
    ]


def test_a_step_that_does_not_exist_is_told_before_anything_runs(tmp_path: Path) -> None:
    file = put(tmp_path, '[clean.steps]\n"lm_*" = ["dedup_document", "dedup_templates_soft"]\n')
    with pytest.raises(recipe.RecipeError, match=r"line \d+: clean\.steps\.lm_\*: .*nearest .*'dedup_template_soft'"):
        recipe.load(file, [FOLDER])
