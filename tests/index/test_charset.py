"""Proves that text is read in the encoding it was written in, and what of it is no text."""

import pytest

from resift.errors import SourceError
from resift.index.charset import decode

RUSSIAN = "Съешь ещё этих мягких французских булок, да выпей чаю.\nОтчёт за квартал готов."
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"
KOREAN = "모든 국민은 인간으로서의 존엄과 가치를 가지며, 행복을 추구할 권리를 가진다."
CHINESE = "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。"
GREEK = "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα."


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
def test_other_scripts_are_told_by_their_letters(text: str, encoding: str) -> None:
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
        ("text".encode("utf-16") + b"\x00", "broken UTF-16"),
    ],
)
def test_what_is_no_text_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        decode(data)
