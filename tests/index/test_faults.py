"""Proves that a store's failure becomes one line that says what to do."""

import pytest

from resift.errors import MissingExtra, StoreError
from resift.index.faults import meaning, store_errors

DUMP = "Generic S3 error: {}\n\nDebug source:\nGeneric {{ status: 403 }}"


@pytest.mark.parametrize(
    ("sign", "phrase"),
    [
        ("status code: 404 <Code>NoSuchBucket</Code>", "no such bucket"),
        ("status code: 403 <Code>SignatureDoesNotMatch</Code>", "secret key does not match"),
        ("status: 403, body: None", "access denied"),
        ("PUT http://169.254.169.254/latest: status code: 403", "no credentials were found"),
        ("HTTP error: error sending request", "does not answer"),
    ],
)
def test_known_failures_say_what_to_do(sign: str, phrase: str) -> None:
    assert phrase in meaning(ValueError(sign))


def test_an_unknown_failure_is_its_own_first_line_cut_short() -> None:
    assert meaning(ValueError("something odd\nand its dump")) == "something odd"
    assert len(meaning(ValueError("x" * 5_000))) == 200
    assert meaning(ValueError()) == "ValueError"


def test_store_errors_are_named_and_what_is_ours_goes_through() -> None:
    with pytest.raises(StoreError, match=r"^s3://b/i: odd$"), store_errors("s3://b/i"):
        raise RuntimeError("odd\ndump")
    with pytest.raises(MissingExtra, match=r"^install it$"), store_errors("s3://b/i"):
        raise MissingExtra("install it")
