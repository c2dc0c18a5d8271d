"""The characters that are candidates for classes of glyphs, by the script they are written in."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

SCRIPTS: Mapping[str, tuple[range, ...]] = {
    "Digits": (range(0x30, 0x3A),),
    "Latin": (range(0x41, 0x5B), range(0x61, 0x7B)),
    "Greek": (range(0x391, 0x3CA),),
    "Cyrillic": (range(0x400, 0x482),),
    "Armenian": (range(0x531, 0x588),),
    "Hebrew": (range(0x5D0, 0x5EB),),
    "Arabic": (range(0x621, 0x64B),),
    "NKo": (range(0x7C0, 0x7EB),),
    "Lao": (range(0xE81, 0xEDA),),
    "Georgian": (range(0x10A0, 0x1100),),
    "Syllabics": (range(0x1401, 0x1677),),
    "Ogham": (range(0x1681, 0x169B),),
    "Mathematics": (range(0x2200, 0x2300),),
    "Tifinagh": (range(0x2D30, 0x2D66),),
    "Old_Italic": (range(0x10300, 0x10324),),
}
"""Each script with its part of Unicode; of characters alike the first script's is the class."""

TEST_SCRIPTS = frozenset({"Armenian", "Hebrew", "Arabic", "NKo", "Lao", "Georgian", "Tifinagh"})
"""The scripts whose classes are the test part."""

_DRAWN = ("Lu", "Ll", "Lo", "Nd", "Sm")  # letters, digits and signs; no marks, no spaces


@dataclass(frozen=True)
class Character:
    """One sign and its script, which is a key of SCRIPTS."""

    sign: str
    script: str

    @property
    def name(self) -> str:
        """The name of its class, by Unicode's: "Greek/small_alpha"."""
        spoken = unicodedata.name(self.sign).lower().replace(" letter ", " ")
        words = spoken.removeprefix("canadian syllabics").split()
        if len(words) > 1 and words[0] in (self.script.lower(), "digit", "old"):
            words = words[2:] if words[0] == "old" else words[1:]
        return f"{self.script}/{'_'.join(words)}"


def candidates() -> Iterator[Character]:
    """Every letter, digit and sign of the scripts, except those that are others with a mark."""
    for script, parts in SCRIPTS.items():
        for part in parts:
            for sign in map(chr, part):
                if unicodedata.category(sign) in _DRAWN and _stands_alone(sign):
                    yield Character(sign, script)


def _stands_alone(sign: str) -> bool:
    name = unicodedata.name(sign)
    # A name of four words is that of a variant: "CANADIAN SYLLABICS WEST-CREE PWE" has a dot more.
    variant = name.startswith("CANADIAN") and len(name.split()) > 3 and "CARRIER" not in name
    return " WITH " not in name and not variant and unicodedata.normalize("NFKD", sign) == sign
