"""Make ``fixtures/``: tiny checkpoints with the logits that their authors' libraries give for them.

Run in an environment with torch, transformers and sentence-transformers, from the repository::

    PYTHONPATH=src:tests python -m convert.make_fixtures [NAME …]

A fixture has the files that the library saves, and ``logits.json``: pairs, the logit of each, and
the versions that gave them. `test_fixtures` holds the float32 graph to these logits without torch.
To add an architecture, add an entry to `FIXTURES`. Keep the whole under 1 MB.
"""

import shutil
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from convert.agreement import sentence_transformers_logits, transformers_logits
from convert.checkpoints import config_of, make_checkpoint, tokenizer
from convert.families.checkpoints import make_checkpoint as make_with_its_tokenizer
from convert.families.forward import SMALL
from convert.families.test_new_model import REAL, as_gte
from convert.families.test_new_model import make as write_new_model
from convert.plain_checkpoints import FAMILIES, POSITIONS, pairs, write_json

FOLDER = Path(__file__).parent / "fixtures"
DIM, WIDE, LAYERS, HEADS = 16, 24, 3, 2
PAIRS = 12
LIBRARIES = ("torch", "transformers", "sentence-transformers")


def classifier(family: str, **changes: Any) -> Callable[[Path], None]:
    """A sequence classifier by transformers."""

    def make(folder: Path) -> None:
        make_checkpoint(folder, family, **sizes(family), **changes)
        lines = pairs(PAIRS)
        write_logits(folder, lines, transformers_logits(folder, lines, POSITIONS).tolist())

    return make


def with_its_tokenizer(family: str, **changes: Any) -> Callable[[Path], None]:
    """The same with a tokenizer of the family's own kind."""

    def make(folder: Path) -> None:
        make_with_its_tokenizer(folder, family, **sizes(family), **changes)
        lines = pairs(PAIRS)
        write_logits(folder, lines, transformers_logits(folder, lines, POSITIONS).tolist())

    return make


def new_model(folder: Path) -> None:
    """gte-multilingual-reranker's architecture, under the name that transformers has for it."""
    source = write_new_model(folder.with_name("source"), REAL | SMALL | sizes("new"))
    angles = {"rope_type": "default", "rope_theta": 20_000.0}
    as_gte(source, rope_parameters=angles).rename(folder)
    shutil.rmtree(source)
    lines = pairs(PAIRS)
    write_logits(folder, lines, transformers_logits(folder, lines, POSITIONS).tolist())


def modules(folder: Path) -> None:
    """A cross-encoder of modules by sentence-transformers, in the layout of ettin's rerankers."""
    prompts: dict[str, Any] = {"prompts": {"ask": "ba be "}, "default_prompt_name": "ask"}
    make_modules(folder, sizes("modernbert"), **prompts)
    (folder / "README.md").unlink()
    lines = [(query, text) for query, text in pairs(2 * PAIRS) if len(text.split()) < 50][:PAIRS]
    write_logits(folder, lines, sentence_transformers_logits(folder, lines).tolist())


def make_modules(
    folder: Path, config: dict[str, Any], max_tokens: int = POSITIONS, **settings: Any
) -> Path:
    """Write encoder, pooling, dense layer, norm and the dense layer that scores."""
    import torch
    import transformers
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import LayerNorm, Pooling

    from convert.checkpoints import spread

    torch.manual_seed(13)
    encoder = folder.with_name(f"{folder.name}.encoder")
    auto: Any = transformers.AutoModel
    model = auto.from_config(config_of("modernbert", **config))
    model.save_pretrained(encoder)
    tokenizer("modernbert").save_pretrained(encoder)
    dim = model.config.hidden_size
    layers = [
        Transformer(str(encoder), max_seq_length=max_tokens),
        Pooling(dim, pooling_mode="cls"),
        Dense(dim, dim, bias=False, activation_function=torch.nn.GELU()),
        LayerNorm(dim),
        Dense(dim, 1, activation_function=torch.nn.Identity(), module_output_name="scores"),
    ]
    cross_encoder = CrossEncoder(modules=layers, device="cpu", **settings)
    spread(cross_encoder)
    cross_encoder.save_pretrained(str(folder))
    shutil.rmtree(encoder)
    return folder


def sizes(family: str) -> dict[str, Any]:
    """A fixture's sizes in the names of its family."""
    if family == "distilbert":
        return {"dim": DIM, "hidden_dim": WIDE, "n_layers": LAYERS, "n_heads": HEADS}
    values: dict[str, Any] = {
        "hidden_size": DIM,
        "intermediate_size": WIDE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
    }
    return values | ({"embedding_size": DIM // 2} if family in ("electra", "albert") else {})


def write_logits(folder: Path, lines: list[tuple[str, str]], logits: list[float]) -> None:
    """Write ``logits.json``."""
    versions = {name: version(name) for name in LIBRARIES}
    write_json(folder / "logits.json", {"made_with": versions, "pairs": lines, "logits": logits})


FIXTURES: dict[str, Callable[[Path], None]] = {
    **{family: classifier(family) for family in FAMILIES},
    "albert": with_its_tokenizer("albert"),
    "mpnet": with_its_tokenizer("mpnet", spread=0.3),
    "deberta-v2": with_its_tokenizer("deberta-v2", pooler_hidden_size=DIM),
    "gte": new_model,
    "modernbert": classifier("modernbert"),
    "modernbert-mean": classifier("modernbert", classifier_pooling="mean"),
    "modernbert-modules": modules,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or FIXTURES:
        shutil.rmtree(FOLDER / name, ignore_errors=True)
        FIXTURES[name](FOLDER / name)
