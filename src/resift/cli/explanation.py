"""Print explanations: colours and signed numbers in the terminal, a field of the hit in JSON."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import typer
from rich.text import Text

from resift.cli import as_json
from resift.cli.hits import print_ranking
from resift.cli.output import print_json, print_text, printable, say
from resift.errors import InputError
from resift.rerank.explain import compared
from resift.types import Explanation, Hit, Part, Ranking

ExplainOption = Annotated[
    int | None,
    typer.Option("--explain", metavar="N", help="Explain why the first N hits stand there."),
]

NUMBERED = 3  # parts of a hit whose effect is printed as a number
STRONG, WEAK = 0.5, 0.15  # of the strongest effect in a hit: what is bold, what is not coloured


@dataclass(frozen=True, slots=True)
class Shape:
    """How an answer is printed: one JSON document, a JSON object a hit, or a table for people.

    The first `explain` hits are explained. Raises `InputError` for options that exclude each other.
    """

    as_json: bool = False
    as_lines: bool = False
    explain: int | None = None

    def __post_init__(self) -> None:
        count = self.explain
        if self.as_json and self.as_lines:
            raise InputError("--json and --jsonl: expected one of them; leave one out")
        if count is not None and count < 1:
            raise InputError(f"explain={count}: expected 1 hit or more")


def print_answer(ranking: Ranking, shape: Shape) -> None:
    """Print a ranking in the requested shape, with its first hits explained."""
    explanations = _explained(ranking, shape.explain or 0)
    if ranking.abstained:
        say("no candidate is relevant enough: the best score is below --abstain-below")
    more = [{"explanation": explanation} for explanation in explanations]
    if shape.as_json:
        print_json(as_json.document(ranking, more))
        return
    if shape.as_lines:
        for line in as_json.lines(ranking, more):
            print(as_json.text(line))
        if ranking.receipt.partial:
            say(f"partial: {ranking.receipt.reason}")
        return
    print_ranking(ranking)
    explained = list(zip(ranking[: len(explanations)], explanations, strict=True))
    for hit, explanation in explained:
        print_text(Text("\n").append(marked(hit, explanation)))
    for (above, above_explained), (below, below_explained) in pairwise(explained):
        summary = compared(above, below, above_explained, below_explained).summary
        print_text(Text(f"\nwhy: {printable(summary)}"))


def _explained(ranking: Ranking, count: int) -> list[Explanation | None]:
    """Explanations of the first hits; None for a hit that cannot be read."""
    if count and ranking.explainer is None:
        say(f"nothing to explain: {ranking.receipt.reason or 'nothing was reranked'}")
        return []
    readable = ("ok", "cut", "late", "not_reranked")
    return [
        ranking.explain(index) if hit.status in readable else None
        for index, hit in enumerate(ranking[:count])
    ]


def marked(hit: Hit, explanation: Explanation | None) -> Text:
    """A hit's title and text, its parts marked by what they do to its logit."""
    text = Text(f"{hit.rank}. ", style="bold")
    if explanation is None:
        return text.append(f"{printable(hit.id)}: nothing to explain: {hit.status}", "not bold")
    text.append(f"logit {explanation.logit:+.2f}  ", "dim not bold")
    numbered = explanation.strongest(NUMBERED)
    most = max((abs(part.effect or 0.0) for part in explanation.parts), default=0.0)
    for part in explanation.parts:
        words = " ".join(printable(part.text).split())
        text.append(words, _style(part, most))
        if any(part is strong for strong in numbered):
            text.append(f" [{part.effect:+.2f}]", "not bold")
        text.append("\n" if part.where == "title" else " ")
    if len(explanation.parts) == 1:
        text.append("(the only part, so it has no effect to measure) ", "dim not bold")
    if explanation.unread:
        text.append(f"… {explanation.unread:,} characters were not read", "dim not bold")
    return text


def _style(part: Part, most: float) -> str:
    """Green for a part that raises the logit, red for a part that lowers it."""
    share = (part.effect or 0.0) / most if most else 0.0
    if abs(share) < WEAK:
        return "not bold"
    colour = "green" if share > 0 else "red"
    return f"bold {colour}" if abs(share) >= STRONG else f"not bold {colour}"
