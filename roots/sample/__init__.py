"""The embedded sample: documents written for this project, and what must happen to each (README.md)."""
