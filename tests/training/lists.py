"""Parts of candidate lists."""

import numpy as np
from numpy.typing import NDArray

from resift.training.mining import LIST_FIELDS, Lists


def take(lists: Lists, rows: NDArray[np.int64]) -> Lists:
    """Some rows of the lists."""
    return Lists(*(getattr(lists, name)[rows] for name in LIST_FIELDS))
