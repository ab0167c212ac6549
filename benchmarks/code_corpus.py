"""The source code that `examples/code-questions` asks about: fetched, verified, unpacked.

Nine packages from PyPI and four from npm, in exact versions, through the ordinary clients (``pip
download`` and ``npm pack``). Only source files are unpacked, as ``PACKAGE/PATH``: what is
generated (``dist/``, ``.d.ts``) and everything else in an archive is left out.
"""

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

SUFFIXES = (".py", ".js", ".ts")
_GENERATED = ("dist",)


class CorpusError(Exception):
    """A package is not what it was when the questions were written."""


@dataclass(frozen=True, slots=True)
class Package:
    """One archive of a registry, with the SHA-256 of its bytes; a wheel or an npm package."""

    name: str
    version: str
    sha256: str
    npm: bool = False

    @property
    def file(self) -> str:
        """The name that the registry's client gives to the archive."""
        if self.npm:
            return f"{self.name}-{self.version}.tgz"
        return f"{self.name}-{self.version}-py3-none-any.whl"


def _npm(name: str, version: str, sha256: str) -> Package:
    return Package(name, version, sha256, npm=True)


# fmt: off
PACKAGES = (
    Package("click", "8.1.8", "63c132bbbed01578a06712a2d1f497bb62d9c1c0d329b7903a866228027263b2"),
    Package("httpx", "0.28.1", "d909fcccc110f8c7faf814ca82a9a4d816bc5a6dbfea25d6591d6985b8ba59ad"),
    Package("jinja2", "3.1.6", "85ece4451f492d0c13c5dd7c13a64681a86afae63a5f347908daf103ce6d2f67"),
    Package("pathspec", "0.12.1", "a0d503e138a4c123b27490a4f7beda6a01c6f288df0e4a8b79c7eb0dc7b4cc08"),  # noqa: E501
    Package("rich", "14.0.0", "1c9491e1951aac09caffd42f448ee3d04e58923ffe14993f6e83068dc395d7e0"),
    Package("starlette", "0.46.2", "595633ce89f8ffa71a015caed34a5b2dc1c0cdb3f0f1fbd1e69339cf2abeec35"),  # noqa: E501
    Package("tenacity", "9.1.2", "f77bf36710d8b73a50b2dd155c97b870017ad21afe6ab300326b0371b3b05138"),  # noqa: E501
    Package("urllib3", "2.4.0", "4e16665048960a0900c702d4a66415956a584919c03361cac9f1df5c5dd7e813"),
    Package("uvicorn", "0.34.2", "deb49af569084536d269fe0a6d67e3754f104cf03aba7c11c40f01aadf33c403"),  # noqa: E501
    _npm("commander", "13.1.0", "d5703ba285336d6d6d86fecf7a9f064e248879497d98ccc98ca849a62e34822a"),
    _npm("immer", "10.1.1", "946cc79684ad1e080b09d4f2da14247b272aa667f3aaa100f35846148689f08f"),
    _npm("redux", "5.0.1", "adacd4f8a377e638a3feb568e45e8b8ff22c926516941db25b1acfc34d94398b"),
    _npm("semver", "7.7.1", "0f1bba66dfcd37f52c62a33a5124e2f2f71c96dbc80207b830ffcbc8cd5b5de5"),
)
# fmt: on


def corpus(folder: Path) -> Path:
    """The folder of the source files, below `folder`; archives are fetched once.

    Raises `CorpusError` for an archive with another hash, and `CalledProcessError` if a registry's
    client fails.
    """
    archives, sources = folder / "archives", folder / "sources"
    archives.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        target = sources / package.name
        if target.is_dir():
            continue
        archive = _fetched(package, archives)
        partial = folder / f"{package.name}.partial"
        for name, data in _members(package, archive):
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        sources.mkdir(exist_ok=True)
        (partial / package.name).rename(target)
        partial.rmdir()
    return sources


def _fetched(package: Package, archives: Path) -> Path:
    """The package's archive, from its registry unless it is there. Verified either way."""
    archive = archives / package.file
    requirement = f"{package.name}{'@' if package.npm else '=='}{package.version}"
    if not archive.exists():
        if package.npm:
            command = ["npm", "pack", requirement, "--pack-destination", str(archives)]
        else:
            options = ["--no-deps", "--only-binary", ":all:", "--dest", str(archives)]
            command = [sys.executable, "-m", "pip", "download", "--quiet", *options, requirement]
        subprocess.run(command, check=True, stdout=sys.stderr)
    actual = hashlib.sha256(archive.read_bytes()).hexdigest()
    if actual != package.sha256:
        raise CorpusError(f"{archive}: SHA-256 {actual}, expected {package.sha256}: delete it")
    return archive


def _members(package: Package, archive: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Source files with their names in the corpus: ``PACKAGE/PATH``."""
    members = _npm_members(archive) if package.npm else _wheel_members(archive)
    for name, data in members:
        path = PurePosixPath(name)
        parts = (package.name, *path.parts[1:]) if package.npm else path.parts
        if parts[0] == package.name and is_source(path):
            yield PurePosixPath(*parts), data


def is_source(path: PurePosixPath) -> bool:
    """Whether a member of an archive is a source file with a name that is safe to write."""
    safe = not path.is_absolute() and ".." not in path.parts and "\\" not in str(path)
    generated = path.name.endswith(".d.ts") or any(part in _GENERATED for part in path.parts)
    return safe and path.suffix in SUFFIXES and not generated


def _wheel_members(archive: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(archive) as wheel:
        for member in wheel.infolist():
            if not member.is_dir():
                yield member.filename, wheel.read(member)


def _npm_members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Regular files only: a link in an archive is not followed."""
    with tarfile.open(archive) as package:
        for member in package:
            stream = package.extractfile(member) if member.isfile() else None
            if stream is not None:
                yield member.name, stream.read()
