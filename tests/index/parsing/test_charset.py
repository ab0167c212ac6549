"""Text is read in the encoding it was written in, and what of it is no text."""

import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resift.errors import SourceError
from resift.index.parsing.charset import decode as decoded

RUSSIAN = "Съешь ещё этих мягких французских булок, да выпей чаю.\nОтчёт за квартал готов."
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"
KOREAN = "모든 국민은 인간으로서의 존엄과 가치를 가지며, 행복을 추구할 권리를 가진다."
CHINESE = "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。"
GREEK = "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα."


def decode(data: bytes, declared: str | None = None) -> str:
    return decoded(data, declared).text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (JAPANESE, "shift_jis"),
        (KOREAN, "euc-kr"),
        (CHINESE, "gb18030"),
        (GREEK, "cp1253"),
    ],
)
def test_other_scripts_are_recognised_by_their_letters(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text
    # … also where English comes first, and where it is long.
    assert decode((f"{'plain words, ' * 99}\n{text}").encode(encoding)).endswith(text)
    long = "\n".join([text] * 2_000)
    assert decode(long.encode(encoding)) == long


@pytest.mark.parametrize(
    "text",
    [
        "café",
        "Ñandú",
        "Über äöü ÄÖÜ ß",
        "à côté : l’été, où ça ?",
        "£5 – €6",
        "Müller – naïve “quote”",
        "Größe: schöne Grüße aus Köln",
        "Año Nuevo: ¿qué tal el niño?",
        "Les élèves ont été très occupés à préparer leur fête de fin d’année.",
        "Les élèves ont été très occupés à préparer la fête de fin d’année à l’école. " * 9,
        "Ångström’s längd är en tiondels nanometer; Ørsted målte fältet på Ærø. " * 9,
        "Übung § où été © irmão § – © née «oui» 20° Malmö für © – ½ müde",
        "Blåbærsyltetøy på en solskinnsøy",
    ],
)
def test_western_text_however_short_is_read_as_windows_1252(text: str) -> None:
    assert decode(text.encode("cp1252")) == text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_needs_no_guessing(encoding: str) -> None:
    assert decode((RUSSIAN + JAPANESE).encode(encoding)) == RUSSIAN + JAPANESE


def test_what_is_declared_comes_before_a_guess() -> None:
    data = "Zażółć gęślą jaźń".encode("cp1250")
    assert decode(data, "windows-1250") == "Zażółć gęślą jaźń"
    assert decode(data) != "Zażółć gęślą jaźń"


def test_what_is_declared_means_what_browsers_take_it_for() -> None:
    assert decode("“x” – …".encode("cp1252"), "iso-8859-1") == "“x” – …"
    assert decode("①㈱".encode("cp932"), "shift_jis") == "①㈱"


@pytest.mark.parametrize("declared", ["no-such", "utf-7", "unicode_escape", "base64", "undefined"])
def test_what_declares_nonsense_is_read_all_the_same(declared: str) -> None:
    assert decode(b"caf\xe9 \\ud800", declared) == "café \\ud800"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x7fELF\x02\x00\x00", "control bytes"),
        (b"caf\xe9 \x81\x8d", "neither UTF-8"),
        (b"\xff\xfea\x00" + b"\x00\xd8" * 3, "broken UTF-16"),
    ],
)
def test_what_is_no_text_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        decode(data)


def test_a_stray_control_byte_is_a_space_at_its_place() -> None:
    text = "one page\x0btwo\0pages\x08 and some more words of it, so that it is a text\n" + "x" * 40
    decoded = decode(text.encode())
    assert decoded == text.replace("\x0b", " ").replace("\0", " ").replace("\x08", " ")
    assert len(decoded) == len(text)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_wide_characters_are_seen_without_a_bom(encoding: str) -> None:
    assert decode("Grüße, plain words.".encode(encoding)) == "Grüße, plain words."


def test_japanese_in_either_of_its_encodings_is_no_korean() -> None:
    for text in (JAPANESE, "これはペンです。それはほんです。" * 3):
        for encoding in ("euc_jp", "cp932"):
            assert decode(text.encode(encoding)) == text
    assert decode(KOREAN.encode("euc-kr")) == KOREAN
    assert decode(CHINESE.encode("gb18030")) == CHINESE


@pytest.mark.parametrize(
    "data",
    [
        b"1," * 20_000 + b"\xe9",
        b"1" * 100_000 + b"\n" + b"\xe9" * 40,
        b"\xe9" + b"1," * 20_000,
        b"1," * 20_000 + b"\xe9" * 20,
    ],
)
def test_a_letter_after_much_that_is_none_is_read(data: bytes) -> None:
    assert "é" in decode(data) or len(decode(data)) == len(data)


@given(st.binary(max_size=400), st.one_of(st.none(), st.text(max_size=20)))
def test_any_bytes_are_text_or_none(data: bytes, declared: str | None) -> None:
    try:
        text = decode(data, declared)
    except SourceError as error:
        assert str(error).startswith("not text")
    else:
        text.encode()
        assert "\0" not in text
        assert "\r" not in text


