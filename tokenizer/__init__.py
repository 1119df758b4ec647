"""The BLOOM tokenizer: byte-level BPE, its training, and binary token shards."""

__all__ = ["count", "encode", "learn", "mix", "pieces", "report", "report_page", "sample", "shards", "spec"]
