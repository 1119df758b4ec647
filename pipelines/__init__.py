"""Moves documents: stages as Beam jobs over task descriptors, manifests, resume."""
