"""Architectures that can be converted, one file each. To add one, add a `Family` to `FAMILIES`."""

from collections.abc import Callable
from pathlib import Path

from resift.convert.config import Config
from resift.convert.families.albert import ALBERT
from resift.convert.families.bert import BERT, ELECTRA
from resift.convert.families.deberta import DEBERTA
from resift.convert.families.distilbert import DISTILBERT
from resift.convert.families.family import Family
from resift.convert.families.jina_bert import JINA_BERT, is_jina_bert
from resift.convert.families.modernbert import MODERNBERT
from resift.convert.families.mpnet import MPNET
from resift.convert.families.new_model import NEW_MODEL
from resift.convert.families.nomic_bert import NOMIC_BERT
from resift.convert.families.roberta import ROBERTA
from resift.errors import ModelError

FAMILIES: dict[str, Family] = {
    "albert": ALBERT,
    "bert": BERT,
    "camembert": ROBERTA,
    "deberta-v2": DEBERTA,
    "distilbert": DISTILBERT,
    "electra": ELECTRA,
    "gte": NEW_MODEL,
    "modernbert": MODERNBERT,
    "mpnet": MPNET,
    "new": NEW_MODEL,
    "nomic_bert": NOMIC_BERT,
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
}
"""By ``model_type`` of ``config.json``."""

NAMESAKES: dict[str, list[tuple[Callable[[Config], bool], Family]]] = {
    "bert": [(is_jina_bert, JINA_BERT)]
}
"""Architectures under the ``model_type`` of another, and what tells their configs from its."""


def family_of(config: Config, folder: Path) -> Family:
    """The family of a checkpoint. Raises `ModelError` for an architecture that is not known."""
    for applies, namesake in NAMESAKES.get(config.model_type, ()):
        if applies(config):
            return namesake
    family = FAMILIES.get(config.model_type)
    if family is None:
        names = ", ".join(config.architectures) or "no architecture"
        raise ModelError(
            f"{folder}: {config.model_type} ({names}) is not a model that resift can convert; "
            f"expected one of {', '.join(FAMILIES)}"
        )
    return family
