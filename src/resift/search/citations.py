"""Hits, or ids of some, to verdicts: an index supplies what a citation does not say of itself."""

from collections.abc import Callable, Mapping
from typing import Any

from resift.errors import InputError
from resift.index.citation import Verdict, Verifier, of_hit, of_passage
from resift.index.manifest import Entry
from resift.index.table.rows import Passage
from resift.index.table.snapshot import Snapshot
from resift.index.versions.published import Versions
from resift.settings import StorageSettings
from resift.types import Hit

Read = Callable[[Callable[[Snapshot], Any]], Any]
"""Gives what a function makes of the version that is open."""


class Prover:
    """Proves citations against the sources of one index, one after the other."""

    def __init__(self, storage: StorageSettings, versions: Versions, read: Read) -> None:
        self._verifier = Verifier(storage)
        self._versions = versions
        self._read = read
        self._entries: dict[str, Entry] | None = None

    def prove(self, citation: Hit | Mapping[str, Any] | str) -> Verdict:
        """A verdict, whatever the citation is; `InputError` for what is no citation by its type."""
        if isinstance(citation, str):
            passage: Passage | None = self._read(lambda now: now.view().find(citation))
            if passage is None:
                return Verdict(citation, "", "unknown", "no such passage in this version")
            return self._verifier.verify(of_passage(passage))
        if not isinstance(citation, Hit | Mapping):
            raise InputError(f"{type(citation).__name__}: expected a hit, or its id")
        try:
            return self._verifier.verify(of_hit(citation, self._made_by))
        except InputError as error:
            name = citation.id if isinstance(citation, Hit) else str(citation.get("id", ""))
            return Verdict(name, "", "malformed", str(error))

    def _made_by(self, uri: str) -> str:
        """The fingerprint of the parser that read an object; nothing where it is not indexed."""
        if self._entries is None:
            self._entries = self._read(lambda now: self._versions.entries(now.version))
        return self._entries[uri].origin.made_by if uri in self._entries else ""
