"""Where the tokens of a text begin, by the bundled tokenizer: what passages are measured with.

One ruler whatever the embedder is, so that another embedder cuts a document the same way. Knows
no runtime and loads no model.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from resift.rerank.artifact import TOKENIZER
from resift.rerank.catalogue import BUNDLED
from resift.rerank.pairs import Tokens, load_tokenizer


def token_starts(text: str) -> NDArray[np.int64]:
    """The character at which each token of a text begins, ``(n,)``, ascending."""
    return _ruler().starts(text)


@cache
def _ruler() -> Tokens:
    return Tokens(load_tokenizer(BUNDLED / TOKENIZER), max_tokens=0)  # only ever counts
