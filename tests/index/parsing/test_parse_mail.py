"""Mails: subject, headers and the text of the body; attachments are only named."""

import pytest
from hypothesis import given

from index.parsing.properties import any_bytes, one_document, parse_or_reason
from resift.errors import SourceError
from resift.index.parsing.formats import parse

HEADERS = (
    b"From: =?utf-8?q?J=C3=B6rg?= <a@b.org>\r\nTo: x@y.org\r\n"
    b"Date: Mon, 1 Jan 2024 10:00:00 +0100\r\n"
    b"Subject: =?utf-8?b?R3LDvMOfZQ==?= again\r\n"
)


def part(kind: bytes, body: bytes, others: bytes = b"") -> bytes:
    return b"--b\r\nContent-Type: " + kind + b"\r\n" + others + b"\r\n" + body + b"\r\n"


def multipart(*parts: bytes, kind: bytes = b"mixed") -> bytes:
    first = HEADERS + b"Content-Type: multipart/" + kind + b"; boundary=b\r\n\r\n"
    return first + b"".join(parts) + b"--b--\r\n"


PLAIN = part(b"text/plain; charset=iso-8859-1", b"H\xe4llo plain.")
HTML = part(b"text/html; charset=utf-8", "<p>Hällo <b>HTML</b>.</p>".encode())
ATTACHED = part(
    b"text/plain; name=a.txt", b"secret", b'Content-Disposition: attachment; filename="a b.txt"\r\n'
)


def test_headers_are_metadata_and_the_plain_part_is_the_text() -> None:
    document = one_document("a.eml", multipart(HTML, PLAIN, ATTACHED, kind=b"alternative"))
    assert document.title == "Grüße again"
    assert document.metadata == {
        "from": "Jörg <a@b.org>",
        "to": "x@y.org",
        "date": "2024-01-01T10:00:00+01:00",
    }
    assert document.text == (
        "From: Jörg <a@b.org>\nTo: x@y.org\nDate: Mon, 1 Jan 2024 10:00:00 +0100\n\n"
        "Hällo plain.\n\nAttachments: a b.txt"
    )


def test_without_a_plain_part_the_html_is_the_text() -> None:
    assert "\n\nHällo HTML." in one_document("a.eml", multipart(HTML)).text


@pytest.mark.parametrize("encoding", ["cp1250", "iso-2022-jp"])
def test_the_encoding_of_a_page_is_that_of_its_part_or_else_its_own(encoding: str) -> None:
    word = {"cp1250": "Łódź", "iso-2022-jp": "日本語"}[encoding]
    declared = f'<meta charset="{encoding}"><p>{word}.</p>'.encode(encoding)
    assert word in one_document("a.eml", multipart(part(b"text/html", declared))).text
    bare = part(f"text/html; charset={encoding}".encode(), f"<p>{word}.</p>".encode(encoding))
    assert word in one_document("a.eml", multipart(bare)).text


def test_beside_a_blank_plain_part_the_html_is_the_text() -> None:
    blank = part(b"text/plain", b" \r\n")
    document = one_document("a.eml", multipart(blank, HTML, kind=b"alternative"))
    assert document.text.endswith("Hällo HTML.")


def test_encoded_bodies_are_decoded_and_broken_parts_are_named() -> None:
    base64 = part(
        b"text/plain; charset=utf-8", b"R3LDvMOfZQ==", b"Content-Transfer-Encoding: base64\r\n"
    )
    binary = part(b"text/plain", bytes(range(32)) * 20)
    parsed = parse("a.eml", multipart(base64, binary))
    assert "Grüße" in parsed.documents[0].text
    assert parsed.problems[0].startswith("a part of the mail is left out: not text")


def test_broken_bytes_of_a_part_are_named() -> None:
    body = "größe, maß, fuß".encode() + b" \xff"
    parsed = parse("a.eml", b"Subject: s\nContent-Type: text/plain; charset=utf-8\n\n" + body)
    assert parsed.documents[0].text.endswith("größe, maß, fuß \ufffd")
    assert parsed.problems == (
        "in a part of the mail: 1 × no UTF-8, read as \ufffd, first in line 1",
    )


def test_a_date_that_is_none_stays_as_it_is() -> None:
    document = one_document("a.eml", b"Subject: s\nDate: yesterday\n\nbody")
    assert document.metadata == {"date": "yesterday"}


def test_of_very_many_parts_the_first_are_read() -> None:
    parts = [part(b"text/plain", b"part %d." % n) for n in range(1_500)]
    text = one_document("a.eml", multipart(*parts)).text
    assert "part 999." in text and "part 1000." not in text


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"From: a@b.org\nContent-Type: multipart/mixed; boundary=b\n\n" + b"--b\n" * 3, None),
        (b"\n\n", "empty file"),
        (b"\0\1\2" * 200, "not a readable mail|not text|no headers"),
    ],
)
def test_hostile_mails_are_text_or_one_reason(data: bytes, reason: str | None) -> None:
    if reason is None:
        assert parse("a.eml", data).documents
        return
    with pytest.raises(SourceError, match=reason):
        parse("a.eml", data)


def test_parts_that_nest_deep_are_one_reason() -> None:
    nested = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(1_500)
    )
    with pytest.raises(SourceError, match=r"damaged \(RecursionError\)"):
        parse("a.eml", b"Subject: s\n" + nested)


@given(
    any_bytes(
        b"Subject: s\n", b"From: =?utf-8?q?=C3?= <", b"Date: x\n", b"To: =?x?b?!!?=\n", b"--b\n",
        b'Content-Type: text/plain; charset="no"\n',
        b"Content-Type: multipart/mixed; boundary=b\n",
        b"Content-Transfer-Encoding: base64\n", b"Content-Type: text/html\n", b"\n\n", b"--b--\n",
        b"Content-Disposition: attachment; filename*=utf-8''%FF\n",
        b"Content-Type: message/rfc822\n",
    )
)  # fmt: skip
def test_any_bytes_are_a_mail_or_a_reason(data: bytes) -> None:
    parse_or_reason("a.eml", data)
