"""The embedded sample: original documents written for this project, and what must happen to each."""
