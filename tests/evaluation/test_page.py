"""The page of an evaluation: complete, escaped, in one file, written whole or not at all."""

import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from evaluation.example_evaluations import (
    HOSTILE,
    make_evaluation,
    without_judgments,
    without_times,
)
from resift.errors import OutputError
from resift.evaluation.report.page import check_page, page, write_page

VOID = {"meta", "link"}


class Seen(HTMLParser):
    """A parsed page: elements, texts, and tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def names(self) -> set[str]:
        return {name for name, _ in self.elements}

    def figures(self) -> list[str]:
        """The descriptions of plots for screen readers."""
        return [str(attributes["aria-label"]) for name, attributes in self.elements
                if name == "svg" and "aria-label" in attributes]  # fmt: skip

    def text(self) -> str:
        return "".join(self.texts)


def seen(text: str) -> Seen:
    seen_page = Seen(text)
    assert seen_page.open == []
    return seen_page


def test_the_page_has_all_that_the_terminal_shows() -> None:
    evaluation = make_evaluation(queries=12)
    text = seen(page(evaluation)).text()
    system = evaluation.systems[0]
    answer, *more = system.verdict.split("; ")
    for part in (answer, *more, evaluation.collection, system.fingerprint, "12, 12 of them judged",
                 "p50 12 ms, p95 30 ms, 3.5 requests a query", "depth 100", "RR@10", "12,000",
                 "depth=10 (the least depth), fusion_weight=0.3", "Hurt: 4", "Helped: 4",
                 "3.4 of a query's first ten"):  # fmt: skip
        assert part in text


def test_a_plot_for_each_question_and_one_of_the_changes_a_system() -> None:
    labels = seen(page(make_evaluation(labels=("bundled", "other")))).figures()
    assert [label.split(";")[0].split(":")[0] for label in labels] == [
        "nDCG@10 by depth",
        "nDCG@10 against p95",
        "Milliseconds by depth",
        "change in nDCG@10 by query",
        "change in nDCG@10 by query",
    ]
    assert all("bundled: depth 10" in label and "other: depth 10" in label for label in labels[:3])


def test_without_judgments_the_latency_is_there_and_a_sentence_for_the_rest() -> None:
    seen_page = seen(page(without_judgments(make_evaluation())))
    assert [label.split(";")[0] for label in seen_page.figures()] == ["Milliseconds by depth"]
    assert "Without judgments there is no curve" in seen_page.text()
    assert "12, none judged" in seen_page.text() and "p95 ms" in seen_page.text()


def test_without_times_the_quality_is_there_and_a_sentence_for_the_rest() -> None:
    seen_page = seen(page(without_times(make_evaluation())))
    assert len(seen_page.figures()) == 2
    assert "No query was timed" in seen_page.text() and "p95 ms" not in seen_page.text()


@pytest.mark.parametrize("judged", [True, False])
def test_texts_are_escaped(judged: bool) -> None:
    usual, unusual = (
        make_evaluation(labels="ab"),
        make_evaluation(labels=("a", HOSTILE), text=HOSTILE),
    )
    if not judged:
        usual, unusual = without_judgments(usual), without_judgments(unusual)
    plain, hostile = seen(page(usual)), seen(page(unusual))
    assert [name for name, _ in hostile.elements] == [name for name, _ in plain.elements]
    allowed = {key for _, attributes in plain.elements for key in attributes}
    assert {key for _, attributes in hostile.elements for key in attributes} == allowed
    assert "<script>alert('hit')</script>" in hostile.text() and "$notes" in hostile.text()


def test_invalid_characters_are_replaced() -> None:
    text = page(make_evaluation(text=HOSTILE))
    assert text.encode() and "\ufffd" in text
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


def test_the_page_loads_nothing_from_outside() -> None:
    text = page(make_evaluation())
    assert "://" not in text and "@import" not in text and "url(" not in text
    seen_page = seen(text)
    assert not {"script", "img", "iframe", "object", "use", "image"} & seen_page.names()
    references = {value for _, attributes in seen_page.elements for key, value in attributes.items()
             if key in {"href", "src", "srcset", "action"}}  # fmt: skip
    assert references == {"data:,"}
    policy = next(attributes["content"] for name, attributes in seen_page.elements
                  if attributes.get("http-equiv") == "Content-Security-Policy")  # fmt: skip
    assert str(policy).startswith("default-src 'none'; style-src 'unsafe-inline';")


def test_many_queries_are_all_drawn_and_the_most_changed_listed() -> None:
    seen_page = seen(page(make_evaluation(queries=900)))
    classes = [str(attributes.get("class")) for _, attributes in seen_page.elements]
    assert sum(name == "details" for name, _ in seen_page.elements) == 50
    assert "Hurt most: 25 of " in seen_page.text()
    assert sum(name.startswith("bar ") for name in classes) == 900 + 3  # and the legend


@pytest.mark.parametrize("depths", [(50,), (1, 2), tuple(range(1, 60))])
@pytest.mark.parametrize("queries", [1, 2])
def test_any_depths_and_few_queries(depths: tuple[int, ...], queries: int) -> None:
    text = page(
        make_evaluation(queries=queries, depths=depths, labels=[str(label) for label in range(9)])
    )
    assert len(seen(text).figures()) == 3 + 9 and "nan" not in text and "inf" not in text


def test_the_page_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "report.html"
    write_page(file, make_evaluation())
    whole = file.read_text(encoding="utf-8")
    assert whole.endswith("</html>\n")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match=r"report\.html: .*no space left on the disk"):
        write_page(file, make_evaluation(queries=3))
    assert file.read_text(encoding="utf-8") == whole and list(tmp_path.iterdir()) == [file]


def test_a_link_is_followed(tmp_path: Path) -> None:
    real = tmp_path / "real.html"
    (tmp_path / "link.html").symlink_to(real)
    write_page(tmp_path / "link.html", make_evaluation())
    assert real.is_file() and (tmp_path / "link.html").is_symlink()


@pytest.mark.parametrize("name", ["missing/report.html", "folder", "file/report.html", "n" * 300])
def test_an_unwritable_file_is_an_error_before_and_after(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for write in (check_page, lambda file: write_page(file, make_evaluation())):
        with pytest.raises(OutputError, match=r"cannot be written|a folder|no folder") as raised:
            write(tmp_path / name)
        assert "\n" not in str(raised.value)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder"]


def test_checking_whether_it_can_be_written_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    check_page(file)
    assert list(tmp_path.iterdir()) == []
    write_page(file, make_evaluation())
    before = file.read_text()
    check_page(file)
    assert file.read_text() == before and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("before", ["an essay", "<!doctype html>\n<title>My thesis</title>"])
def test_another_page_is_never_replaced(tmp_path: Path, before: str) -> None:
    file = tmp_path / "report.html"
    file.write_text(before)
    for write in (check_page, lambda path: write_page(path, make_evaluation())):
        with pytest.raises(OutputError, match="exists and is not a page that resift eval wrote"):
            write(file)
    assert file.read_text() == before
    write_page(Path(os.devnull), make_evaluation())
    assert not Path(os.devnull).is_file()
