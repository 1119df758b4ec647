"""The real DataflowRunner against a local service that runs the staged job in SDK workers with only our wheel."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from pipelines import conductor, manifest, path, recipe, run, runner, stage, storage, verify, workers

DEPLOY = Path(__file__).parents[2] / "deploy" / "dataflow"


def tree(output: storage.Place) -> dict[str, str]:
    return {
        storage.relative(file, output): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in storage.files(output)
        if file.name not in ("log.jsonl", ".lock")
    }


@pytest.fixture(scope="module")
def local(gcs: str, small: Path, small_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> stage.Context:
    """The same input, from the same bucket, run on this machine."""
    for file in storage.files(small):
        storage.write(storage.at(f"{gcs}/flow/in/{storage.relative(file, small)}"), file.read_bytes())
    context = stage.Context(tmp_path_factory.mktemp("local") / "out", _recipe(small_recipe, gcs))
    run.run(context, "redact", runner.Engine(), lambda progress: None)
    return context


def _recipe(file: Path, gcs: str) -> recipe.Recipe:
    return recipe.load(file, [f"sources.folder={gcs}/flow/in"])


@pytest.mark.parametrize("until", ["ingest", pytest.param("redact", marks=pytest.mark.slow)])
def test_a_run_on_dataflow_ends_with_the_local_runs_bytes_and_counts(
    until: str, service: tuple[Any, list[str]], gcs: str, small_recipe: Path, local: stage.Context, wheel: Path
) -> None:
    fake, options = service
    engine = runner.Engine(beam_options=(*options, f"--extra_package={wheel}", "--job_name=small"))
    context = stage.Context(storage.at(f"{gcs}/flow/out"), _recipe(small_recipe, gcs))
    run.run(context, until, engine, lambda progress: None)
    names = [each.name for each in path.stages(local, until)]
    expected = tree(local.output)
    if until == "ingest":
        expected = {name: digest for name, digest in expected.items() if name.startswith((*names, "recipe", "run"))}
    assert tree(context.output) == expected
    assert list(verify.problems(context.output)) == []
    assert {job["state"] for job in fake.jobs.values()} == {"JOB_STATE_DONE"}
    assert [job["name"].rpartition("-")[0] for job in fake.jobs.values()] == [
        "small-" + name.replace("/", "-") for name in names
    ]
    for name, job in zip(names, fake.jobs.values(), strict=True):
        counts = manifest.total(part.counts for part in local.manifests(name))
        told = {c["name"]: c["value"] for c in job["counters"] if c["namespace"] == name}
        assert told == {"documents_in": counts.documents_in, "kept": counts.kept}
        assert job["graph_bytes"] < 1_000_000
    before = len(fake.jobs)
    run.run(context, until, engine, lambda progress: None)
    assert len(fake.jobs) == before  # nothing is left to do


def test_workers_without_the_package_fail_the_job_and_the_stage_says_so(
    service: tuple[Any, list[str]], gcs: str, small_recipe: Path, local: stage.Context, tmp_path: Path
) -> None:
    fake, options = service
    (tmp_path / "other" / "empty").mkdir(parents=True)
    (tmp_path / "other" / "empty" / "__init__.py").touch()
    (tmp_path / "other" / "pyproject.toml").write_text('[project]\nname = "other"\nversion = "1"\n')
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(tmp_path)]
    subprocess.run([*pip, str(tmp_path / "other")], check=True)
    engine = runner.Engine(beam_options=(*options, f"--extra_package={next(tmp_path.glob('*.whl'))}"))
    context = stage.Context(storage.at(f"{gcs}/flow/without"), _recipe(small_recipe, gcs))
    with pytest.raises(
        stage.StageFailed, match=r"stage documents: DataflowRuntimeException: .*No module named 'pipelines'"
    ):
        run.run(context, "ingest", engine, lambda progress: None)
    assert [job["state"] for job in fake.jobs.values()] == ["JOB_STATE_FAILED"]


def test_a_task_that_fails_on_a_worker_is_named(
    service: tuple[Any, list[str]], gcs: str, small_recipe: Path, local: stage.Context, wheel: Path
) -> None:
    _, options = service
    engine = runner.Engine(beam_options=(*options, f"--extra_package={wheel}"))
    storage.write(storage.at(f"{gcs}/flow/bad/lm_en_cut/a.parquet"), b"no parquet at all")
    context = stage.Context(
        storage.at(f"{gcs}/flow/failing"), recipe.load(small_recipe, [f"sources.folder={gcs}/flow/bad"])
    )
    forgotten = storage.at(f"{gcs}/flow/bad/lm_en_cut/a.parquet")
    plan = run.standing(path.find("documents"), context)
    storage.write(context.output / path.RECIPE, recipe.dump(context.recipe).encode())
    stage.write_plan(plan.of, plan.tasks, context)
    forgotten.unlink()  # between the plan and the work
    with (
        workers.Pool(1) as pool,
        pytest.raises(stage.StageFailed, match=r"task lm_en_cut/part-00000-of-00001: FileNotFoundError: .*a\.parquet"),
    ):
        runner.run(plan.of, plan.pending, context, engine, pool, 0, lambda: None)


@pytest.mark.parametrize(
    ("output", "options", "fault"),
    [
        ("out", ["--runner=DataflowRunner"], r"--output .*out: Dataflow's workers cannot write to this machine"),
        ("gs://roots/x", ["--runner", "DataflowRunner"], r"the workers need this package; give --sdk_container_image"),
        ("out", ["--runner=DaskRunner"], r"DaskRunner: refused\. .* loses elements and reports success"),
    ],
)
def test_a_runner_that_could_not_do_it_is_refused(
    output: str, options: list[str], fault: str, small_recipe: Path, gcs: str
) -> None:
    context = stage.Context(storage.at(output), recipe.load(small_recipe))
    with pytest.raises(ValueError, match=fault):
        run.run(context, "ingest", runner.Engine(beam_options=tuple(options)), lambda progress: None)


@pytest.mark.parametrize("tasks", [10, 100_000, 2_000_000])
def test_a_jobs_graph_stays_small_however_many_tasks_are_left(tasks: int, small_recipe: Path) -> None:
    context = stage.Context(storage.at("gs://roots/out"), recipe.load(small_recipe))
    left = range(0, tasks, 2)  # the worst: every second task is done
    job = runner._Job(path.find("clean"), left, context, runner.Engine(), None)
    assert len(job.pipeline().to_runner_api().SerializeToString()) < 1_000_000
    assert set(left) <= {number for span in job._spans for number in range(*span)}


@pytest.mark.slow
def test_a_template_job_conducts_the_whole_run(
    service: tuple[Any, list[str]], gcs: str, small_recipe: Path, local: stage.Context, wheel: Path
) -> None:
    fake, options = service
    output = f"{gcs}/flow/conducted"
    of_run = [f"--recipe={small_recipe}", f"--output={output}", f"--input={gcs}/flow/in", "--until=ingest"]
    conductor.main([*of_run, *options, f"--extra_package={wheel}", "--job_name=conductor"])
    states = [(job["name"].rpartition("-")[0] or job["name"], job["state"]) for job in fake.jobs.values()]
    assert states == [("conductor", "JOB_STATE_DONE"), ("roots-documents", "JOB_STATE_DONE")]
    expected = {name: digest for name, digest in tree(local.output).items() if name.startswith("documents/")}
    assert {name: digest for name, digest in tree(storage.at(output)).items() if name in expected} == expected


def test_the_template_is_metadata_as_the_service_defines_them() -> None:
    types = pytest.importorskip("google.cloud.dataflow_v1beta3")
    template = json.loads((DEPLOY / "template.json").read_text())
    parsed = json_format.ParseDict(template, types.TemplateMetadata.pb()())  # an unknown field is an error
    assert all(parameter.name and parameter.label and parameter.help_text for parameter in parsed.parameters)
    assert all(re.compile(pattern) for parameter in parsed.parameters for pattern in parameter.regexes)


def test_the_image_has_a_beam_that_the_package_allows_and_the_boot_program_of_the_same() -> None:
    image = (DEPLOY / "Dockerfile").read_text()
    beam = re.search(r"ARG BEAM=(\S+)", image)[1]
    project = tomllib.loads((DEPLOY.parents[1] / "pyproject.toml").read_text())["project"]
    asked = [Requirement(each) for each in project["dependencies"]]
    assert [each.specifier.contains(beam) for each in asked if each.name == "apache-beam"] == [True]
    assert SpecifierSet(project["requires-python"]).contains(re.search(r"ARG PYTHON=(\S+)", image)[1])
    assert "FROM apache/beam_python${PYTHON}_sdk:${BEAM} AS beam" in image
    assert image.rstrip().endswith('ENTRYPOINT ["/opt/apache/beam/boot"]')


def test_the_template_names_what_the_conductor_takes() -> None:
    told = {parameter["name"] for parameter in json.loads((DEPLOY / "template.json").read_text())["parameters"]}
    own = set(re.findall(r'"--(\w+)"', inspect.getsource(conductor.main))) - {"runner", "set", "template_location"}
    assert told - {"sdk_container_image"} == own
