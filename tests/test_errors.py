"""Errors say one line, whatever was handed in."""

import pickle

import pytest

from resift.errors import InputError, MissingExtra, ResiftError, SettingsError


@pytest.mark.parametrize("kind", [InputError, MissingExtra, ResiftError, SettingsError])
def test_a_message_is_one_line(kind: type[ResiftError]) -> None:
    error = kind("a\nb\r\nc\u2028d: expected  resift convert")
    assert str(error) == "a b c d: expected  resift convert"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
