"""Several processes on this machine's CPU (gloo) against one: same samples, same weights up to rounding."""

from __future__ import annotations

import dataclasses
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model import bloom, checkpoint, choices, config, parallel, train

ALONE = parallel.World(rank=0, size=1, device=torch.device("cpu"))


BOTH = """
import dataclasses, json, sys
from pathlib import Path
import torch
import torch.distributed as dist
from torch.distributed import device_mesh
from torch.distributed.tensor import DTensor
from model import bloom, choices, config, loss, parallel, train

def beyond(where):
    shape = config.BloomConfig(layers=4, hidden=48, heads=6, vocabulary=97, init_std=0.1)
    ids = torch.randint(0, 97, (4, 21), generator=torch.Generator().manual_seed(1))
    whole = bloom.Bloom(shape).initialise(torch.Generator().manual_seed(0))
    value = whole(ids[:, :-1], ids[:, 1:])
    value.backward()
    true = {name: parameter.grad for name, parameter in whole.named_parameters()}

    def off(named):
        grads = {n: p.grad.full_tensor() if isinstance(p.grad, DTensor) else p.grad for n, p in named}
        worst = max(((g - true[n]).norm() / true[n].norm().clamp(min=1e-3)).item() for n, g in grads.items())
        worst = torch.tensor(worst)
        dist.all_reduce(worst, dist.ReduceOp.MAX)
        return worst.item()

    model = bloom.Bloom(shape)
    model.load_state_dict(whole.state_dict())
    parallel.split_blocks(model, device_mesh.init_device_mesh("cpu", (where.size,)))
    found = model(ids[:, :-1], ids[:, 1:])
    found.backward()
    rows = model.h[0].mlp.dense_h_to_4h.weight.to_local().shape[0]
    tensor = {"loss": found.item(), "off": off(model.named_parameters()), "rows": rows}

    model = bloom.Bloom(shape)
    model.load_state_dict(whole.state_dict())
    part = parallel.Part(model, where.rank, where.size)
    losses = []
    schedule = parallel.pipeline(part, where, 2, parallel.logits_loss)
    if part.first:
        schedule.step(ids[:, :-1])
    else:
        schedule.step(target=ids[:, 1:], losses=losses)
    part.tie()
    total = where.total(torch.stack(losses).sum().detach() if losses else torch.zeros(()))
    pipeline = {"loss": total.item(), "off": off(part.named_own_parameters()), "blocks": list(part.mine)}

    def in_shares(gathered):
        model = bloom.Bloom(shape)
        model.load_state_dict(whole.state_dict())
        parallel.spread(model, "fsdp", where, gathered)
        for i, rows in enumerate(ids.split(2)):
            with parallel.summing(model, i == 1):
                model(rows[:, :-1], rows[:, 1:]).backward()
        kept = model.h[0].mlp.dense_4h_to_h.weight.to_local().shape[0]
        return {"off": off(model.named_parameters()), "rows": kept}

    fsdp = [in_shares(gathered) for gathered in (False, True)]
    return {"whole": value.item(), "tensor": tensor, "pipeline": pipeline, "fsdp": fsdp}

given = json.loads(sys.argv[1])
for name in ("shards", "tokenizer", "output"):
    given[name] = Path(given[name])
options = choices.Options(**given)
root = options.output
with parallel.world("cpu") as where:
    for way in ("ddp", "fsdp"):
        train.train(dataclasses.replace(options, output=root / way, parallel=way))
    train.train(dataclasses.replace(options, output=root / "one-then-two"))
    train.train(dataclasses.replace(options, output=root / "first", **json.loads(sys.argv[2])))
    try:
        train.train(dataclasses.replace(options, output=root / "odd", batch=3))
    except ValueError as error:
        odd = str(error)
    result = beyond(where) | {"odd": odd}
if where.first:
    (root / "result.json").write_text(json.dumps(result))
"""

FIRST_WEIGHTS = {"steps": 1, "rate": 0.0, "rate_min": 0.0, "warmup": 0}


def on_two_processes(code: str, *arguments: str) -> None:
    """Run code in two processes, as torchrun starts them."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    common = {"WORLD_SIZE": "2", "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    common["PYTHONPATH"] = ":".join(sys.path)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    told = [process.communicate(timeout=300)[1] for process in started]
    assert all(process.returncode == 0 for process in started), "\n".join(told)


def trained(options: choices.Options) -> list[list[float]]:
    """A run in this process; the log's columns that do not depend on time."""
    train.train(options, lambda message: None)
    return curve(options.output)


def curve(output: Path) -> list[list[float]]:
    lines = (output / "log.csv").read_text().splitlines()[1:]
    return [[float(value) for value in line.split(",")[:5]] for line in lines]


