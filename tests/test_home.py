"""Without a home folder, as in a container, all works but ``~``; that is a clear error."""

import pwd
from pathlib import Path

import pytest

from resift import Reranker
from resift.errors import InputError
from resift.files import from_home
from resift.index.storage import credentials
from resift.index.storage.location import locate
from resift.settings import Settings, cache_folder


@pytest.fixture(autouse=True)
def _no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """No HOME, and a user id without a name."""

    def nobody(_: object) -> None:
        raise KeyError("getpwuid(): uid not found")

    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr(pwd, "getpwnam", nobody)


@pytest.mark.parametrize("path", ["~", "~/models/mine", "~nobody-at-all/x"])
def test_whose_home_is_not_known_is_a_clear_error(path: str) -> None:
    with pytest.raises(InputError, match=r"no home folder is known for ~.*; expected a whole path"):
        from_home(path)


@pytest.mark.parametrize("path", ["/a/b", "a/~/b", "a~", "."])
def test_other_paths_are_as_they_are(path: str) -> None:
    assert from_home(path) == Path(path)


def test_a_model_is_loaded_and_ranks_without_a_home() -> None:
    assert cache_folder(Settings()) is None
    assert len(Reranker().rank("red", ["a red sky", "blue"])) == 2


@pytest.mark.parametrize("setting", ["model", "calibration"])
def test_settings_that_name_a_home_are_a_clear_error(setting: str) -> None:
    with pytest.raises(InputError, match="no home folder"):
        Reranker(settings=Settings(**{setting: "~/mine"}))  # type: ignore[arg-type]


def test_an_index_that_names_a_home_is_a_clear_error() -> None:
    with pytest.raises(InputError, match="no home folder"):
        locate("~/index")


def test_a_profile_is_looked_for_in_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in credentials._SHARED_FILES:
        monkeypatch.delenv(name, raising=False)
    assert credentials._shared_files() == []
