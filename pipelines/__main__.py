"""`python -m pipelines` is the command `roots`."""

from pipelines.cli import main

main()
