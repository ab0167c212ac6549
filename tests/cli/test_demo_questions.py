"""The demo's questions: those of examples/aws-operations, shown by a rule, marked by grade."""

from dataclasses import replace
from pathlib import Path

import pytest

from cli.rankings import hit, ranking
from resift.cli import demo_report
from resift.cli.demo_measures import FULL_SUCCESS, NDCG, SUCCESS, Comparison, make_evaluator
from resift.cli.demo_questions import RULE, SHOWN, Question, questions, shown
from resift.cli.demo_report import (
    first_operations,
    is_success,
    mark,
    print_comparison,
    print_question,
)
from resift.cli.output import console
from resift.evaluation.queries import read_queries
from resift.evaluation.trec import read_qrels
from resift.types import Hit, Ranking

EXAMPLES = Path(__file__).parents[2] / "examples" / "aws-operations"
LOCK = Question("q", "keep it", {"s3.Lock": 2, "s3.Hold": 1})


def _hits(*names: str) -> list[Hit]:
    return [hit("text", f"Title of {name}", uri=f"/{name}", doc_id=name) for name in names]


def _ranking(*names: str) -> Ranking:
    return ranking(*_hits(*names))


def test_the_package_has_the_questions_and_judgments_of_the_examples() -> None:
    qrels = {
        **read_qrels(EXAMPLES / "qrels" / "dev.tsv"),
        **read_qrels(EXAMPLES / "qrels" / "test.tsv"),
    }
    expected = [
        (name, text, {operation: grade for operation, grade in qrels[name].items() if grade > 0})
        for name, text in read_queries(EXAMPLES).items()
    ]
    assert [(each.id, each.text, each.grades) for each in questions()] == expected
    assert len(expected) == 102


def test_the_shown_questions_are_the_first_of_the_first_five_services() -> None:
    judged = questions()
    chosen = shown(judged)
    assert [question.id for question in chosen] == ["q001", "q061", "q028", "q073", "q049"]
    services = ["acm", "apigateway", "athena", "autoscaling", "backup"]
    every = sorted({name for question in judged for name in question.services})
    assert every[:SHOWN] == services
    for service, question in zip(services, chosen, strict=True):
        first = next(each for each in judged if service in each.services)
        assert question == first
    assert "first five services in alphabetical order" in RULE


def test_a_question_of_two_services_is_shown_once() -> None:
    both = Question("1", "a", {"a.X": 2, "b.X": 2})
    later, part = Question("2", "b", {"b.Y": 2}), Question("3", "c", {"c.Z": 1})
    assert shown([part, both, later]) == [both, later]
    assert shown([both]) == [both]
    assert len(shown([Question(str(n), "", {f"s{n}.X": 2}) for n in range(9)])) == SHOWN


def test_operations_are_marked_by_grade_and_each_is_shown_once() -> None:
    cells = first_operations(LOCK, _ranking("s3.Hold", "s3.Hold", "s3.Get", "s3.Lock", "s3.Put"))
    assert [(sign.plain, title.plain) for sign, title in cells] == [
        ("~", "Title of s3.Hold"),
        (" ", "Title of s3.Get"),
        ("✓", "Title of s3.Lock"),
    ]
    assert [mark(grade) for grade in (0, 1, 2)] == [" ", "~", "✓"]


def test_a_success_has_a_judged_operation_among_the_first_three() -> None:
    assert is_success(LOCK, _ranking("a.A", "a.B", "s3.Hold"))
    assert is_success(LOCK, _ranking("a.A", "a.A", "a.B", "s3.Lock"))
    assert not is_success(LOCK, _ranking("a.A", "a.B", "a.C", "s3.Lock"))


@pytest.mark.parametrize("width", [40, 100])
def test_both_columns_are_printed_with_marks_and_times(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "_width", width)
    before, after = _ranking("a.A", "s3.Hold"), _ranking("s3.Lock", "a.A", "a.B")
    after = replace(after, receipt=replace(after.receipt, timings_ms={"total": 41.0}))
    print_question(LOCK, before, after)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= width
    words = " ".join(out.split())
    assert "q: keep it first stage reranked 1" in words and words.count("✓") == 1
    assert "~" in words and "with reranking 41 ms" in words and "3 of 3 candidates" in words


def test_marks_are_readable_without_unicode(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(type(console), "encoding", "ascii")
    print_question(LOCK, _ranking("s3.Lock"), _ranking("s3.Hold"))
    out = capsys.readouterr().out
    assert out.isascii() and "* Title of s3.Lock" in out and "~ Title of s3.Hold" in out


def test_the_measures_are_those_of_trec_eval() -> None:
    evaluator = make_evaluator([LOCK, Question("r", "x", {"a.A": 1})])
    values = evaluator.per_query({"q": {"s3.Hold": 3.0, "s3.Lock": 2.0}, "r": {"b.B": 1.0}})
    assert values[SUCCESS] == {"q": 1.0, "r": 0.0}
    assert values[FULL_SUCCESS] == {"q": 1.0, "r": 0.0}
    assert values[NDCG]["q"] == pytest.approx(0.8597, abs=1e-4)


def test_the_measures_are_printed_before_and_after(capsys: pytest.CaptureFixture[str]) -> None:
    before = {NDCG: 0.41249, SUCCESS: 0.5, FULL_SUCCESS: 0.0}
    after = {NDCG: 0.5, SUCCESS: 1.0, FULL_SUCCESS: 0.25}
    print_comparison(Comparison(102, before, after, 12.4))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "All 102 judged questions, 30 candidates each, in 12 s"
    assert lines[2:5] == [
        "nDCG@10 .412 .500",
        "success@3, ✓ or ~ .500 1.000",
        "success@3, ✓ .000 .250",
    ]
    assert demo_report.LEGEND.startswith("✓ does what is asked")
