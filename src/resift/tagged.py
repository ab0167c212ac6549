"""Folders of a cache that say who made them: what lies in any other is somebody else's."""

from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from resift.files import read_regular

_FILE = "CACHEDIR.TAG"
# The signature of the Cache Directory Tagging specification: backups leave the folder out.
_SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55\n"


def claim(folder: Path, comment: str) -> bool:
    """Make the folder, tag and all at once, or see that it was made here; whether it was.

    `comment` is what the tag says beside the signature, a sentence. A folder in which nothing is
    was nobody's. Raises `OSError` for what the disk refuses.
    """
    tag_text = f"{_SIGNATURE}# {comment}\n"
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        made = folder.with_name(f".{folder.name}-{token_hex(8)}")
        made.mkdir()
        (made / _FILE).write_text(tag_text)
        with suppress(OSError):  # another process was first: what it made is looked at below
            made.rename(folder)
            return True
        (made / _FILE).unlink()
        made.rmdir()
    try:
        return read_regular(folder / _FILE, len(tag_text)) == tag_text.encode()
    except OSError:
        return False
