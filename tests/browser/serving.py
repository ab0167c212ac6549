"""What the tests of the server's page share: documents, and what a user does and sees."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

HANDBOOK = {
    "vacation.md": "# Vacation\n\n## Approval\n\nYour manager approves vacation. Ask early.",
    "sick.md": "# Sick leave\n\nCall before nine. No approval is needed for sick leave.",
    "expenses.md": "# Expenses\n\nYour manager approves expenses. Vacation is not one of them.",
    "password.md": "# Password\n\nChoose Settings, then Security, and press Reset password.",
    "hashes.md": "# Hashes\n\nPassword hashes: a password is a salted hash. Reset no hash.",
    "router.md": "# Router\n\nTo reset the router, hold its button for ten seconds.",
    "office.md": "# Office\n\nThe office is closed on Sundays.",
}

QUERY = "how do I reset my password"
TEXTS = [
    "Passwords are stored as salted hashes.",
    "The office is closed on Sundays.",
    "To reset the router, hold its button for ten seconds.",
    "Choose Settings, then Security, and press Reset password.",
]


def write(page: "Page", query: str, documents: Sequence[Any] | str) -> None:
    """Fill in a query and documents: lines of text, or JSON of what is not text."""
    is_text = all(isinstance(document, str) for document in documents)
    text = "\n".join(documents) if is_text else json.dumps(documents, ensure_ascii=False)
    page.get_by_label("Query").fill(query)
    page.locator("#documents").fill(documents if isinstance(documents, str) else text)


def rank(page: "Page", query: str, documents: Sequence[Any] | str) -> None:
    """Rank and wait for the receipt."""
    write(page, query, documents)
    page.get_by_role("button", name="Rank", exact=True).click()
    page.locator("#receipt").wait_for()


def search(page: "Page", query: str) -> None:
    """Search the index and wait for the receipt."""
    page.get_by_label("Search an index").check()
    page.get_by_label("Query").fill(query)
    page.get_by_role("button", name="Search", exact=True).click()
    page.locator("#receipt").wait_for()


def hits(page: "Page") -> list["Locator"]:
    """The cards of the hits, in order."""
    cards: list[Locator] = page.locator("#hits > li").all()
    return cards


def keys(page: "Page") -> list[int]:
    """The places that the hits had in the request, in the order of the page."""
    return [int(hit.get_attribute("data-key") or "") for hit in hits(page)]


def text(page: "Page | Locator", selector: str) -> str:
    """The text of the one element."""
    return page.locator(selector).text_content() or ""


def opened(hit: "Locator") -> "Locator":
    """The details of a hit, open."""
    hit.locator("summary").click()
    details = hit.locator("details[open]")
    details.locator("dl").wait_for()
    return details
