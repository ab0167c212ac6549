"""RoBERTa (arXiv:1907.11692), XLM-RoBERTa, CamemBERT: positions count from behind the padding."""

from resift.convert.config import Config
from resift.convert.families import bert
from resift.convert.families.family import Family
from resift.convert.layers import EncoderShape


def _first_position(config: Config) -> int:
    return config.whole("pad_token_id", default=1) + 1


def _shape(config: Config) -> EncoderShape:
    return bert.shape(config, first_position=_first_position(config))


def _tokens(config: Config) -> int:
    return config.whole("max_position_embeddings", default=514) - _first_position(config)


ROBERTA = Family("roberta.", _shape, _tokens)
