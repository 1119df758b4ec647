"""A model in the Hugging Face layout, and back: config.json, model.safetensors, the tokenizer's files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import torch as safetensors

from model import bloom, checkpoint, config
from tokenizer import spec

PREFIX = "transformer."  # of every weight in `transformers`' BloomForCausalLM
HEAD = "lm_head.weight"  # the tied output; some files carry it once more
CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
SPECIALS = {
    "unk_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 3,
}  # BLOOM tokenizer, ids 0-3


def save(model: bloom.Bloom, folder: Path, tokenizer: Path | None = None, sequence: int = spec.SEQUENCE_TOKENS) -> None:
    """Write the model as `transformers.BloomForCausalLM.from_pretrained` reads it, float32.

    tokenizer  folder whose tokenizer files are copied; null = none
    sequence   length that it was trained on, only noted down: ALiBi has no limit
    raises     FileExistsError where the folder holds a model already
    """
    if (folder / CONFIG).exists():
        raise FileExistsError(f"{folder}: holds a model already; name another folder or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    weights = {PREFIX + name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    safetensors.save_file(weights, folder / WEIGHTS, {"format": "pt"})
    generation = {name: SPECIALS[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    _write(folder / "generation_config.json", {"_from_model_config": True, **generation})
    if tokenizer is not None:
        for file in (tokenizer / name for name in TOKENIZER_FILES):
            if file.exists():
                shutil.copyfile(file, folder / file.name)
    _write(folder / CONFIG, _hugging_face(model.config, sequence))  # last: a folder with it is whole


def load(folder: Path) -> bloom.Bloom:
    """The model in a folder: the Hugging Face layout, or the newest checkpoint of a training run.

    Weights may carry the prefix `transformer.` or not, a copy of the tied output, and be split by an index
    file.
    raises  FileNotFoundError where there is neither, ValueError for another architecture or other weights
    """
    if (folder / CONFIG).exists():
        return _load_hugging_face(folder)
    saved = checkpoint.found(folder / "checkpoints")
    if not saved:
        raise FileNotFoundError(f"{folder}: neither {CONFIG} nor checkpoints/step-*; name a run or an exported model")
    model = bloom.Bloom(config.BloomConfig(**checkpoint.describe(saved[-1]).config))
    checkpoint.weights(saved[-1], model)
    return model


def _load_hugging_face(folder: Path) -> bloom.Bloom:
    stated = json.loads((folder / CONFIG).read_text("utf-8"))
    if stated.get("model_type") != "bloom":
        raise ValueError(f"{folder / CONFIG}: model_type is {stated.get('model_type')!r}, expected 'bloom'")
    if stated.get("apply_residual_connection_post_layernorm"):
        raise ValueError(f"{folder / CONFIG}: the residual after the LayerNorm is not supported; no BLOOM uses it")
    weights: dict[str, torch.Tensor] = {}
    for file in _weight_files(folder):
        for name, value in safetensors.load_file(file).items():
            weights[name.removeprefix(PREFIX)] = value.float()
    weights.pop(HEAD, None)
    return _filled(_ours(stated), weights, folder)


def _weight_files(folder: Path) -> list[Path]:
    if (folder / INDEX).exists():
        return [folder / name for name in sorted(set(json.loads((folder / INDEX).read_text())["weight_map"].values()))]
    if not (folder / WEIGHTS).exists():
        raise FileNotFoundError(f"{folder}: no {WEIGHTS}; pickled weights are not read, convert them to safetensors")
    return [folder / WEIGHTS]


def _filled(shape: config.BloomConfig, weights: dict[str, torch.Tensor], where: Path) -> bloom.Bloom:
    with torch.device("meta"):
        model = bloom.Bloom(shape)
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise ValueError(f"{where}: its weights are not those of {shape}: {error}") from error
    model.slopes = bloom.alibi_slopes(shape.heads)  # not part of a state, so still without storage
    return model.requires_grad_(True)


def _hugging_face(shape: config.BloomConfig, sequence: int) -> dict[str, Any]:
    return {
        "architectures": ["BloomForCausalLM"],
        "model_type": "bloom",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "n_layer": shape.layers,
        "n_head": shape.heads,
        "layer_norm_epsilon": shape.layer_norm_epsilon,
        "initializer_range": shape.init_std,
        "apply_residual_connection_post_layernorm": False,
        "attention_dropout": 0.0,
        "hidden_dropout": 0.0,
        "seq_length": sequence,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "use_cache": True,
        **SPECIALS,
    }


def _ours(stated: dict[str, Any]) -> config.BloomConfig:
    """From config.json; the original hub files write n_embed, num_attention_heads or num_hidden_layers for
    some."""
    try:
        return config.BloomConfig(
            layers=stated.get("n_layer") or stated["num_hidden_layers"],
            hidden=stated.get("hidden_size") or stated["n_embed"],
            heads=stated.get("n_head") or stated["num_attention_heads"],
            vocabulary=stated["vocab_size"],
            init_std=stated.get("initializer_range", config.SMALL_INIT_STD),
            layer_norm_epsilon=stated.get("layer_norm_epsilon", 1e-5),
        )
    except KeyError as error:
        raise ValueError(f"{CONFIG}: no {error}; expected the config of a BLOOM model") from error


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", "utf-8")
