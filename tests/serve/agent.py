"""An agent: it uses the tools over any transport, and counts what it receives."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcp import Client

from resift import Index
from resift.search.token_counts import count_tokens

ANSWER = "Days that you do not take until the end of March are lost."
GUIDE = (
    "# Vacation\n\nEach employee has thirty days of vacation a year. "
    + "Plan it with your team, write it into the calendar, and tell those who depend on you. " * 3
    + ANSWER
    + " The manager approves a vacation, and so does the head of the department if it is longer "
    "than three weeks. " * 4
)


def make_library(folder: Path) -> Path:
    """The folder of an index of a guide, which has one passage of some 230 tokens, and a note."""
    source = folder / "source"
    source.mkdir(parents=True)
    (source / "guide.md").write_text(GUIDE)
    (source / "note.txt").write_text("The office is closed on Sundays.")
    with Index(folder / "library") as index:
        index.sync(str(source))
    return folder / "library"


@dataclass
class Agent:
    """Calls tools; `asked` and `received` count tokens, of the form of an answer that has more."""

    client: Client
    asked: int = 0
    received: int = 0
    errors: list[str] = field(default_factory=list)

    async def call(self, name: str, max_tokens: int = 1_500, **arguments: Any) -> Any:
        """The JSON form of an answer; None for an error, whose line is noted."""
        if name != "list_indexes":
            arguments["max_tokens"] = max_tokens
        result = await self.client.call_tool(name, arguments)
        (content,) = result.content
        text: str = getattr(content, "text")  # noqa: B009  # other kinds of content have none
        as_json = json.dumps(result.structured_content or "", ensure_ascii=False)
        self.asked += max_tokens
        self.received += max(count_tokens(text), count_tokens(as_json))
        if result.is_error:
            assert len(text.splitlines()) == 1 and result.structured_content is None
            self.errors.append(text)
            return None
        return result.structured_content

    async def read(self, passage_id: str, max_tokens: int, **arguments: Any) -> list[str]:
        """The pieces of a passage."""
        pieces: list[str] = []
        start: int | None = 0
        while start is not None:
            piece = await self.call(
                "read_passage", max_tokens, id=passage_id, start=start, **arguments
            )
            pieces.append(piece["text"])
            start = piece.get("next_start")
        return pieces


async def answer_a_question(client: Client) -> None:
    """Search, read on, rerank, meet an error and recover, within the tokens asked for."""
    tools = {tool.name for tool in (await client.list_tools()).tools}
    assert tools == {"search", "rerank", "read_passage", "list_indexes"}
    agent = Agent(client)

    assert await agent.call("search", query="when are vacation days lost", index="libary") is None
    assert agent.errors == [agent.errors[0]] and "library" in agent.errors[0]
    listed = await agent.call("list_indexes")
    name = next(entry["name"] for entry in listed["indexes"] if entry["name"] == "library")

    result = await agent.call(
        "search", 250, query="when are vacation days lost", index=name, where="title = 'Vacation'"
    )
    (hit,) = result["passages"]
    assert hit["cut"] and ANSWER in hit["text"] and hit["uri"].endswith("guide.md")

    pieces = await agent.read(hit["id"], 200, index=name)
    assert len(pieces) > 1 and "".join(pieces) == GUIDE.strip()

    order = await agent.call("rerank", query="days that are lost", documents=pieces, top_n=1)
    assert ANSWER[:20] in pieces[order["documents"][0]["index"]]
    assert len(order["documents"]) == 1
    assert 0 < agent.received <= agent.asked