def test_one_broken_byte_of_utf8_costs_its_character_and_no_other() -> None:
    text = "Zażółć gęślą jaźń. " * 3
    assert decode(text.encode() + b"\xff end") == text + "\ufffd end"
    assert decode(text.encode()[:-2] + b"\xc5") == text[:-2] + "\ufffd"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Привет", "cp1251"),
        ("Привет", "koi8-r"),
        ("МОСКВА 2020", "cp1251"),
        ("id,text\n1,Привет, мир\n", "cp1251"),
        ("English first, then Отчёт за год", "koi8-r"),
        ("їжак і ґанок", "cp1251"),
    ],
)
def test_one_cyrillic_word_is_enough(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


def test_bytes_of_no_encoding_in_a_long_text_cost_themselves() -> None:
    assert decode(b"plain words " * 20 + b"\x81\xff") == "plain words " * 20 + "\ufffd\ufffd"


# In which text, how long, in which encoding: what a folder holds.
WESTERN = [
    "Les élèves ont été très occupés à préparer la fête de fin d’année. « Où est le café ? »",
    "l'été\u00a0» est là, après la journée, déjà prêt; il a trouvé «\u00a0ça\u00a0» à côté",
    "Viel Spaß“, sagte er: Größe, schöne Grüße aus Köln, Übung für Ärzte, ein Fuß… süß",
    "Año Nuevo: ¿qué tal el niño? ¡Así es! El corazón mañana está aquí, SEÑOR.",
    "NÃO há razão para a emoção: o avô não está em São Paulo, na CÂMARA, amanhã.",
]
OTHERS = [
    (RUSSIAN, ["cp1251", "koi8-r"]),
    (JAPANESE, ["cp932", "euc_jp"]),
    (KOREAN, ["cp949"]),
    (CHINESE, ["gb18030"]),
    (GREEK, ["cp1253"]),
]
ALL = [*WESTERN, RUSSIAN, JAPANESE, KOREAN, CHINESE, GREEK]
ENGLISH = "plain words of English, here and there. "


def inserted(data: bytes, at: int) -> bytes:
    return data[:at] + b"\xff" + data[at:]


def overwritten(data: bytes, at: int) -> bytes:
    return data[:at] + b"?" + data[at + 1 :]


def lost(data: bytes, at: int) -> bytes:
    return data[:at] + data[at + 1 :]


def foreign(data: bytes, at: int) -> bytes:
    """A letter in Windows-1252, as a program that knows nothing of UTF-8 appends one."""
    return data + b" caf\xe9 " + bytes([0x92 + at % 3])


def cut(data: bytes, at: int) -> bytes:
    return data[: max((index for index, byte in enumerate(data) if byte >= 0xC0), default=-1) + 1]


def broken_texts(breaks: Callable[[bytes, int], bytes]) -> Iterator[tuple[bytes, str]]:
    """Texts of all lengths with some broken bytes, and how they are to be read."""
    generator = random.Random(1)
    for text in ALL:
        for length in (6, 12, 25, 60, 900):
            for before in ("", ENGLISH):
                data = (before + (f"{text}\n" * 20)[:length]).encode()
                for _ in range(4):
                    high = [index for index, byte in enumerate(data) if byte >= 0x80]
                    data = breaks(data, generator.choice(high)) if high else data
                    replaced = data.decode("utf-8", "replace")
                    signs = [sign for sign in replaced if sign > "\x7f"]
                    if signs.count("\ufffd") and len(signs) >= 3 * signs.count("\ufffd"):
                        yield data, replaced


@pytest.mark.parametrize("breaks", [inserted, overwritten, lost, foreign, cut])
def test_what_is_utf8_but_for_some_bytes_is_utf8_however_short(
    breaks: Callable[[bytes, int], bytes],
) -> None:
    texts = list(broken_texts(breaks))
    assert len(texts) > 30
    for data, text in texts:
        result = decoded(data)
        assert (data, result.text) == (data, text)
        assert result.problems[0].startswith(f"{text.count(chr(0xFFFD))} × no UTF-8")


@pytest.mark.parametrize("text", WESTERN)
@pytest.mark.parametrize("before", ["", ENGLISH])
def test_what_looks_like_utf8_here_and_there_is_western(text: str, before: str) -> None:
    for start in range(0, len(text), 5):
        for length in (5, 9, 17, 33, 99):
            piece = before + text[start : start + length]
            assert decode(piece.encode("cp1252")) == piece
    assert decode((text * 50).encode("cp1252")) == text * 50


@pytest.mark.parametrize(("text", "encodings"), OTHERS)
def test_texts_of_other_scripts_are_no_broken_utf8(text: str, encodings: list[str]) -> None:
    for encoding in encodings:
        for start in range(0, len(text) // 2, 5):
            for times in (1, 9):
                piece = text[start:] * times
                assert decode(piece.encode(encoding)) == piece


def test_a_japanese_word_between_english_ones_is_japanese() -> None:
    text = f"{ENGLISH * 9} これはペンです。"
    for encoding in ("cp932", "euc_jp"):
        assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_half_a_character_at_the_end_costs_itself(encoding: str) -> None:
    text = "Größe, plain words.\n" * 3
    result = decoded((text + "x").encode(encoding)[:-1])
    assert result.text == text + "\ufffd"
    assert result.problems[0].startswith("1 × no UTF-")
    assert result.problems[0].endswith("first in line 4")


def test_a_replacement_character_that_was_written_is_not_broken() -> None:
    assert decoded("a \ufffd b".encode()).problems == ()
    assert decoded("é\ufffd è".encode() + b"\xff").problems[0].startswith("1 × ")


def test_marks_where_files_were_joined_are_no_text() -> None:
    marked = "\ufeffone é\n".encode()
    assert decode(marked * 3) == "one é\n" * 3
    assert decode(marked + b"\xff\n" + marked) == "one é\n\ufffd\none é\n"
