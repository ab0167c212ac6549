"""Errors say one line, whatever was handed in."""

import pickle

import pytest

from resift.errors import InputError, MissingExtra, Overloaded, ResiftError, SettingsError


@pytest.mark.parametrize("kind", [InputError, MissingExtra, ResiftError, SettingsError])
def test_a_message_is_one_line(kind: type[ResiftError]) -> None:
    error = kind("a\nb\r\nc\u2028d: expected  resift convert")
    assert str(error) == "a b c d: expected  resift convert"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_what_is_raised_in_a_process_pool_comes_out_of_it() -> None:
    error = pickle.loads(pickle.dumps(Overloaded(5, 2.5)))
    assert (error.waiting_tokens, error.retry_after_s) == (5, 2.5)
    assert str(error) == str(Overloaded(5, 2.5))
