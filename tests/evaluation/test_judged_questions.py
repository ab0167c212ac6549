"""The demo's judged questions: complete, of this corpus, and ranked as well as before."""

from collections import Counter
from pathlib import Path

import pytest

from evaluation.small_collection import json_lines
from resift.cli.demo import SERVICES, operations, write_documents
from resift.evaluation.collection import Task, load_task
from resift.evaluation.evaluate import EvaluationPlan, evaluate
from resift.evaluation.first_stage import FromIndex
from resift.evaluation.queries import read_queries
from resift.evaluation.result import Evaluation
from resift.evaluation.second_stage import SecondStage, SystemOptions
from resift.evaluation.trec import read_qrels
from resift.rerank.reranker import Reranker
from resift.search.index import Index
from resift.settings import Settings

pytest.importorskip("botocore")
FOLDER = Path(__file__).parents[2] / "examples" / "aws-operations"
SPLITS = ("dev", "test")


def _qrels(split: str) -> dict[str, dict[str, float]]:
    return read_qrels(FOLDER / "qrels" / f"{split}.tsv")


def test_every_question_is_judged_in_one_split_with_a_relevant_document() -> None:
    queries, splits = read_queries(FOLDER), [_qrels(split) for split in SPLITS]
    assert len(queries) >= 80 and len(set(queries.values())) == len(queries)
    assert sorted([*splits[0], *splits[1]]) == sorted(queries)
    for grades in (each for split in splits for each in split.values()):
        assert max(grades.values()) == 2 and set(grades.values()) <= {0, 1, 2}
        assert len(grades) >= 14


def test_what_was_judged_is_in_the_corpus() -> None:
    known = {row["_id"] for service in SERVICES for row in operations(service)}
    judged = {name for split in SPLITS for grades in _qrels(split).values() for name in grades}
    assert judged <= known
    services = {name.partition(".")[0] for name in judged}
    assert len(services) == len(SERVICES)


def test_the_readme_counts_what_is_there() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    for split in SPLITS:
        counts = Counter(grade for grades in _qrels(split).values() for grade in grades.values())
        numbers = [len(_qrels(split)), counts[2], counts[1], counts[0]]
        assert (
            f"| `qrels/{split}.tsv` | {' | '.join(f'{number:,}' for number in numbers)} |" in text
        )


def test_the_demo_is_as_good_on_the_judged_documents_as_before(tmp_path: Path) -> None:
    """Every second question, over its judged documents: .441, .635 and .496 were measured."""
    task = load_task(FOLDER, None, 1, 26)
    judged = {name for grades in task.qrels.values() for name in grades}
    rows = [row for service in SERVICES for row in operations(service) if row["_id"] in judged]
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "judged.jsonl").write_text(json_lines(rows), encoding="utf-8")
    evaluation = _evaluated(task, tmp_path)
    assert (len(rows), evaluation.judged) == (675, 26)
    assert evaluation.first["nDCG@10"] >= 0.42 and evaluation.first["R@20"] >= 0.61
    assert evaluation.systems[0].rows[-1].measures["nDCG@10"] >= 0.475


@pytest.mark.long
def test_the_demo_is_as_good_as_before(tmp_path: Path) -> None:
    """Measured at depth 20: .425, .576, .463 and .947; less a margin for other machines."""
    write_documents(tmp_path / "documents")
    evaluation = _evaluated(load_task(FOLDER, None, 1, None), tmp_path)
    assert evaluation.judged == 51
    assert evaluation.first["nDCG@10"] >= 0.40 and evaluation.first["R@20"] >= 0.55
    assert evaluation.systems[0].rows[-1].measures["nDCG@10"] >= 0.44
    assert evaluation.systems[0].rows[-1].measures["Judged@10"] >= 0.93


def _evaluated(task: Task, folder: Path) -> Evaluation:
    """The bundled model over an index of the folder's documents."""
    index = Index(str(folder / "index"), settings=Settings())
    index.sync(str(folder / "documents"))
    system = SecondStage(SystemOptions("bundled"), Reranker(settings=Settings()))
    return evaluate(task, FromIndex(index), [system], EvaluationPlan(depths=[10, 20]))
