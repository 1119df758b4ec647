"""The corpus path on growing amounts of text: CPU seconds and memory by size, beside what `roots plan` foretold.

    python -m benchmarks.scale ../shared/corpus 1 2 4 10          gigabytes of text, each a run of its own

The text is that of the folder's documents, in turn, and again until there is enough; in each repetition a word of
its own follows every eighth word, so that no copy is a near duplicate of another. Input and output are removed as soon
as a size is done; sizes are whole repetitions. Time is CPU of the run and its workers, parted over the stages as the
wall's is (which is what `SPEED` in pipelines/estimate.py rests on); memory is the peak of the largest process.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
import zstandard

from pipelines import estimate, ingest, manifest, path, recipe, stage

FILE_BYTES = 256 * 2**20  # text of a file
EIGHTH = re.compile(r"((?:\S{1,40}\s+){8}|\S{40})")  # words, or characters where no spaces part them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of sources lm_<language>_<name> to repeat")
    parser.add_argument("gigabytes", nargs="+", type=float)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--until", default="redact")
    parser.add_argument("--work", type=Path, help="where to work; default: a temporary folder")
    arguments = parser.parse_args()
    print(
        f"{'GB':>6} {'documents':>10} {'CPU s':>8} {'MB/s':>6} {'plan s':>8} {'error':>6} {'MB peak':>8} {'disk GB':>8}"
    )
    sizes, times = [], []
    for gigabytes in arguments.gigabytes:
        with tempfile.TemporaryDirectory(dir=arguments.work) as work:
            row = measured(arguments.folder, gigabytes * 1e9, Path(work), arguments.workers, arguments.until)
        text, documents, cpu, foretold, peak, disk, stages = row
        sizes.append(text)
        times.append(cpu)
        print(
            f"{text / 1e9:>6.2f} {documents:>10,} {cpu:>8.0f} {text / 1e6 / cpu:>6.1f} {foretold:>8.0f} "
            f"{foretold / cpu - 1:>+6.0%} {peak / 1e6:>8,.0f} {disk / 1e9:>8.2f}",
            flush=True,
        )
        print("  MB a CPU second: " + ", ".join(f"{name} {speed:.0f}" for name, speed in stages.items()), flush=True)
    if len(sizes) > 1:
        power = np.polyfit(np.log(sizes), np.log(times), 1)[0]
        print(f"time grows as size to the power of {power:.3f}")


def measured(
    folder: Path, size: float, work: Path, workers: int, until: str
) -> tuple[int, int, float, float, int, int, dict[str, float]]:
    """(bytes of text, documents, CPU s, CPU s that the plan foretold, peak bytes of a process, bytes written, MB/s)."""
    generate(folder, work / "text", size)
    overrides = [f"sources.folder={work / 'text'}", "dedup.removed_share_max=1"]  # repeated text may be copies
    context = stage.Context(work / "out", recipe.load(Path("folder.toml"), overrides))
    foretold = estimate.cpu_seconds(context, until, workers)
    command = [sys.executable, "-m", "pipelines", "run", "folder.toml", "--until", until]
    command += [f"--set={override}" for override in overrides]
    timed = ["-c", MEASURE, *command[1:], "--workers", str(workers), "--output", str(work / "out")]
    told = subprocess.run([sys.executable, *timed], check=True, stdout=subprocess.PIPE, text=True).stdout
    cpu, peak = told.split()
    counts = manifest.total(part.counts for part in context.manifests("documents"))
    disk = sum(file.stat().st_size for file in (work / "out").rglob("*") if file.is_file())
    speeds = {
        group: counts.text_bytes_kept / 1e6 / (float(cpu) * share) for group, share in shares(context).items() if share
    }
    return counts.text_bytes_kept, counts.kept, float(cpu), foretold, int(peak), disk, speeds


def shares(context: stage.Context) -> dict[str, float]:
    """The share of each group of stages in the run's time, from its log."""
    took: dict[str, float] = {}
    for line in (context.output / path.LOG).read_bytes().splitlines():
        entry = orjson.loads(line)
        group = path.group_of(entry["stage"])
        took[group] = took.get(group, 0.0) + entry["seconds"]
    return {group: seconds / sum(took.values()) for group, seconds in took.items()}


MEASURE = """
import resource, subprocess, sys
subprocess.run([sys.executable, *sys.argv[1:]], check=True)
of = resource.getrusage(resource.RUSAGE_CHILDREN)
print(of.ru_utime + of.ru_stime, of.ru_maxrss * 1024)
"""


def generate(folder: Path, target: Path, size: float) -> None:
    """Write about `size` bytes of text, spread over the folder's sources as they are, in files of .jsonl.zst."""
    sources: dict[tuple[str, str], list[str]] = {}
    for source, text in documents(folder):
        sources.setdefault(source, []).append(text)
    whole = sum(len(text.encode()) for texts in sources.values() for text in texts)
    repetitions = max(1, round(size / whole))
    packer = zstandard.ZstdCompressor(level=1)
    for (name, _), texts in sources.items():
        (target / name).mkdir(parents=True)
        with contextlib.ExitStack() as files:
            written = FILE_BYTES
            number = 0
            for repetition in range(repetitions):
                for text in texts:
                    if written >= FILE_BYTES:
                        files.close()
                        part = target / name / f"part-{number:05d}.jsonl.zst"
                        file = files.enter_context(packer.stream_writer(part.open("wb")))
                        out = files.enter_context(io.BufferedWriter(file, 2**20))
                        number, written = number + 1, 0
                    said = EIGHTH.sub(rf"\g<1>{word(repetition)} ", text) if repetition else text
                    written += out.write(orjson.dumps({"text": said}) + b"\n")


def word(number: int) -> str:
    """A word for a number, in letters: cleaning compares documents without their digits."""
    return "".join(chr(ord("k") + int(digit)) for digit in str(number))


def documents(folder: Path) -> Iterator[tuple[tuple[str, str], str]]:
    """((source, language), text) of a folder's documents."""
    plan_of = recipe.load(Path("folder.toml"), [f"sources.folder={folder}"])
    context = stage.Context(Path(), plan_of)
    for task in ingest.plan(context):
        for batch in ingest.documents(task, context, stage.Rejects(task.source)):
            for text in batch.column("text").to_pylist():
                yield (task.source, task.language), text


if __name__ == "__main__":
    main()
