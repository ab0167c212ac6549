"""The names of analysers and languages, as a version of an index records them."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from resift.errors import IndexMismatch, InputError, shown

RULES = 1
"""Increase it whenever the same text would give other terms, in any language."""
WORDS, TRIGRAMS = "words", "trigrams"
ANALYSERS = (WORDS, TRIGRAMS)
ENGLISH, NO_LANGUAGE = "english", "none"
LANGUAGES = {
    "ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek",
    "en": "english", "eo": "esperanto", "es": "spanish", "et": "estonian", "eu": "basque",
    "fa": "persian", "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi",
    "hu": "hungarian", "hy": "armenian", "id": "indonesian", "it": "italian", "lt": "lithuanian",
    "nb": "norwegian", "ne": "nepali", "nl": "dutch", "nn": "norwegian", "no": "norwegian",
    "pl": "polish", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian",
    "st": "sesotho", "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip
"""Snowball's languages by their ISO 639 codes."""


@dataclass(frozen=True, slots=True)
class AnalyserSpec:
    """What makes the terms of an index: an analyser, its language, the version of its rules."""

    name: str = WORDS
    language: str = ENGLISH
    rules: int = RULES

    def __str__(self) -> str:
        return f"{self.name} {self.language} {self.rules}"


ENGLISH_WORDS = AnalyserSpec()


@dataclass(frozen=True, slots=True)
class AnalyserChoice:
    """What a caller has chosen; None leaves it to the index, or to the default of a new one."""

    name: str | None = None
    language: str | None = None

    def spec(self, before: AnalyserSpec | None, uri: str) -> AnalyserSpec:
        """The analyser of the index at `uri`, which has been made with `before`, or of a new one.

        Raise `IndexMismatch` if the choice differs from `before`.
        """
        if before is None:
            name = self.name or WORDS
            default = NO_LANGUAGE if name == TRIGRAMS else ENGLISH
            return AnalyserSpec(name, self.language or default)
        chosen = (self.name or before.name, self.language or before.language)
        if chosen != (before.name, before.language):
            raise IndexMismatch(
                f"{uri}: made with the analyser {before.name} for language {before.language}, not "
                f"{chosen[0]} for {chosen[1]}: leave the choice out, or build a new index"
            )
        return before


ANY_ANALYSER = AnalyserChoice()


def checked_choice(analyser: object, language: object) -> AnalyserChoice:
    """Check a caller's choice; raise `InputError` that names the nearest known one."""
    name = None if analyser is None else _known("analyser", analyser, ANALYSERS)
    if language is None:
        return AnalyserChoice(name)
    names = dict.fromkeys([*LANGUAGES.values(), *LANGUAGES, NO_LANGUAGE])
    # en-US and pt_BR have the stems of en and pt.
    spoken = language.partition("-")[0].partition("_")[0] if isinstance(language, str) else language
    known = _known("language", spoken, [*names], language)
    chosen = LANGUAGES.get(known, known)
    if name == TRIGRAMS and chosen != NO_LANGUAGE:
        raise InputError(
            f"language={shown(language)}: trigrams are the same in each language; leave it out"
        )
    return AnalyserChoice(name, chosen)


def check_rules(spec: AnalyserSpec, uri: str) -> None:
    """Raise `IndexMismatch` for an index with rules that this version of resift does not have."""
    if spec.rules != RULES:
        remedy = "update resift" if spec.rules > RULES else "build a new index"
        raise IndexMismatch(
            f"{uri}: made with version {spec.rules} of the analyser's rules, expected {RULES}: "
            f"{remedy}"
        )


def read_spec(text: str) -> AnalyserSpec:
    """Invert ``str(spec)``; raise `ValueError` for anything else."""
    name, language, rules = text.split(" ")
    return checked_spec(name, language, int(rules))


def checked_spec(name: object, language: object, rules: object) -> AnalyserSpec:
    """Make a specification from untrusted values; raise `ValueError`."""
    if type(rules) is not int or rules < 1:
        raise ValueError(f"rules {shown(rules)}: expected a whole number from 1")
    if not (isinstance(name, str) and name.isidentifier()):
        raise ValueError(f"analyser {shown(name)}: expected a name")
    if not (isinstance(language, str) and language.isidentifier()):
        raise ValueError(f"language {shown(language)}: expected a name")
    if rules == RULES and name not in ANALYSERS:
        raise ValueError(f"analyser {shown(name)}: expected {' or '.join(ANALYSERS)}")
    if rules == RULES and language not in {*LANGUAGES.values(), NO_LANGUAGE}:
        raise ValueError(f"language {shown(language)}: expected a known language")
    return AnalyserSpec(name, language, rules)


def _known(kind: str, value: object, names: Sequence[str], given: object = None) -> str:
    if isinstance(value, str) and value.lower() in names:
        return value.lower()
    near = get_close_matches(value.lower(), names, 1) if isinstance(value, str) else []
    hint = f", perhaps {near[0]}" if near else ""
    listed = [name for name in names if name not in LANGUAGES]
    others = " (none for others, such as Chinese, Japanese and Thai)" if kind == "language" else ""
    raise InputError(
        f"{kind}={shown(value if given is None else given)}: expected one of "
        f"{', '.join(listed)}{others}{hint}"
    )
