"""Public cross-encoders that resift knows, with figures that others have published."""

from dataclasses import dataclass

_DL19 = "nDCG@10 TREC DL 2019"
_MTEB = "nDCG@10 MTEB(eng, v2)"  # retrieval, the mean over six retrievers
_BEIR_11 = "nDCG@10 BEIR-11"  # the mean of 11 of its collections, chosen by the model's authors
_BEIR_17 = "nDCG@10 BEIR-17"


@dataclass(frozen=True, slots=True)
class Quality:
    """A published figure, in per cent; `measure` names measure and benchmark.

    Figures of different measures cannot be compared.
    """

    figure: float
    measure: str


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A public cross-encoder.

    `max_tokens` limits a pair. `parameters` are millions. `quality` is empty if no figure could be
    verified. `revision` is the commit to use; None leaves it to the first fetch.
    """

    hub_id: str
    licence: str
    languages: str
    max_tokens: int
    parameters: float
    quality: tuple[Quality, ...] = ()
    revision: str | None = None


def _ms_marco(name: str, parameters: float, dl19: float, mteb: float | None = None) -> KnownModel:
    """A model of sbert.net; its figures are from there and from the release of ettin-reranker."""
    figures = [Quality(dl19, _DL19)] + ([Quality(mteb, _MTEB)] if mteb is not None else [])
    hub_id = f"cross-encoder/ms-marco-{name}"
    return KnownModel(hub_id, "apache-2.0", "en", 512, parameters, tuple(figures))


def _ettin(size: str, parameters: float, mteb: float, revision: str) -> KnownModel:
    """A model of the ettin family, at the commit that MTEB measures."""
    quality = (Quality(mteb, _MTEB),)
    hub_id = f"cross-encoder/ettin-reranker-{size}-v1"
    return KnownModel(hub_id, "apache-2.0", "en", 7999, parameters, quality, revision)


def _mxbai(size: str, parameters: float, beir: float) -> KnownModel:
    hub_id = f"mixedbread-ai/mxbai-rerank-{size}-v1"
    return KnownModel(hub_id, "apache-2.0", "en", 512, parameters, (Quality(beir, _BEIR_11),))


def _jina(size: str, parameters: float, beir: float) -> KnownModel:
    hub_id = f"jinaai/jina-reranker-v1-{size}-en"
    return KnownModel(hub_id, "apache-2.0", "en", 8192, parameters, (Quality(beir, _BEIR_17),))


KNOWN_MODELS = (
    _ms_marco("TinyBERT-L2-v2", 4.4, 69.84),
    _ms_marco("MiniLM-L2-v2", 15.6, 71.01),
    _ms_marco("MiniLM-L4-v2", 19.2, 73.04),
    _ms_marco("MiniLM-L6-v2", 22.7, 74.30, 50.82),
    _ms_marco("MiniLM-L12-v2", 33.4, 74.31, 50.66),
    _ms_marco("electra-base", 109.5, 71.99),
    _ettin("17m", 16.8, 55.76, "9e4aa35321a6dd1a43ca313f500c4b4f7cfb5cc6"),
    _ettin("32m", 31.9, 57.79, "b33e5ceb5110773ea9cf5e00c9bedc83a8c2afdd"),
    _ettin("68m", 68.1, 59.15, "d166fa88ddde3c42bc3ee92f7df476d941c8204a"),
    _ettin("150m", 149, 59.94, "025501c4e0f9bbeb4c5b198318e0089ff061cc14"),
    _ettin("400m", 394.8, 60.91, "5dca36282a5d85f368d2544002513a29159b4c9e"),
    KnownModel(
        "Alibaba-NLP/gte-reranker-modernbert-base",
        "apache-2.0", "en", 8192, 149, (Quality(58.43, _MTEB),),
    ),
    KnownModel(
        "ibm-granite/granite-embedding-reranker-english-r2",
        "apache-2.0", "en", 8192, 149, (Quality(56.56, _MTEB),),
    ),
    _mxbai("xsmall", 70, 43.9),
    _mxbai("base", 184, 46.9),
    _mxbai("large", 435, 48.8),
    _jina("tiny", 33.0, 48.54),
    _jina("turbo", 37.8, 49.60),
    KnownModel(
        "BAAI/bge-reranker-base",
        "mit", "en, zh", 512, 278, (Quality(47.89, f"{_BEIR_17} (by Jina AI)"),),
    ),
    KnownModel(
        "BAAI/bge-reranker-large",
        "mit", "en, zh", 512, 560, (Quality(66.09, "MAP C-MTEB reranking"),),
    ),
    KnownModel(
        "BAAI/bge-reranker-v2-m3",
        "apache-2.0", "100+", 8192, 568, (Quality(55.26, _MTEB),),
    ),
    KnownModel("Alibaba-NLP/gte-multilingual-reranker-base", "apache-2.0", "70+", 8192, 306),
)  # fmt: skip


def known_model(hub_id: str) -> KnownModel | None:
    """The entry of a hub id; None if resift does not know the model."""
    return next((model for model in KNOWN_MODELS if model.hub_id == hub_id), None)
