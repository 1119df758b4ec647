"""Training steps on GPUs, ours beside `transformers` with torch.compile, each case in a process of its own.

    python -m benchmarks.train_gpu CASE [CASE ...]       torchrun --nproc-per-node 2 -m benchmarks.train_gpu spread-1.7B
    python -m benchmarks.train_gpu all

A step is forward, backward, clipping to 1.0 and fused AdamW over float32 weights, on uniform random ids, sequences of
2,048. Speeds are medians of steps after warm-up; every line is a JSON object with the card, the watts and the clock.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from model import assemble, bloom, config, loss, memory, meter, optimizer, parallel

SEQUENCE = 2048
WARM_STEPS = 3
DEFAULT = ["matmul", "ours-560M", "ours-1.7B", "ours-3B@12", "ours-7.1B", "theirs-560M", "theirs-1.7B", "theirs-3B"]
DEFAULT += ["error-560M", "loss", "attention", "flex-560M", "flex-1.7B", "ours-3B"]
LIMIT_SECONDS = 240  # of one case; transformers takes 100 s and more to its second step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+")
    parser.add_argument("--seconds", type=float, default=8.0, help="of timed steps in a case")
    parser.add_argument("--micro", type=int, default=0, help="sequences of a micro-batch; 0 = planned")
    parser.add_argument("--accumulate", type=int, default=4, help="micro-batches of a step (ours)")
    parser.add_argument(
        "--gathered", action=argparse.BooleanOptionalAction, help="of FSDP2, with --micro; else planned"
    )
    parser.add_argument("--inside", action="store_true", help="run the one case in this process")
    options = parser.parse_args()
    if options.inside or "RANK" in os.environ:
        tell(**run(options.cases[0], options))
        return
    for case in DEFAULT if options.cases == ["all"] else options.cases:
        flags = ["--seconds", options.seconds, "--micro", options.micro, "--accumulate", options.accumulate, "--inside"]
        line = [sys.executable, "-m", "benchmarks.train_gpu", *map(str, flags)]
        began = time.monotonic()
        try:
            done = subprocess.run([*line, case], capture_output=True, text=True, timeout=LIMIT_SECONDS)
            print(done.stdout, end="", flush=True)
            if done.returncode:
                tell(case=case, failed=done.stderr.strip().splitlines()[-12:])
        except subprocess.TimeoutExpired:
            tell(case=case, failed=f"longer than {LIMIT_SECONDS} s")
        print(f"# {case}: {time.monotonic() - began:.0f} s in all", flush=True)


def tell(**facts: Any) -> None:
    if int(os.environ.get("RANK", "0")) == 0:
        print(json.dumps(facts), flush=True)


def run(case: str, options: argparse.Namespace) -> dict[str, Any]:
    what, _, size = case.partition("-")
    size, _, micro = size.partition("@")
    options.micro = int(micro or options.micro)
    facts = {"case": case, "card": torch.cuda.get_device_name(), "torch": torch.__version__}
    kernels = {"matmul": matmul, "loss": losses, "attention": attentions}
    if what in kernels:
        return facts | kernels[what]()
    if what == "error":
        return facts | gradient_error(config.SIZES[size])
    if what == "theirs":
        return facts | theirs(config.SIZES[size], options)
    return facts | ours(config.SIZES[size], what, options)


# --- whole steps ------------------------------------------------------------------------------------------------


def ours(shape: config.BloomConfig, what: str, options: argparse.Namespace) -> dict[str, Any]:
    """Steps of `accumulate` micro-batches; `what` is ours, flex, or spread and ddp under torchrun."""
    began = time.monotonic()
    with parallel.world("cuda") as where:
        way = {"spread": "fsdp", "ddp": "ddp"}.get(what, "none")
        gib = torch.cuda.get_device_properties(where.device).total_memory / memory.GIB
        planned = memory.plan(shape, gib, 32, SEQUENCE, where.size, way)
        if options.micro:
            keep = bool(options.gathered)
            needed = memory.step_bytes(shape, options.micro, SEQUENCE, 0, where.size, way, keep)
            planned = memory.Plan(micro=options.micro, recompute=0, bytes=needed, gathered=keep)
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False
        attend = "flex" if what == "flex" else "auto"
        model, module = assemble.build(
            shape,
            where,
            seed=1,
            way=way,
            attend=attend,
            losing="auto",
            recompute=planned.recompute,
            gathered=planned.gathered,
        )
        built = time.monotonic() - began
        micro, adamw = planned.micro, optimizer.adamw(model, 1e-4)
        random = torch.Generator(where.device).manual_seed(where.rank)
        values: list[float] = []

        def step() -> None:
            adamw.zero_grad()
            total = torch.zeros((), device=where.device)
            for i in range(options.accumulate):
                ids = torch.randint(4, shape.vocabulary, (micro, SEQUENCE + 1), generator=random, device=where.device)
                with parallel.summing(module, i == options.accumulate - 1):
                    part = module(ids[:, :-1], ids[:, 1:]) / (micro * SEQUENCE * options.accumulate)
                    part.backward()
                total += part.detach()
            norm = optimizer.clip(model)
            values.append(torch.stack((total, norm)).tolist()[0])
            adamw.step()

        facts = timed(step, began, micro * SEQUENCE * options.accumulate, shape, options.seconds, planned.recompute)
        return {
            "attention": "cudnn" if attend == "auto" and model.attention is not bloom.FLEX else "flex",
            "micro": micro,
            "accumulate": options.accumulate,
            "recompute": planned.recompute,
            "way": way,
            "gathered": planned.gathered,
            "processes": where.size,
            "computed_gib": round(planned.bytes / memory.GIB, 1),
            "built_seconds": round(built, 1),
            "losses": [round(value, 5) for value in values[:3]],
            **facts,
        }


def theirs(shape: config.BloomConfig, options: argparse.Namespace) -> dict[str, Any]:
    """`transformers` with torch.compile under bfloat16 autocast, its own loss, the largest micro-batch that fits."""
    import transformers

    began = time.monotonic()
    names = {"560M": 8, "1.7B": 4, "3B": 2}  # on 139 GiB; half on 80
    size = next(name for name, known in config.SIZES.items() if known is shape)
    gib = torch.cuda.get_device_properties(0).total_memory / memory.GIB
    micro = options.micro or (names[size] if gib > 100 else names[size] // 2)
    with torch.device("cuda"):
        model = transformers.BloomForCausalLM(
            transformers.BloomConfig(
                vocab_size=shape.vocabulary,
                hidden_size=shape.hidden,
                n_layer=shape.layers,
                n_head=shape.heads,
                use_cache=False,
                initializer_range=shape.init_std,
            )
        )
    compiled = torch.compile(model)
    adamw = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=optimizer.BETAS, weight_decay=0.1, fused=True)
    random = torch.Generator("cuda").manual_seed(0)

    def step() -> None:
        adamw.zero_grad()
        ids = torch.randint(4, shape.vocabulary, (micro, SEQUENCE), generator=random, device="cuda")
        with torch.autocast("cuda", torch.bfloat16):
            compiled(ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item()
        adamw.step()

    return {"micro": micro, **timed(step, began, micro * SEQUENCE, shape, options.seconds, 0)}


def timed(
    step: Callable[[], None], began: float, tokens: int, shape: config.BloomConfig, seconds: float, recompute: int
) -> dict[str, Any]:
    """Median speed of steps that fill `seconds`, and what the card drew meanwhile."""
    device = torch.device("cuda", torch.cuda.current_device())
    step()
    torch.cuda.synchronize()
    first = time.monotonic() - began
    for _ in range(WARM_STEPS - 1):
        step()
    torch.cuda.synchronize()
    counter, start, times = meter.Meter(device), time.monotonic(), []
    while time.monotonic() - start < seconds or len(times) < 4:
        once = time.monotonic()
        step()
        torch.cuda.synchronize()
        times.append(time.monotonic() - once)
        if len(times) >= 4 and torch.distributed.is_initialized():
            if len(times) >= 8:  # the same number in every process
                break
            continue
    spent, joules = time.monotonic() - start, counter.since()
    speed = tokens / statistics.median(times)
    clock = torch.cuda.clock_rate() if joules is not None else None
    return {
        "tokens_per_second": round(speed),
        "model_tflops": round(shape.token_flops(SEQUENCE) * speed / 1e12),
        "hardware_tflops": round(shape.hardware_flops(SEQUENCE, recompute / shape.layers) * speed / 1e12),
        "mfu": round(shape.token_flops(SEQUENCE) * speed / 1e12 / (meter.peak_tflops(device) or 1), 3),
        "first_step_seconds": round(first, 1),
        "steps": len(times),
        "peak_gib": round(torch.cuda.max_memory_allocated() / memory.GIB, 1),
        "watts": None if joules is None else round(joules / spent),
        "mhz": clock,
    }


# --- the parts --------------------------------------------------------------------------------------------------


def milliseconds(work: Callable[[], Any], times: int = 10) -> float:
    for _ in range(3):
        work()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(times + 1)]
    marks[0].record()
    for mark in marks[1:]:
        work()
        mark.record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in itertools.pairwise(marks))


def matmul() -> dict[str, Any]:
    """bfloat16 products of 8,192 squared, in a burst and after two and a half seconds of them; the copy rate."""
    one, two = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    burst = 2 * 8192**3 / milliseconds(lambda: one @ two) / 1e9
    start = time.monotonic()
    while time.monotonic() - start < 2.5:
        for _ in range(50):
            one @ two
        torch.cuda.synchronize()
    sustained = 2 * 8192**3 / milliseconds(lambda: one @ two, 50) / 1e9
    large = torch.randn(2**30, device="cuda")
    copy = 2 * large.nbytes / milliseconds(large.clone) / 1e9
    return {"burst_tflops": round(burst), "sustained_tflops": round(sustained), "copy_tb_per_s": round(copy, 2)}


def losses() -> dict[str, Any]:
    """Each loss at V = 250,880 and 16,384 tokens: forward and both gradients, memory, error against float32."""
    facts: dict[str, Any] = {}
    for width in (1024, 2560):
        hidden = torch.randn(16_384, width, device="cuda", dtype=torch.bfloat16)
        table = 0.02 * torch.randn(250_880, width, device="cuda")
        targets = torch.randint(0, 250_880, (16_384,), device="cuda")
        targets[:100] = loss.IGNORE
        few = slice(0, 1024)  # the definition in float32 holds 1 GB of logits for these
        exact = differentiated(loss.plain, hidden[few].float(), table.bfloat16().float(), targets[few])
        for name, way in loss.BY_NAME.items():
            found = differentiated(way, hidden[few], table, targets[few])
            errors = [((a.float() - b).norm() / b.norm()).item() for a, b in zip(found, exact, strict=True)]
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            spent = milliseconds(functools.partial(differentiated, way, hidden, table, targets), 5)
            extra = (torch.cuda.max_memory_allocated() - before) / 1e9
            facts[f"{name} {width}"] = {
                "ms": round(spent, 1),
                "gb": round(extra, 1),
                "errors_loss_dx_dw": [float(f"{error:.1e}") for error in errors],
            }
    return facts


def differentiated(way: loss.Loss, hidden: torch.Tensor, table: torch.Tensor, targets: torch.Tensor) -> list:
    hidden, table = hidden.detach().requires_grad_(), table.detach().requires_grad_()
    value = way(hidden, table, targets)
    value.backward()
    return [value.detach(), hidden.grad, table.grad]


def attentions() -> dict[str, Any]:
    """Each attention alone, forward and backward: milliseconds and the error of output and gradient in float64."""
    facts: dict[str, Any] = {}
    for batch, heads, width in ((8, 16, 64), (8, 16, 128), (8, 32, 80), (2, 12, 64)):
        slopes = bloom.alibi_slopes(heads).cuda()
        qkv = torch.randn(batch, SEQUENCE, heads, 3, width, device="cuda", dtype=torch.bfloat16)
        push = torch.randn(batch, SEQUENCE, heads, width, device="cuda", dtype=torch.bfloat16)
        exact = exact_attention(qkv[:1, :, :2].double(), slopes[:2].double(), push[:1, :, :2].double())
        for name in ("sdpa", "flex", "cudnn", "legacy"):
            shape = config.BloomConfig(layers=1, hidden=heads * width, heads=heads)
            try:
                way = assemble.attention(name, shape, torch.device("cuda"))
                prepared = way.prepare(slopes, SEQUENCE, SEQUENCE, torch.bfloat16, None)
            except ValueError as error:
                facts[f"{name} {batch},{heads},{width}"] = str(error)
                continue
            attend = torch.compile(way.attend, fullgraph=True, dynamic=False)

            def once(attend=attend, prepared=prepared, qkv=qkv, push=push) -> list[torch.Tensor]:
                inputs = qkv.detach().requires_grad_()
                out = attend(inputs, prepared)
                out.backward(push)
                return [out.detach(), inputs.grad]

            found = [tensor[:1, :, :2].double() for tensor in once()]
            errors = [((a - b).norm() / b.norm()).item() for a, b in zip(found, exact, strict=True)]
            spent = milliseconds(once, 5)
            facts[f"{name} {batch},{heads},{width}"] = {
                "ms": round(spent, 2),
                "errors_out_gradient": [float(f"{error:.1e}") for error in errors],
            }
    return facts


def exact_attention(qkv: torch.Tensor, slopes: torch.Tensor, push: torch.Tensor) -> list[torch.Tensor]:
    inputs = qkv.detach().requires_grad_()
    bias = bloom.alibi_bias(slopes, SEQUENCE, SEQUENCE, torch.float64)
    out = bloom.SDPA.attend(inputs, bias)
    out.backward(push)
    return [out.detach(), inputs.grad]


def gradient_error(shape: config.BloomConfig) -> dict[str, Any]:
    """The whole model's gradient in bfloat16 against float32, ours and that of `transformers`, same weights."""
    import transformers

    from model import export

    torch.backends.cuda.matmul.allow_tf32 = False
    where = parallel.World(rank=0, size=1, device=torch.device("cuda", 0))
    ids = torch.randint(4, shape.vocabulary, (1, SEQUENCE + 1), device="cuda")
    ids = ids % 250_680
    exact = bloom.Bloom(shape, bloom.SDPA, loss.in_place).initialise(torch.Generator().manual_seed(3)).cuda()
    (exact(ids[:, :-1], ids[:, 1:]) / SEQUENCE).backward()
    true = {name: parameter.grad for name, parameter in exact.named_parameters()}
    facts: dict[str, Any] = {}
    for name in ("cudnn", "flex", "legacy"):
        try:
            model, _ = assemble.build(shape, where, seed=3, attend=name)
        except ValueError as error:
            facts[name] = str(error)
            continue
        model.load_state_dict(exact.state_dict())
        (model(ids[:, :-1], ids[:, 1:]) / SEQUENCE).backward()
        facts[name] = distance({n: p.grad for n, p in model.named_parameters()}, true)
    with torch.device("cuda"):
        other = transformers.BloomForCausalLM(
            transformers.BloomConfig(
                vocab_size=shape.vocabulary, hidden_size=shape.hidden, n_layer=shape.layers, n_head=shape.heads
            )
        )
    other.load_state_dict({export.PREFIX + n: v for n, v in exact.state_dict().items()}, strict=False)
    other.tie_weights()
    with torch.autocast("cuda", torch.bfloat16):
        logits = other(ids[:, :-1]).logits
    torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten()).backward()
    gradients = {n.removeprefix(export.PREFIX): p.grad for n, p in other.named_parameters()}
    facts["transformers"] = distance(gradients, true)
    return facts


def distance(found: dict[str, torch.Tensor], true: dict[str, torch.Tensor]) -> dict[str, float]:
    """Relative error of the whole gradient, and of the worst kind of weights: query_key_value."""

    def relative(names: list[str]) -> float:
        off = sum((found[name] - true[name]).double().square().sum() for name in names)
        return float((off / sum(true[name].double().square().sum() for name in names)).sqrt())

    qkv = [name for name in true if "query_key_value.weight" in name]
    return {"all": round(relative(list(true)), 4), "query_key_value": round(relative(qkv), 4)}


if __name__ == "__main__":
    main()
