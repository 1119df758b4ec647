"""A compact BLOOM in PyTorch: model, training, evaluation, export."""
