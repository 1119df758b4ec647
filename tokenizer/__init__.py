"""The BLOOM tokenizer: byte-level BPE, its training, and binary token shards."""

__all__ = ["encode", "learn", "mix", "report", "shards", "spec"]
