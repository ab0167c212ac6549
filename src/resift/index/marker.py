"""By what an index is known among other folders: by its table, wherever it lies. Does no I/O.

An index is made of documents, so none of its files is one: an index below its own source would
publish a new version at each run, for ever.
"""

from collections.abc import Collection, Iterable

from resift.index.location import TABLE

_BESIDE = ("manifests", "versions")


def is_table(name: str) -> bool:
    """Whether a folder of this name is a Lance table: resift's, or anybody's."""
    return name.lower().endswith(".lance")


def is_part(name: str, neighbours: Collection[str]) -> bool:
    """Whether a folder that lies among `neighbours` is a part of an index."""
    return is_table(name) or (name in _BESIDE and TABLE in neighbours)


def parts_of_indexes(keys: Iterable[str]) -> set[str]:
    """Of objects in a bucket: the prefixes, without slash, that are parts of an index."""
    parts: set[str] = set()
    for key in keys:
        folders = key.split("/")[:-1]
        for depth, name in enumerate(folders):
            if is_table(name):
                above = folders[:depth]
                parts.add("/".join([*above, name]))
                if name == TABLE:
                    parts |= {"/".join([*above, beside]) for beside in _BESIDE}
                break
    return parts


def lies_in(key: str, parts: Collection[str]) -> str | None:
    """The part of an index that a key lies in."""
    at = key.find("/")
    while parts and at >= 0:
        if key[:at] in parts:
            return key[:at]
        at = key.find("/", at + 1)
    return None
