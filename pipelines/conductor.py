"""A whole run as one job with one element: the command itself, on a worker. What a flex template starts.

A template makes one job of a program, a run is a job for each stage; so the template's job conducts the others. If its
worker is lost, the service does the element again, which is the same command again: it resumes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

OWN = ("--template_location", "--job_name")  # options of the conducting job that the stages' jobs must not have


class Conduct(beam.DoFn):
    """Runs `roots run` with the element as its arguments, and passes on what it says."""

    def process(self, arguments: Sequence[str]) -> Iterator[str]:
        call = [sys.executable, "-m", "pipelines", "run", *arguments]
        done = subprocess.run(call, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"roots run ended with {done.returncode}: {done.stderr.strip()[-2_000:]}")
        yield done.stderr


def main(given: Sequence[str] | None = None) -> None:
    """Submit the job. Options that are not its own are Beam's, for this job and for the stages'."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--recipe", required=True, help="name of a shipped recipe, or a file in the worker image")
    parser.add_argument("--output", required=True, help="gs:// folder of the run")
    parser.add_argument("--input", default="", help="gs:// folder of sources: sources.folder")
    parser.add_argument("--until", default="shards", help="last stage")
    own, options = parser.parse_known_args(given)
    if "--runner" not in " ".join(options):
        options.append("--runner=DataflowRunner")
    arguments = [own.recipe, "--output", own.output, "--until", own.until]
    arguments += ["--set", f"sources.folder={own.input}"] if own.input else []
    arguments += [option for option in options if not option.startswith(OWN)]
    pipeline = beam.Pipeline(options=PipelineOptions(options))
    _ = pipeline | "command" >> beam.Create([arguments]) | "conduct" >> beam.ParDo(Conduct())
    result = pipeline.run()
    if not any(option.startswith("--template_location") for option in options):
        result.wait_until_finish()


if __name__ == "__main__":
    main()
