"""One cross-encoder in every form that a peer loads, made from the same weights.

    python benchmarks/peer_models.py FOLDER

Needs  pip install 'sentence-transformers[onnx,openvino]' nncf. The int8 forms are those that
sentence-transformers documents as fastest on CPUs: ONNX with dynamic int8 for the machine's
instructions, OpenVINO with static int8 (NNCF, called as by its exporter).
"""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ONNX = "onnx/model.onnx"
ONNX_INT8 = "onnx/model_qint8_avx512_vnni.onnx"
OPENVINO = "openvino/openvino_model.xml"
OPENVINO_INT8 = "openvino/openvino_model_qint8_quantized.xml"
FLASHRANK = "ms-marco-MiniLM-L-12-v2"  # a name that flashrank maps to a file name
CALIBRATION_PAIRS = 300


def main() -> None:
    """Write the missing forms into a transformers folder."""
    folder = Path(sys.argv[1])
    if not (folder / ONNX).is_file():
        _export_onnx(folder, folder / ONNX)
    if not (folder / ONNX_INT8).is_file():
        _quantise_onnx(folder / ONNX, folder / ONNX_INT8)
    if not (folder / OPENVINO_INT8).is_file():
        _make_openvino(folder)
    flashrank = folder / "flashrank" / FLASHRANK
    for file, name in ((ONNX, "exact.onnx"), (ONNX_INT8, "flashrank-MiniLM-L-12-v2_Q.onnx")):
        flashrank.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / file, flashrank / name)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / name, flashrank / name)
    tokens = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    (flashrank / "special_tokens_map.json").write_text(json.dumps(tokens))
    if not (folder / "special_tokens_map.json").is_file():
        shutil.copy(flashrank / "special_tokens_map.json", folder)


def _export_onnx(folder: Path, file: Path) -> None:
    import torch
    import transformers

    model: Any = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    model.eval()
    names = transformers.AutoTokenizer.from_pretrained(folder).model_input_names
    feeds = tuple(torch.ones((2, 8), dtype=torch.int64) for _ in names)
    axes = {name: {0: "rows", 1: "positions"} for name in names} | {"logits": {0: "rows"}}
    file.parent.mkdir(exist_ok=True)
    torch.onnx.export(
        model, feeds, str(file), input_names=names, output_names=["logits"], dynamic_axes=axes,
        dynamo=False, opset_version=17,
    )  # fmt: skip


def _quantise_onnx(exact: Path, file: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(str(exact), str(file), weight_type=QuantType.QInt8, per_channel=True)


def _make_openvino(folder: Path) -> None:
    import nncf
    import openvino

    (folder / OPENVINO).parent.mkdir(exist_ok=True)
    model = openvino.convert_model(str(folder / ONNX))
    openvino.save_model(model, folder / OPENVINO, compress_to_fp16=False)
    dataset = nncf.Dataset(list(_samples(folder)))
    int8 = nncf.quantize(model, dataset, model_type=nncf.ModelType.TRANSFORMER)
    openvino.save_model(int8, folder / OPENVINO_INT8, compress_to_fp16=False)


def _samples(folder: Path) -> Iterator[dict[str, Any]]:
    import transformers
    from manual_texts import QUERY, texts

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for text in texts(CALIBRATION_PAIRS, 120, seed=11):
        yield dict(tokenizer(QUERY, text, return_tensors="np", truncation=True, max_length=512))


if __name__ == "__main__":
    main()
