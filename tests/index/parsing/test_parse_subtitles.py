"""Subtitles: cues become passages of running text, with the time of the first as heading."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.parsing.properties import any_bytes, headings, one_document, outline, parse_or_reason
from resift.errors import SourceError
from resift.index.parsing.formats import parse


def test_cues_are_merged_until_a_pause() -> None:
    text = (
        "1\r\n00:00:01,000 --> 00:00:02,500\r\nHello <i>there</i>, {\\an8}all\r\n\r\n"
        "2\r\n00:00:03,000 --> 00:00:04,000\r\nof you.\r\n\r\n"
        "3\r\n01:12:03,000 --> 01:12:04,000\r\nMuch later.\r\nTwo lines.\r\n"
    )
    document = one_document("talk.srt", text)
    assert document.title == "talk"
    assert outline(document) == [
        ("00:00:01", "Hello there, all\nof you."),
        ("01:12:03", "Much later. Two lines."),
    ]


def test_notes_and_styles_are_not_spoken() -> None:
    text = (
        "WEBVTT\n\n00:01.000 --> 00:02.000\nHello\n\nNOTE a remark\nof two lines\n\n"
        "STYLE\n::cue {}\n\n00:03.000 --> 00:04.000\nthere.\n"
    )
    assert outline(one_document("a.vtt", text)) == [("00:00:01", "Hello\nthere.")]


def test_long_speech_has_a_section_for_each_passage() -> None:
    cues = [
        f"{n}\n00:{n // 60:02}:{n % 60:02},000 --> 00:{n // 60:02}:{n % 60:02},900\n"
        f"sentence {n} of the talk\n" for n in range(600)
    ]  # fmt: skip
    document = one_document("a.srt", "\n".join(cues))
    assert 15 < len(document.sections) < 30
    assert max(section.end - section.start for section in document.sections) < 900
    assert headings(document)[1].startswith("00:00:")
    words = document.text.split()
    assert [word for word in words if word.isdigit()] == [str(n) for n in range(600)]


def test_webvtt_has_voices_names_notes_and_rolling_captions() -> None:
    text = (
        "WEBVTT - x\n\nNOTE not this\nnor this\n\nSTYLE\n::cue {}\n\nintro\n"
        "00:01.000 --> 00:02.000 align:left\n<v.loud Bob>Hi &amp; bye</v>\n\n"
        "00:03.000 --> 00:04.000\n<v.loud Bob>Hi &amp; bye</v>\n"
        "new <00:03.500><c>words</c>\n\nafter a blank\n"
    )
    document = one_document("a.vtt", text)
    assert outline(document) == [("00:00:01", "Bob: Hi & bye\nnew words after a blank")]


@pytest.mark.parametrize("data", [b"no cues", b"WEBVTT\n\n", b"1\n00:00 -> x\nwords\n"])
def test_a_file_without_cues_is_refused(data: bytes) -> None:
    with pytest.raises(SourceError, match="no subtitles in it"):
        parse("a.srt", data)


@given(
    st.sampled_from(["a.srt", "a.vtt"]),
    any_bytes(
        b"WEBVTT\n\n", b"1\n", b"00:00:01,000 --> 00:00:02,000\n", b"9999:99:99.9 --> 0:0\n",
        b"-->",
        b"words\n", b"\n\n", b"<v Bob>", b"<", b"{\\a}", b"NOTE ", b"&#0;", b"&amp;",
    ),
)  # fmt: skip
def test_any_bytes_are_subtitles_or_a_reason(key: str, data: bytes) -> None:
    parse_or_reason(key, data)
