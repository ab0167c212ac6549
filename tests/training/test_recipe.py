"""A recipe holds what its file says and nothing else: a key that is not known is an error."""

import json
import tempfile
import tomllib
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resift.errors import InputError
from resift.training.recipe import (
    RECIPES,
    LoopSpec,
    LossSpec,
    MiningSpec,
    NetworkSpec,
    Recipe,
    SourceSpec,
    read_recipe,
)

NOT_TRAINED_ON = "not trained on"
BUNDLED = RECIPES / "bundled.toml"
TABLES = {"loop": LoopSpec, "mining": MiningSpec, "network": NetworkSpec, "loss": LossSpec}
GOOD = """
name = "tiny"
seed = 1
sources = [{ name = "made", licence = "MIT", queries = 4 }]
[loop]
steps = 3
"""

VALUES: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    str: st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])),
}


def made(kind: Any) -> st.SearchStrategy[Any]:
    """Tables of one kind with any values."""
    return st.builds(kind, **{entry.name: VALUES[entry.type] for entry in fields(kind)})


RECIPES_OF_ANY_VALUES = st.builds(
    Recipe,
    name=VALUES[str],
    seed=VALUES[int],
    sources=st.lists(made(SourceSpec), min_size=1, max_size=3).map(tuple),
    **{name: made(kind) for name, kind in TABLES.items()},
)


def as_toml(recipe: Recipe) -> str:
    """A recipe as a file would say it: JSON's strings, numbers and truths are TOML's too."""

    def lines(table: dict[str, Any]) -> list[str]:
        return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()]

    messages = lines({"name": recipe.name, "seed": recipe.seed})
    for name in TABLES:
        messages += [f"[{name}]", *lines(asdict(getattr(recipe, name)))]
    for source in recipe.sources:
        messages += ["[[sources]]", *lines(asdict(source))]
    return "\n".join(messages)


