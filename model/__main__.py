"""`python -m model`: the commands of `roots model`, as `torchrun -m model` starts them on several GPUs."""

from model import cli

cli.app()
