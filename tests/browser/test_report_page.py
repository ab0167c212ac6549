"""The page of an evaluation in a browser: alone, offline, in light, dark and print."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from evaluation.example_evaluations import HOSTILE, make_evaluation, without_judgments
from resift.evaluation.report.page import write_page
from resift.evaluation.result import Evaluation

if TYPE_CHECKING:
    from playwright.sync_api import Page

QUERIES = 42
A4 = 680  # pixels between the page's margins
LABELS = ("bundled", "bundled?fusion_weight=0", "third", "fourth", "fifth", "sixth")

CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgb = colour => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = element => {
    for (let node = element; node; node = node.parentElement) {
      const colour = rgb(getComputedStyle(node).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    throw new Error("no background");
  };
  const contrasts = [];
  for (const element of document.querySelectorAll("body *")) {
    const hasText = [...element.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!hasText || element.localName === "title" || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const ink = element.namespaceURI.endsWith("svg") ? style.fill : style.color;
    const [a, b] = [light(rgb(ink)), light(ground(element))].sort((x, y) => y - x);
    contrasts.push([(a + 0.05) / (b + 0.05), element.textContent.slice(0, 40)]);
  }
  return contrasts;
}"""
"""The contrast of each text against what lies behind it, as WCAG 2 counts it."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("page"), make_evaluation(QUERIES, LABELS))


@pytest.fixture
def offline(page: "Page") -> Iterator["Page"]:
    """A page without network; fails afterwards where anything but one file was requested."""
    asked: list[str] = []
    page.context.on("request", lambda sent: asked.append(sent.url))
    page.context.set_offline(True)
    yield page
    assert len(set(asked)) == 1 and asked[0].startswith("file:")


def written(folder: Path, evaluation: Evaluation) -> Path:
    write_page(folder / "report.html", evaluation)
    return folder / "report.html"


def boxes(page: "Page") -> list[dict[str, float]]:
    """Where each plot is."""
    rectangles: list[dict[str, float]] = page.locator("figure > svg").evaluate_all(
        "all => all.map(node => node.getBoundingClientRect().toJSON())"
    )
    return rectangles


def contrasts(page: "Page") -> list[Any]:
    values: list[Any] = page.evaluate(CONTRASTS)
    return values


def background(page: "Page") -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_every_plot_is_there_without_network(offline: "Page", file: Path) -> None:
    offline.goto(file.as_uri())
    rectangles = boxes(offline)
    assert len(rectangles) == 3 + len(LABELS)
    assert all(each["width"] > 300 and each["height"] > 150 for each in rectangles)
    for plot in offline.locator("figure > svg").all():
        assert plot.is_visible()


def test_a_bar_a_judged_query_and_a_mark_a_depth(offline: "Page", file: Path) -> None:
    offline.goto(file.as_uri())
    drawn = offline.locator("figure > svg")
    counts = drawn.evaluate_all(
        """all => all.map(node => ["bar", "mark", "band"].map(name =>
            [...node.querySelectorAll("." + name)].filter(part => {
                const box = part.getBoundingClientRect();
                return box.width > 0 && box.height > 0;
            }).length))"""
    )
    marks = 4 * len(LABELS)
    assert counts[:3] == [[0, marks, len(LABELS)], [0, marks, 0], [0, 2 * marks, 0]]
    assert counts[3:] == [[QUERIES, 0, 0]] * len(LABELS)


def test_bars_of_helped_queries_go_up_from_those_of_hurt_ones(offline: "Page", file: Path) -> None:
    offline.goto(file.as_uri())
    edges = offline.locator("figure > svg").last.evaluate(
        """node => Object.fromEntries(["helped", "hurt"].map(name => [name,
            [...node.querySelectorAll("." + name)].map(bar => bar.getBoundingClientRect())
                .map(box => [box.top, box.bottom])]))"""
    )
    zero = max(bottom for _, bottom in edges["helped"])
    assert all(bottom == pytest.approx(zero, abs=0.2) for _, bottom in edges["helped"])
    assert all(top == pytest.approx(zero, abs=0.2) for top, _ in edges["hurt"])


def test_a_systems_colour_is_the_same_in_the_legend_and_differs_from_the_others(
    offline: "Page", file: Path
) -> None:
    offline.goto(file.as_uri())
    figure = offline.locator("figure").first
    colour = "all => all.map(node => getComputedStyle(node).stroke)"
    shown = figure.locator(".legend .line").evaluate_all(colour)
    assert shown == figure.locator("> svg .line").evaluate_all(colour)
    assert len(set(shown)) == len(LABELS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_texts_have_enough_contrast(offline: "Page", file: Path, scheme: Any) -> None:
    offline.emulate_media(color_scheme=scheme)
    offline.goto(file.as_uri())
    offline.evaluate("document.querySelectorAll('details').forEach(node => node.open = true)")
    values = contrasts(offline)
    assert len(values) > 300
    assert [value for value in values if value[0] < 4.5] == []
    channels = [int(value) for value in re.findall(r"\d+", background(offline))]
    assert max(channels) < 64 if scheme == "dark" else min(channels) > 192


def test_the_print_is_white_and_shows_folded_queries(offline: "Page", file: Path) -> None:
    offline.emulate_media(color_scheme="dark")
    offline.goto(file.as_uri())
    folded = offline.locator("details").first
    document = folded.locator("tbody tr").first
    assert not document.is_visible()
    on_screen = folded.bounding_box()
    offline.emulate_media(media="print", color_scheme="dark")
    assert background(offline) == "rgb(255, 255, 255)"
    on_paper = folded.bounding_box()
    assert on_screen and on_paper and on_paper["height"] > on_screen["height"] + 40
    printed = offline.pdf(format="A4")
    assert printed.startswith(b"%PDF") and len(printed) > 20_000


def test_paper_cuts_no_table(offline: "Page", file: Path) -> None:
    offline.set_viewport_size({"width": A4, "height": 1000})
    offline.emulate_media(media="print")
    offline.goto(file.as_uri())
    edges = offline.locator("table").evaluate_all(
        "all => all.map(node => node.getBoundingClientRect().right)"
    )
    assert len(edges) > 2 * len(LABELS) and max(edges) <= A4


def test_paper_names_the_documents_that_moved(offline: "Page", file: Path) -> None:
    pdfium = pytest.importorskip("pypdfium2")
    offline.goto(file.as_uri())
    document = pdfium.PdfDocument(io.BytesIO(offline.pdf(format="A4")))
    text = "".join(document[page].get_textpage().get_text_range() for page in range(len(document)))
    assert "d2" in text


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_a_page_is_never_wider_than_its_screen(offline: "Page", file: Path, width: int) -> None:
    offline.set_viewport_size({"width": width, "height": 800})
    offline.goto(file.as_uri())
    assert offline.evaluate("document.documentElement.scrollWidth") == width
    assert min(each["width"] for each in boxes(offline)) > 300
    sizes = offline.locator("figure > svg text").evaluate_all(
        """all => all.map(node => parseFloat(getComputedStyle(node).fontSize)
            * node.ownerSVGElement.getScreenCTM().a)"""
    )
    assert min(sizes) > 9.5


def test_a_figure_is_on_one_line(offline: "Page", file: Path) -> None:
    offline.goto(file.as_uri())
    heights = offline.locator("summary b, summary .change, .wide td").evaluate_all(
        "all => all.map(node => node.getBoundingClientRect().height)"
    )
    assert max(heights) < 36


def test_the_keyboard_opens_a_query(offline: "Page", file: Path) -> None:
    offline.goto(file.as_uri())
    offline.locator("summary").first.focus()
    offline.keyboard.press("Enter")
    assert offline.locator("details[open] tbody tr").first.is_visible()


def test_hostile_texts_are_texts(offline: "Page", tmp_path: Path) -> None:
    labels = ("bundled", HOSTILE)
    offline.goto(written(tmp_path, make_evaluation(QUERIES, labels, text=HOSTILE)).as_uri())
    assert offline.title().startswith("<script>alert('hit')</script>")
    assert offline.locator("script, img").count() == 0
    assert "<script>alert('hit')</script>" in offline.locator("summary .query").first.inner_text()


def test_without_judgments_latency_is_drawn_and_the_rest_explained(
    offline: "Page", tmp_path: Path
) -> None:
    evaluation = without_judgments(make_evaluation(QUERIES))
    offline.goto(written(tmp_path, evaluation).as_uri())
    assert len(boxes(offline)) == 1
    assert offline.get_by_text("Without judgments there is no curve").is_visible()
