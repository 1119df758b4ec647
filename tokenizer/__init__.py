"""The BLOOM tokenizer: byte-level BPE, its training, and binary token shards."""
