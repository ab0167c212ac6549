"""What the documents point at exists, and the README stays short."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINK = re.compile(
    r"\]\(\s*<?([^)\s>]+)>?[^)]*\)|^\[[^\]]+\]:\s*(\S+)|(?:src|href)=\"([^\"]+)\"", re.M
)
NAMES = (
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LOG.md",
    "MODEL_CARD.md",
)
PAGES = [name for name in NAMES if (ROOT / name).is_file()] + sorted(
    page.relative_to(ROOT).as_posix()
    for folder in ("docs", "locks", "benchmarks", "examples")
    for page in (ROOT / folder).rglob("*.md")
)


def links(text: str) -> list[str]:
    """Targets within the repository, code blocks left out, anchors cut off."""
    prose = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.M | re.S)
    targets = ["".join(groups) for groups in LINK.findall(prose)]
    internal = (target for target in targets if not re.match(r"[a-z][a-z0-9+.-]*:|#", target))
    return [target.partition("#")[0] for target in internal]


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_points_at_something(page: str) -> None:
    file = ROOT / page
    broken = [
        target
        for target in links(file.read_text(encoding="utf-8"))
        if not (file.parent / target).exists()
    ]
    assert broken == [], f"{page}: {', '.join(broken)} do not exist"


def test_links_are_found_in_all_their_forms() -> None:
    text = """[a](one.md) ![b](two.png "title") [c](three.md#part) <img src="four.svg">
[d]: five.md
[e](https://host/x.md) [f](#part) [g](mailto:a@b) `[h](code.md)`
```
[i](block.md)
```
"""
    assert sorted(links(text)) == ["five.md", "four.svg", "one.md", "three.md", "two.png"]


def test_the_readme_stays_short() -> None:
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("not written yet")
    assert len(readme.read_text(encoding="utf-8").splitlines()) <= 150


def test_the_names_that_architecture_points_at_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    pointers = re.findall(r"\]\(((?:src|tests)/[^)]+\.py)\): `(\w+)`", text)
    assert len(pointers) >= 10
    missing = [
        f"{file}: {name}"
        for file, name in pointers
        if not re.search(rf"\b{name}\b", (ROOT / file).read_text(encoding="utf-8"))
    ]
    assert missing == []


def test_the_longest_test_files_exist() -> None:
    text = (ROOT / "tests/conftest.py").read_text(encoding="utf-8")
    files = re.findall(r'"(tests/[^"]+\.py)"', text)
    assert files and not [file for file in files if not (ROOT / file).is_file()]
