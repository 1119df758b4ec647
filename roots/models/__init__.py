"""Models that travel with the package; README.md says what each was trained on, and build.py how."""