def set_back(output: Path) -> None:
    """As after a kill before the second checkpoint."""
    for path in checkpoint.found(output / "checkpoints")[1:]:
        path.rename(path.with_name(f".{path.name}.tmp"))


@pytest.fixture(scope="module")
def options(nano, tmp_path_factory) -> choices.Options:
    return dataclasses.replace(nano, output=tmp_path_factory.mktemp("worlds"), steps=8, micro=1, checkpoint_every=4)


@pytest.fixture(scope="module")
def one(options) -> list[list[float]]:
    """The curve of one process, undisturbed."""
    return trained(dataclasses.replace(options, output=options.output / "one"))


@pytest.fixture(scope="module")
def result(options, one) -> dict:
    """What two processes did, all of it in one start."""
    begun = options.output / "one-then-two"
    shutil.copytree(options.output / "one", begun)
    set_back(begun)
    on_two_processes(BOTH, json.dumps(options.plain()), json.dumps(FIRST_WEIGHTS))
    return json.loads((options.output / "result.json").read_text())


@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_two_processes_train_and_evaluate_as_one_does(options, one, result, way):
    assert curve(options.output / way) == [pytest.approx(row, rel=1e-4) for row in one]
    files = [options.output / name / "evaluation.csv" for name in ("one", way)]
    rows = [[line.split(",") for line in path.read_text().splitlines()[1:]] for path in files]
    for mine, its in zip(*rows, strict=True):
        assert mine[:5] == its[:5]
        assert float(mine[5]) == pytest.approx(float(its[5]), rel=1e-4)


def test_one_process_begins_and_two_go_on(options, one, result):
    """Same samples in the same order: the curve is that of an undisturbed run, up to rounding."""
    assert curve(options.output / "one-then-two") == [pytest.approx(row, rel=1e-4) for row in one]


def test_two_processes_begin_and_one_goes_on(options, one, result):
    begun = options.output / "two-then-one"
    shutil.copytree(options.output / "fsdp", begun)
    set_back(begun)
    again = dataclasses.replace(options, output=begun)
    assert trained(again) == [pytest.approx(row, rel=1e-4) for row in one]


def test_weights_drawn_on_two_processes_are_those_drawn_on_one(options, result, saved_tensors):
    alone = dataclasses.replace(options, output=options.output / "first-alone", **FIRST_WEIGHTS)
    trained(alone)
    places = [options.output / name / "checkpoints" for name in ("first-alone", "first")]
    found = [saved_tensors(checkpoint.found(place)[-1]) for place in places]
    weights = [{key: value for key, value in one.items() if key.startswith("model.")} for one in found]
    assert weights[0] == weights[1]


def test_a_batch_that_the_processes_do_not_divide_is_refused(result):
    assert "a batch of 3 sequences is no multiple of 2 processes; change --batch" in result["odd"]


def test_tensor_parallelism_gives_the_gradients_of_one_process(result):
    assert result["tensor"]["loss"] == pytest.approx(result["whole"], rel=1e-5)
    assert result["tensor"]["off"] < 1e-4
    assert result["tensor"]["rows"] == 4 * 48 // 2  # each holds half of the width


def test_two_micro_batches_over_shared_weights_give_the_gradients_of_one(result):
    for found in result["fsdp"]:  # gathered twice a pass, and once
        assert found["off"] < 1e-4
        assert found["rows"] == 48 // 2  # and nothing stays whole after the step


def test_pipeline_parallelism_gives_the_gradients_of_one_process(result):
    assert result["pipeline"]["loss"] == pytest.approx(result["whole"], rel=1e-5)
    assert result["pipeline"]["off"] < 1e-4
    assert result["pipeline"]["blocks"] == [0, 1]  # of 4, in the first process


@pytest.mark.parametrize(
    ("way", "size", "message"),
    [
        ("tensor", 1, "--parallel is 'tensor'; expected none, ddp, fsdp or auto"),
        ("fsdp", 1, "--parallel fsdp in a world of one process; start it with torchrun"),
        ("none", 2, "--parallel none in a world of 2 processes; use ddp or fsdp"),
    ],
)
def test_a_way_that_does_not_fit_the_world_is_refused(way, size, message):
    where = dataclasses.replace(ALONE, size=size)
    with pytest.raises(ValueError, match=message):
        parallel.spread(bloom.Bloom(config.size("nano")), way, where)


def test_heads_that_cannot_be_shared_are_refused():
    class Mesh:
        def size(self) -> int:
            return 4

    with pytest.raises(ValueError, match="6 heads cannot be shared by 4 processes"):
        parallel.split_blocks(bloom.Bloom(config.BloomConfig(layers=1, hidden=48, heads=6)), Mesh())  # type: ignore[arg-type]
