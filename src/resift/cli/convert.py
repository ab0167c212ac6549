"""``resift convert``: a transformers checkpoint in, an artifact out."""

from pathlib import Path
from typing import Annotated

import typer

from resift.cli.output import console, errors


def convert(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint folder, or a hub id.")],
    out: Annotated[Path, typer.Argument(help="New folder for the artifact.")],
    revision: Annotated[
        str | None, typer.Option(help="Commit of a hub checkpoint; needed for a hub id.")
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help='Lines of {"query", "text"} to read activation ranges from.'),
    ] = None,
    fp32: Annotated[bool, typer.Option("--fp32", help="Leave the weights float32.")] = False,
) -> None:
    """Make a model for Reranker(OUT) from a cross-encoder checkpoint. Needs the convert extra."""
    from resift.extras import require

    require("torch", "convert")
    require("onnx", "convert")
    from rich.markup import escape

    from resift.training.convert import convert_checkpoint

    with errors.status(f"converting {escape(checkpoint)}"):
        result = convert_checkpoint(checkpoint, out, revision, calibration, int8=not fp32)
    console.print(
        f"{escape(str(out))}: {result.quantisation}; logits within "
        f"{result.max_difference:.4f} of the checkpoint over {result.pairs} pairs, "
        f"{result.megabytes:.0f} MB"
    )
