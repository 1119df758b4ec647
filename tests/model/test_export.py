from __future__ import annotations

import json

import pytest
import torch
import transformers
from safetensors import torch as safetensors

from model import bloom, config, export


@pytest.fixture(scope="module")
def model() -> bloom.Bloom:
    shape = config.BloomConfig(layers=2, hidden=24, heads=3, vocabulary=64, init_std=0.2)
    return bloom.Bloom(shape).initialise(torch.Generator().manual_seed(3)).eval()


IDS = torch.tensor([[2, 5, 9, 60, 13, 4, 4, 8]])


@torch.no_grad()
def test_transformers_reads_what_is_exported(model, tmp_path, tokenizer_folder):
    export.save(model, tmp_path / "out", tokenizer_folder)
    theirs = transformers.BloomForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert (theirs(IDS).logits - model(IDS)).abs().max() < 1e-4
    assert theirs.config.eos_token_id == theirs.generation_config.eos_token_id == 2
    assert (tmp_path / "out/tokenizer.json").read_bytes() == (tokenizer_folder / "tokenizer.json").read_bytes()
    ours = theirs.generate(IDS, max_new_tokens=5, do_sample=False)
    assert ours.shape[1] <= 13


@torch.no_grad()
def test_what_transformers_saves_is_read(model, tmp_path):
    export.save(model, tmp_path / "out")
    transformers.BloomForCausalLM.from_pretrained(tmp_path / "out").save_pretrained(tmp_path / "back")
    back = export.load(tmp_path / "back")
    assert back.config == model.config
    assert torch.equal(back(IDS), model(IDS))


@torch.no_grad()
@pytest.mark.parametrize("prefix", ["", "transformer."])
@pytest.mark.parametrize("head", [False, True], ids=["tied", "head-repeated"])
def test_weights_are_read_with_and_without_the_prefix(model, tmp_path, prefix, head):
    export.save(model, tmp_path / "out")
    weights = {prefix + name: value.contiguous() for name, value in model.state_dict().items()}
    if head:
        weights["lm_head.weight"] = model.word_embeddings.weight.detach().clone()
    safetensors.save_file(weights, tmp_path / "out/model.safetensors")
    assert torch.equal(export.load(tmp_path / "out")(IDS), model(IDS))


@torch.no_grad()
def test_weights_split_over_files_are_read(model, tmp_path):
    export.save(model, tmp_path)
    weights = safetensors.load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    names = sorted(weights)
    for n, part in enumerate((names[:7], names[7:])):
        safetensors.save_file({name: weights[name] for name in part}, tmp_path / f"part-{n}.safetensors")
    where = {name: f"part-{int(name in names[7:])}.safetensors" for name in names}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    assert torch.equal(export.load(tmp_path)(IDS), model(IDS))


@torch.no_grad()
def test_the_names_of_the_original_hub_config_are_read(model, tmp_path):
    export.save(model, tmp_path)
    stated = json.loads((tmp_path / "config.json").read_text())
    stated["n_embed"], stated["num_attention_heads"] = stated.pop("hidden_size"), stated.pop("n_head")
    (tmp_path / "config.json").write_text(json.dumps(stated))
    assert export.load(tmp_path).config == model.config


def test_a_loaded_model_can_be_trained(model, tmp_path):
    export.save(model, tmp_path)
    loaded = export.load(tmp_path)
    loaded(IDS[:, :-1], IDS[:, 1:]).backward()
    assert all(p.grad is not None for p in loaded.parameters())


def altered(folder, **changes) -> None:
    stated = json.loads((folder / "config.json").read_text())
    stated.update(changes)
    (folder / "config.json").write_text(json.dumps({k: v for k, v in stated.items() if v is not None}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt2"}, "model_type is 'gpt2', expected 'bloom'"),
        ({"apply_residual_connection_post_layernorm": True}, "residual after the LayerNorm is not supported"),
        ({"vocab_size": None}, "no 'vocab_size'; expected the config of a BLOOM model"),
        ({"n_layer": 3}, "its weights are not those of BloomConfig"),
    ],
)
def test_another_config_is_refused(model, tmp_path, changes, message):
    export.save(model, tmp_path)
    altered(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        export.load(tmp_path)


def test_pickled_weights_are_not_read(model, tmp_path):
    export.save(model, tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"no model.safetensors; pickled weights are not read"):
        export.load(tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"neither config.json nor checkpoints/step-\*"):
        export.load(tmp_path)


def test_an_export_never_overwrites_a_model(model, tmp_path):
    export.save(model, tmp_path)
    with pytest.raises(FileExistsError, match="holds a model already; name another folder"):
        export.save(model, tmp_path)
