"""The loss that writes its gradient over the logits, and the compiled one, against the definition in float32."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from model import loss

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=NEEDS_GPU)]
# compiling takes 40 s on a CPU, which never uses it
WAYS = [("cpu", "in-place"), *(pytest.param("cuda", name, marks=NEEDS_GPU) for name in ("in-place", "compiled"))]


def case(device: str, vocabulary: int = 301, tokens: int = 24) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    hidden = torch.randn(2, tokens // 2, 16, generator=generator)
    embedding = torch.randn(vocabulary, 16, generator=generator)
    targets = torch.randint(0, vocabulary, (2, tokens // 2), generator=generator)
    targets[0, :3] = loss.IGNORE
    return hidden.to(device), embedding.to(device), targets.to(device)


def gradients(way: loss.Loss, hidden, embedding, targets, dtype=torch.float32) -> list[torch.Tensor]:
    """Loss, dX and dW of 0.01 times the sum."""
    hidden = hidden.to(dtype).requires_grad_()
    embedding = embedding.detach().clone().requires_grad_()
    value = way(hidden, embedding, targets)
    (0.01 * value).backward()
    return [value.detach().float(), hidden.grad.float(), embedding.grad]


@pytest.mark.parametrize(("device", "name"), WAYS)
def test_loss_and_both_gradients_are_those_of_the_definition(device, name):
    inputs = case(device)
    for one, two in zip(gradients(loss.BY_NAME[name], *inputs), gradients(loss.plain, *inputs), strict=True):
        torch.testing.assert_close(one, two, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("tokens", [1, 5, 24])
def test_the_sum_does_not_depend_on_the_chunk(monkeypatch, device, tokens):
    inputs = case(device)
    whole = gradients(loss.in_place, *inputs)
    monkeypatch.setitem(loss.CHUNK_BYTES, device, tokens * 301 * 4)
    for one, two in zip(gradients(loss.in_place, *inputs), whole, strict=True):
        torch.testing.assert_close(one, two, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("device", "name"), WAYS)
def test_bfloat16_stays_near_float32(device, name):
    """The loss is summed in float32: bfloat16's 3 digits would be off by 1e-3."""
    inputs = case(device, vocabulary=4099, tokens=256)
    value, by_hidden, by_embedding = gradients(loss.BY_NAME[name], *inputs, dtype=torch.bfloat16)
    rounded = (inputs[0].bfloat16().float(), inputs[1].bfloat16().float(), inputs[2])
    exact = gradients(loss.plain, *rounded)
    assert abs(value - exact[0]) < 2e-4 * exact[0]
    assert (by_hidden - exact[1]).norm() < 0.01 * exact[1].norm()
    assert (by_embedding - exact[2]).norm() < 0.01 * exact[2].norm()


@pytest.mark.parametrize("device", DEVICES)
def test_without_gradients_only_the_sum_is_made(device):
    inputs = case(device)
    with torch.no_grad():
        torch.testing.assert_close(loss.in_place(*inputs), loss.plain(*inputs), atol=1e-4, rtol=1e-5)


def test_the_gpu_kernel_gives_the_definition_in_tritons_interpreter():
    """In a process of its own: the interpreter is chosen before the kernel is read."""
    pytest.importorskip("triton")
    code = """
import torch
from model import loss, loss_kernel
torch.manual_seed(0)
logits = 4 * torch.randn(5, 9001)
targets = torch.tensor([0, 9000, -100, 4096, 17])
expected = torch.nn.functional.cross_entropy(logits, targets, ignore_index=-100, reduction="none")
slope = (logits.softmax(1) - torch.nn.functional.one_hot(targets.clamp(min=0), 9001)) * (targets >= 0)[:, None]
kept = logits.clone()
torch.testing.assert_close(loss_kernel.score(logits, targets, False, -100), expected)
assert torch.equal(logits, kept)
torch.testing.assert_close(loss_kernel.score(logits, targets, True, -100), expected)
torch.testing.assert_close(logits, slope, atol=1e-6, rtol=1e-5)
"""
    environment = {"TRITON_INTERPRET": "1", "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=300)
