"""What public embedders have on their model cards only: prompts, and shorter vectors.

A checkpoint's own prompts, in ``config_sentence_transformers.json``, go before these.
"""

import re
from dataclasses import dataclass

_SEARCHING = "Represent this sentence for searching relevant passages: "
_SEARCHING_ZH = "为这个句子生成表示以用于检索相关文章："
_INSTRUCTED = (
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "
)


@dataclass(frozen=True, slots=True)
class KnownEmbedder:
    """Embedders with hub ids of a pattern.

    `dims` are shorter vectors that they were trained for (Matryoshka, arXiv:2205.13147). `card` is
    a page of the hub that says so.
    """

    pattern: re.Pattern[str]
    query_prompt: str
    passage_prompt: str
    card: str
    dims: tuple[int, ...] = ()


def _known(
    pattern: str, query: str, passage: str, card: str, dims: tuple[int, ...] = ()
) -> KnownEmbedder:
    return KnownEmbedder(re.compile(pattern, re.IGNORECASE), query, passage, card, dims)


KNOWN_EMBEDDERS = (
    _known(
        r"intfloat/(multilingual-)?e5-(small|base|large)(-v2|-unsupervised)?",
        "query: ", "passage: ", "intfloat/e5-small-v2",
    ),
    _known(
        r"intfloat/multilingual-e5-large-instruct",
        _INSTRUCTED, "", "intfloat/multilingual-e5-large-instruct",
    ),
    _known(
        r"BAAI/bge-(small|base|large)-en(-v1\.5)?",
        _SEARCHING, "", "BAAI/bge-small-en-v1.5",
    ),
    _known(
        r"BAAI/bge-(small|base|large)-zh(-v1\.5)?",
        _SEARCHING_ZH, "", "BAAI/bge-small-zh-v1.5",
    ),
    _known(
        r"Snowflake/snowflake-arctic-embed-(xs|s|m|l|m-long)",
        _SEARCHING, "", "Snowflake/snowflake-arctic-embed-m",
    ),
    _known(
        r"Snowflake/snowflake-arctic-embed-m-v1\.5",
        _SEARCHING, "", "Snowflake/snowflake-arctic-embed-m-v1.5", (256,),
    ),
    _known(
        r"Snowflake/snowflake-arctic-embed-[ml]-v2\.0",
        "query: ", "", "Snowflake/snowflake-arctic-embed-l-v2.0", (256,),
    ),
    _known(
        r"nomic-ai/nomic-embed-text-v1(-unsupervised|-ablated)?",
        "search_query: ", "search_document: ", "nomic-ai/nomic-embed-text-v1",
    ),
    _known(
        r"nomic-ai/nomic-embed-text-v1\.5",
        "search_query: ", "search_document: ", "nomic-ai/nomic-embed-text-v1.5",
        (512, 256, 128, 64),
    ),
    _known(
        r"nomic-ai/modernbert-embed-base|lightonai/modernbert-embed-large",
        "search_query: ", "search_document: ", "nomic-ai/modernbert-embed-base", (256,),
    ),
    _known(
        r"nomic-ai/CodeRankEmbed",
        "Represent this query for searching relevant code: ", "", "nomic-ai/CodeRankEmbed",
    ),
    _known(
        r"mixedbread-ai/mxbai-embed-large-v1",
        _SEARCHING, "", "mixedbread-ai/mxbai-embed-large-v1", (512,),
    ),
    _known(r"WhereIsAI/UAE-Large-V1", _SEARCHING, "", "WhereIsAI/UAE-Large-V1"),
    _known(
        r"Alibaba-NLP/gte-multilingual-base",
        "", "", "Alibaba-NLP/gte-multilingual-base", (512, 256, 128),
    ),
)  # fmt: skip


def known_embedder(hub_id: str) -> KnownEmbedder | None:
    """The entry of a hub id; None if resift does not know the embedder."""
    return next((known for known in KNOWN_EMBEDDERS if known.pattern.fullmatch(hub_id)), None)
