"""The text of a page while it is put together out of a tree's words, headings and tables."""

from resift.index.parsing.documents import Outline, Section, Table
from resift.index.parsing.tables import Grid


class Page:
    """The text so far. Space between two words is decided when the second one comes."""

    def __init__(self, title: str) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self._gap = ""
        self._outline = Outline(title)
        self._tables: list[Table] = []
        self._last = 0

    @property
    def is_empty(self) -> bool:
        """Whether no word was added."""
        return not self._length

    def words(self, text: str) -> None:
        """Add running text: any white space in it is one space."""
        if text[:1].isspace():
            self.separate(" ")
        for word in text.split():
            self._add(word)
            self.separate(" ")
        if text and not text[-1].isspace():
            self._gap = ""

    def verbatim(self, text: str) -> None:
        """Add the text of a ``<pre>``, line ends and indents included."""
        body = text.strip()
        if not body:
            self._gap += text
            return
        at = text.index(body)
        self._gap += text[:at]
        self._add(body)
        self._gap = text[at + len(body) :]

    def table(self, grid: Grid) -> None:
        """Add a table, a line a row."""
        if not grid.text:
            return
        self.separate("\n\n")
        self._add(grid.text)
        self._tables.append(grid.at(self._length - len(grid.text)))
        self.separate("\n\n")

    def separate(self, gap: str) -> None:
        """RankOptions for space before what comes next; the widest one asked for wins."""
        if len(gap.strip(" ")) > len(self._gap.strip(" ")) or not self._gap:
            self._gap = gap

    def heading(self, level: int, name: str) -> None:
        """Begin the heading's section; its text is still to come."""
        self._outline.heading(self._length, level, name, self._since())

    def finish(self) -> tuple[str, tuple[Section, ...], tuple[Table, ...]]:
        """The whole text, its sections and its tables."""
        sections = self._outline.finish(self._length, self._since())
        return "".join(self._pieces), sections, tuple(self._tables)

    def _add(self, text: str) -> None:
        piece = self._gap + text if self._length else text
        self._pieces.append(piece)
        self._length += len(piece)
        self._gap = ""

    def _since(self) -> str:
        """The text since the last heading."""
        pieces = self._pieces[self._last :]
        self._last = len(self._pieces)
        return "".join(pieces)