def refused(file: Path) -> str:
    """What is said of a file that cannot be read: one line that names it."""
    with pytest.raises(InputError) as caught:
        read_recipe(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    return message.removeprefix(f"{file}: ")


def written(folder: Path, text: str) -> Path:
    file = folder / "recipe.toml"
    file.write_text(text, encoding="utf-8")
    return file


@given(RECIPES_OF_ANY_VALUES)
@settings(max_examples=60, deadline=None)
def test_any_recipe_reads_back_as_it_was_written(recipe: Recipe) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert read_recipe(written(Path(folder), as_toml(recipe))) == recipe


def test_what_a_file_leaves_out_is_the_default(tmp_path: Path) -> None:
    source = SourceSpec("made", "MIT", queries=4)
    expected = Recipe("tiny", 1, (source,), LoopSpec(steps=3))
    assert read_recipe(written(tmp_path, GOOD)) == expected
    changed = read_recipe(written(tmp_path, GOOD + "[loss]\nteacher = 0.0\n"))
    assert changed == replace(expected, loss=replace(LossSpec(), teacher=0.0))


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.toml")), ids=lambda file: file.stem)
def test_a_recipe_that_ships_says_what_its_file_says(file: Path) -> None:
    recipe = read_recipe(file)
    messages = tomllib.loads(file.read_text(encoding="utf-8"))
    assert (recipe.name, recipe.seed) == (messages["name"], messages["seed"])
    for name in TABLES:
        result = asdict(getattr(recipe, name))
        assert result == result | messages.get(name, {})
    names = [entry.name for entry in recipe.sources]
    assert names == [entry["name"] for entry in messages.get("sources", [])]
    assert len(set(names)) == len(names)


def test_the_bundled_recipe_ships() -> None:
    recipe = read_recipe(BUNDLED)
    assert recipe.sources and recipe.loop.steps > 0


def test_every_bundled_source_has_a_licence_and_is_trained_on_only_where_it_may_be() -> None:
    sources = read_recipe(BUNDLED).sources
    kept_out = [entry for entry in sources if NOT_TRAINED_ON in entry.licence.lower()]
    trained_on = [entry for entry in sources if entry.queries]
    assert kept_out and trained_on
    assert all(entry.licence.strip() for entry in sources)
    assert all(entry.queries == 0 and entry.dev > 0 for entry in kept_out)
    assert not {entry.name for entry in kept_out} & {entry.name for entry in trained_on}


@pytest.mark.parametrize(
    ("added", "where", "known"),
    [
        ("", "", Recipe),
        ("[loop]\nsteps = 3\n", "[loop]: ", LoopSpec),
        ("[mining]\n", "[mining]: ", MiningSpec),
        ("[network]\n", "[network]: ", NetworkSpec),
        ("[loss]\n", "[loss]: ", LossSpec),
        ("[[sources]]\nname = 'n'\nlicence = 'MIT'\n", "[[sources]]: ", SourceSpec),
    ],
    ids=["top", "loop", "mining", "network", "loss", "sources"],
)
def test_an_unknown_key_is_named_with_those_that_are_known(
    added: str, where: str, known: Any, tmp_path: Path
) -> None:
    head = 'name = "tiny"\nseed = 1\n' + ("" if "loop" in added else "loop = { steps = 3 }\n")
    message = refused(written(tmp_path, f"{head}{added}stepps = 1\nabc = 2\n"))
    assert message.startswith(f"{where}unknown abc, stepps; known are ")
    named = message.partition("known are ")[2].split(", ")
    assert sorted(named) == sorted(entry.name for entry in fields(known))


def test_a_key_in_another_table_than_its_own_is_unknown_there(tmp_path: Path) -> None:
    assert refused(written(tmp_path, f"{GOOD}[mining]\nrate = 0.1\n")).startswith(
        "[mining]: unknown rate; "
    )


@pytest.mark.parametrize(
    ("without", "where"),
    [
        ('name = "tiny"', ""),
        ("seed = 1", ""),
        ("[loop]\nsteps = 3", ""),
        ("steps = 3", "[loop]: "),
        ('name = "made", ', "[[sources]]: "),
        ('licence = "MIT", ', "[[sources]]: "),
    ],
)
def test_a_missing_key_is_named(without: str, where: str, tmp_path: Path) -> None:
    assert without in GOOD
    message = refused(written(tmp_path, GOOD.replace(without, "")))
    assert message.startswith(f"{where}missing ")
    key = without.strip("[]").partition("]")[0].partition(" ")[0]
    assert f"'{key}'" in message


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("name = 'n'\nseed = 1\nloop = 3\n", "[loop]: expected a table, got 3"),
        ("name = 'n'\nseed = 1\n[[loop]]\nsteps = 3\n", "[loop]: expected a table, got [{"),
        ("name = 'n'\nseed = 1\nsources = ['made']\nloop = { steps = 3 }\n", "[[sources]]: "),
        ("name = 'n'\nseed = 1\nloop = { steps = 3 }\n[sources]\nname = 'n'\n", "[[sources]]: "),
    ],
    ids=["a number", "a list of tables", "a list of names", "one table"],
)
def test_a_value_in_place_of_a_table_is_named(text: str, where: str, tmp_path: Path) -> None:
    message = refused(written(tmp_path, text))
    assert message.startswith(where)
    assert "expected a table, got " in message


def test_sources_that_are_no_list_are_named(tmp_path: Path) -> None:
    text = "name = 'n'\nseed = 1\nsources = 3\nloop = { steps = 3 }\n"
    assert refused(written(tmp_path, text)).startswith("[[sources]]: ")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [("steps = 3", "steps = 'three'", "steps"), ("queries = 4", "queries = 0.5", "queries")],
)
def test_a_value_of_another_type_is_named(old: str, new: str, key: str, tmp_path: Path) -> None:
    assert key in refused(written(tmp_path, GOOD.replace(old, new)))


@pytest.mark.parametrize("text", ["name = ", "name = 'n'\nname = 'm'", "{}"])
def test_a_file_that_is_not_toml_is_named(text: str, tmp_path: Path) -> None:
    message = refused(written(tmp_path, text))
    assert message.startswith("not TOML (")
    assert "(at " in message  # where


def test_a_file_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_bytes(b"name = '\xff'")
    assert refused(file).startswith("not TOML (")


def test_a_file_that_is_not_there_is_named_with_where_recipes_are(tmp_path: Path) -> None:
    assert str(RECIPES) in refused(tmp_path / "none.toml")


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    assert refused(tmp_path)
