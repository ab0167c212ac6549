"""Errors say one line, whatever was handed in."""

import pickle

import pytest

from resift.errors import (
    InputError,
    MissingExtra,
    ResiftError,
    SettingsError,
    shortened,
    shown,
    without_secrets,
)


@pytest.mark.parametrize("kind", [InputError, MissingExtra, ResiftError, SettingsError])
def test_a_message_is_one_line(kind: type[ResiftError]) -> None:
    error = kind("a\nb\r\nc\u2028d: expected  resift convert")
    assert str(error) == "a b c d: expected  resift convert"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bundled@100+tei:http://u:S3@host@20", "bundled@100+tei:http://…@host@20"),
        ("teii:https://u:S3@h", "teii:https://…@h"),
        ("htps://u:S3@h/v1", "htps://…@h/v1"),
        ("https://S3:@h", "https://…@h"),
        ("https://S3@h", "https://…@h"),
        ("https:/u:S3@h", "https:/…@h"),
        ("https://u:S3/x@h@20+bundled@10", "https://…@h@20+bundled@10"),
        ("http://u:p@S3@h:80@20", "http://…@h:80@20"),
        ("http://u:S3@20", "http://…@20"),
        ("http://u:S3@10:80", "http://…@10:80"),
        ("tei:http://h@20+tei:http://u:S3@g@9", "tei:http://h@20+tei:http://…@g@9"),
        ("https://h/v1?key=S3", "https://h/v1?…"),
        ("https://h/v1?key=S3&x=' y", "https://h/v1?…' y"),
        ("see https://h/v1?key=S3: wrong", "see https://h/v1?…: wrong"),
    ],
)
def test_what_a_url_may_hide_is_in_no_message(name: str, expected: str) -> None:
    assert without_secrets(name) == without_secrets(expected) == expected
    assert shortened(name) == expected and "S3" not in shown(name) + shown([name])
    long = shown(f"{name}{'x' * 99}") + shortened(name.replace("S3", 99 * "S3"))
    assert "S3" not in long
    error = InputError(f"{name}: no such model", name)
    again = pickle.loads(pickle.dumps(error))
    assert "S3" not in str(error) + repr(error) + repr(again.args)


@pytest.mark.parametrize(
    "text",
    ["abfss://box@account.dfs/x", "tei:http://h:80@20", "tei:http://h@20+a@9", "http://h/a@b",
     "http://[::1]:80/a@b", "vllm:http://h:80#m@v@20", "http://h:80: why?", "C:/a/b@c"],
)  # fmt: skip
def test_what_hides_nothing_is_shown(text: str) -> None:
    assert without_secrets(text) == text
