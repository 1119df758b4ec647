"""The tables: facts that travel with the package, read once and validated on load."""
