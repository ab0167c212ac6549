"""The judged questions about the demo's documents, and the rule by which it shows five of them.

They are those of examples/aws-operations without the grades of 0, so that an installed package has
them too. Knows no index and no result of a search.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

FILE = "demo_questions.jsonl"
SHOWN = 5
RELEVANT = 2  # the grade of an operation that does what is asked

RULE = (
    "the first five services in alphabetical order that do what a judged question asks for, and "
    "the first such question of each"
)
"""The rule of `shown`. It was chosen before any result of these questions was looked at."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the grades of operations, such as ``s3.PutObject``: 2, or 1 for a part."""

    id: str
    text: str
    grades: Mapping[str, int]

    @property
    def services(self) -> set[str]:
        """The services that have an operation of grade 2."""
        relevant = (name for name, grade in self.grades.items() if grade >= RELEVANT)
        return {name.partition(".")[0] for name in relevant}


def questions() -> list[Question]:
    """All judged questions, in the order of the file."""
    text = (files("resift.cli") / FILE).read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return [Question(row["_id"], row["text"], row["grades"]) for row in rows]


def shown(judged: Sequence[Question]) -> list[Question]:
    """The questions that the demo shows, by `RULE`: five, or fewer if there are no more services.

    A question that an earlier service has is not taken again; the service's next one is.
    """
    chosen: list[Question] = []
    for service in sorted({name for question in judged for name in question.services}):
        following = (
            question
            for question in judged
            if service in question.services and question not in chosen
        )
        question = next(following, None)
        if question is not None:
            chosen.append(question)
    return chosen[:SHOWN]
