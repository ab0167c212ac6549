"""``python -m resift``: the command."""

from resift.cli.main import run

if __name__ == "__main__":
    run()
