"""What a document is, and what is done to it: pure functions on Arrow batches. Never imports Beam or torch."""
