"""An export's stages: on which texts they are compared and ranged, and what of int8 is kept."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from convert.plain_checkpoints import TRAINED, WORDS, pairs, write_checkpoint
from convert.reference import Bert
from resift.convert import export as module
from resift.convert.calibration_text import CalibrationTexts, candidate_lists
from resift.convert.checkpoint import read_cross_encoder
from resift.convert.export import Export, Stages, open_export, with_exits, write_stages
from resift.errors import ParityError
from resift.rerank.artifact import TOKENIZER, Agreement

KNOWN, HELD_OUT = pairs(60, seed=1), pairs(60, seed=2)
LISTS = candidate_lists(HELD_OUT, 15, 20)
FOREIGN = [(f"quid est {number}", f"nihil scio de {number}") for number in range(60)]
FOREIGN_LISTS = candidate_lists(FOREIGN, 15, 20)
OWN = CalibrationTexts(KNOWN, HELD_OUT, KNOWN, LISTS)
ALIEN = CalibrationTexts(FOREIGN, FOREIGN, FOREIGN, FOREIGN_LISTS)


def opened(
    folder: Path, texts: CalibrationTexts = OWN, family: str = "roberta", layers: int = 2
) -> Export:
    checkpoint = write_checkpoint(
        folder / "checkpoint", family, spread=TRAINED, num_hidden_layers=layers
    )
    (folder / "work").mkdir()
    source = read_cross_encoder(checkpoint)
    return open_export(source, [range(layers)], texts, folder / "work")


def words(stages: Stages) -> set[str]:
    return {word for query, texts in stages.lists for word in f"{query} {' '.join(texts)}".split()}


def test_the_tokenizer_is_written_first(tmp_path: Path) -> None:
    export = opened(tmp_path)
    assert [file.name for file in export.artifact.iterdir()] == [TOKENIZER]
    assert export.files == [export.artifact / "stage-0.onnx"]


def test_a_float32_export_has_the_logits_of_its_definition(tmp_path: Path) -> None:
    export = opened(tmp_path, family="bert")
    stages = write_stages(export, int8=False)
    assert (stages.report, stages.is_int8) == (None, False)
    assert [len(values) for values in stages.logits] == [len(texts) for _, texts in LISTS]
    weights = dict(np.load(_saved(export, tmp_path)))
    model = Bert(weights, 4, "gelu", "tanh")
    query, texts = stages.lists[0]
    for row, logit in zip(export.rows(query, texts), stages.logits[0], strict=True):
        types = (np.arange(len(row.ids)) >= row.second).astype(np.int64)
        assert model.logit(row.ids, types) == pytest.approx(logit, abs=1e-4)


def _saved(export: Export, folder: Path) -> Path:
    np.savez(folder / "weights.npz", **export.source.weights)  # type: ignore[arg-type]
    return folder / "weights.npz"


def test_lists_of_known_words_are_compared(tmp_path: Path) -> None:
    assert write_stages(opened(tmp_path), int8=False).lists == LISTS


def test_lists_with_unknown_words_are_left_out(tmp_path: Path) -> None:
    lists = [*LISTS[:10], *FOREIGN_LISTS[:5]]
    texts = CalibrationTexts(KNOWN, HELD_OUT, KNOWN, lists)
    assert write_stages(opened(tmp_path, texts), int8=False).lists == LISTS[:10]


def test_if_most_lists_have_unknown_words_random_words_are_compared(tmp_path: Path) -> None:
    lists = [*LISTS[:5], *FOREIGN_LISTS[:10]]
    texts = CalibrationTexts(KNOWN, HELD_OUT, KNOWN, lists)
    stages = write_stages(opened(tmp_path, texts), int8=False)
    assert [len(group) for _, group in stages.lists] == [20] * 15
    assert words(stages) <= set(WORDS) and stages.lists[:5] != LISTS[:5]


def test_ranges_are_not_measured_on_unknown_words_nor_on_what_is_compared(tmp_path: Path) -> None:
    export = opened(tmp_path, ALIEN)
    ranged = [tuple(row.ids) for (row,) in module._range_rows(export)]
    assert min(len(ids) for ids in ranged) > 5
    stages = write_stages(export, int8=True)
    assert stages.is_int8
    rows = [row for query, texts in stages.lists for row in export.rows(query, texts)]
    assert not {tuple(row.ids) for row in rows} & set(ranged)


def test_a_few_unknown_words_do_not_replace_range_texts(tmp_path: Path) -> None:
    mostly = [(f"{query} nihil", text) for query, text in KNOWN]
    export = opened(tmp_path, CalibrationTexts(mostly, HELD_OUT, mostly, LISTS))
    known = [row.seen for (row,) in module._range_rows(export)]
    assert known == [min(row.seen, 64) for q, t in mostly for row in export.rows(q, [t])]


@pytest.mark.parametrize("int8", [True, False])
def test_each_group_of_layers_is_a_file(int8: bool, tmp_path: Path) -> None:
    export = opened(tmp_path, layers=3)
    parts = Export(export.source, export.tokens, [range(1), range(1, 3)], OWN, export.folder)
    parts = with_exits(parts, LISTS)
    assert {name for name in parts.source.weights if name.startswith("exit.")}
    stages = write_stages(parts, int8=int8)
    assert stages.is_int8 is int8
    names = [TOKENIZER, "stage-0.onnx", "stage-1.onnx"]
    assert sorted(file.name for file in export.artifact.iterdir()) == sorted(names)
    assert not (export.folder / "float32").exists()
    first, second = (onnx.load(str(file)).graph for file in parts.files)
    (states,) = (output for output in first.output if output.name == "next_states")
    (given,) = (entry for entry in second.input if entry.name == "states")
    types = {entry.type.tensor_type.elem_type for entry in (states, given)}
    assert len(types) == 1 and (onnx.TensorProto.INT8 in types) is int8


def test_float32_stages_stay_if_the_check_refuses_int8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = Agreement(0.9, 0.9, 0.9, 300, 1.0, is_int8=False)
    calls: list[Sequence[object]] = []

    def refused(*arguments: object) -> tuple[None, Agreement]:
        calls.append(arguments)
        return None, report

    monkeypatch.setattr(module, "checked", refused)
    export = opened(tmp_path)
    stages = write_stages(export, int8=True)
    assert len(calls) == 1 and stages.report == report and not stages.is_int8
    operators = {node.op_type for node in onnx.load(str(export.files[0])).graph.node}
    assert not operators & {"QuantizeLinear", "DequantizeLinear"}


@pytest.mark.parametrize("int8", [True, False])
def test_logits_that_are_not_finite_are_an_error(int8: bool, tmp_path: Path) -> None:
    export = opened(tmp_path)
    export.source.weights["head.projection.bias"][:] = np.inf
    with pytest.raises(ParityError, match="its logits are not finite in float32"):
        write_stages(export, int8=int8)
