"""Options of every verb whose hits have scores."""

from pathlib import Path
from typing import Annotated

import typer

Calibration = Annotated[
    Path | None, typer.Option(help="What resift calibrate wrote for this model.")
]
MinScore = Annotated[
    float | None, typer.Option(help="Leave out what is scored below this, 0 to 1.")
]
Abstain = Annotated[
    float | None, typer.Option(help="Say so where the best score is below this, 0 to 1.")
]
