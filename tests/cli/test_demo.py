"""The demo runs end to end on real documents, says what it did, and a second run embeds nothing."""

from pathlib import Path

import pytest

from resift.cli import demo
from resift.cli.demo import SERVICES, operations, plain_text
from resift.errors import MissingExtra

pytest.importorskip("botocore")
pytest.importorskip("lance")


def test_the_corpus_has_three_thousand_operations_with_titles_and_texts() -> None:
    rows = [row for service in SERVICES for row in operations(service)]
    assert len(rows) >= 3000
    assert len({row["_id"] for row in rows}) == len(rows)
    named = {row["_id"]: row for row in rows}
    assert named["s3.PutObjectRetention"]["title"] == "Amazon S3: put object retention"
    assert named["sqs.SendMessage"]["text"]
    assert not any("<p>" in row["text"] for row in rows)


def test_markup_becomes_text() -> None:
    assert plain_text("<p>Places a <b>legal hold</b> on an object.</p><p>More.</p>") == (
        "Places a legal hold on an object.\n\nMore."
    )
    assert plain_text("") == ""


def test_a_second_demo_run_embeds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "SERVICES", ("sqs", "kms"))
    demo.demo(tmp_path)
    first = capsys.readouterr().out
    assert "passages embedded" in first
    for question in demo.QUESTIONS:
        assert question in first
    assert "Amazon SQS: start message move" in first  # a table of 80 columns breaks after it
    assert "first stage" in first and "reranked" in first and "score" in first
    assert "resift index FOLDER --index my-index" in first
    demo.demo(tmp_path)
    assert ": 0 passages embedded, 2 files unchanged" in capsys.readouterr().out


def test_without_botocore_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "botocore.loaders", None)
    with pytest.raises(MissingExtra, match=r"pip install 'resift\[demo\]'"):
        next(operations("s3"))
