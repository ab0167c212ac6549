"""The words of a question for an engine that looks for all of them unless told otherwise. Pure."""

import re

from resift.index.analysis.spec import ENGLISH
from resift.index.analysis.stop_words import without_stop_words
from resift.rerank.values import without_surrogates

_BETWEEN = re.compile(r"[\s\0/\\:;,()\[\]{}|=<>]+")

MAX_WORDS = 200
"""The most words that are looked for; engines refuse a condition of thousands."""


def question_words(query: str, language: str = ENGLISH) -> list[str]:
    """What is between white space, slashes, colons and brackets, if it has a letter or digit, once.

    In English without stop words, unless the query has little else: every row has them, and a
    search for any of the words would score all rows.
    """
    chunks = _BETWEEN.split(without_surrogates(query))
    words = [chunk for chunk in chunks if any(map(str.isalnum, chunk))]
    names = [chunk.strip("\"'.!?") for chunk in words]
    stays = without_stop_words(names, language)
    distinct = dict.fromkeys(word for word, stay in zip(words, stays, strict=True) if stay)
    return list(distinct)[:MAX_WORDS]
