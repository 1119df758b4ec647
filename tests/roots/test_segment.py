"""Sentences by the marks of each script; expected lines were written by hand."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roots import clean, segment

LANGUAGES = sorted(language for split in clean.SENTENCE_SPLITTERS.values() for language in split)


def split(text: str, language: str = "en") -> list[str]:
    return segment.sentences(pa.array([text]), language).to_pylist()[0].split("\n")


@pytest.mark.parametrize(
    ("language", "sentences"),
    [
        ("ar", ["كيف حالك؟", "أنا بخير.", "قابلت د. سامي أمس!", "نعم."]),
        ("ca", ["La Sra. Puig viu a l'av. Diagonal.", "Véns?", "Sí, l'any 1990.", "Bé."]),
        ("en", ["Mr. Smith came.", 'He said "Stop!"', "Then J. R. Tolkien left (at 3.14 p.m. sharp).", "Why?"]),
        ("es", ["Hola.", "¿Qué tal está el Sr. López?", "¡Muy bien!", "Vale."]),
        ("eu", ["Kaixo!", "XIX. mendean gertatu zen.", "Zer moduz?", "Ondo."]),
        ("fr", ["M. Dupont arrive.", "« C'est vrai ? »", "Oui, cf. p. 12 du livre.", "Fin."]),
        ("id", ["Bapak Drs. Amir datang.", "Apa kabar?", "Baik!", "Ya."]),
        ("indic-bn", ["আমি ভাত খাই।", "তুমি কেমন আছ?", "ডঃ সেন এলেন।"]),
        ("indic-gu", ["ડૉ. પટેલ આવ્યા.", "કેમ છો?", "સારું છે."]),
        ("indic-hi", ["यह अच्छा है।", "वह डॉ. सिंह हैं।", "क्या हाल है?", "ठीक।"]),
        ("indic-kn", ["ನೀವು ಹೇಗಿದ್ದೀರಿ?", "ಡಾ. ರಾವ್ ಬಂದರು.", "ಸರಿ."]),
        ("indic-ml", ["ഡോ. നായർ വന്നു.", "സുഖമാണോ?", "അതെ."]),
        ("indic-mr", ["डॉ. पाटील आले.", "तुम्ही कसे आहात?", "ठीक."]),
        ("indic-pa", ["ਤੁਸੀਂ ਕਿਵੇਂ ਹੋ?", "ਡਾ. ਸਿੰਘ ਆਏ।", "ਠੀਕ।"]),
        ("indic-ta", ["நீங்கள் எப்படி?", "திரு. குமார் வந்தார்.", "சரி."]),
        ("indic-te", ["డా. రావు వచ్చారు.", "మీరు ఎలా ఉన్నారు?", "సరే."]),
        ("pt", ["O Sr. Silva chegou.", "Tudo bem?", "Sim, na pág. 5.", "Fim."]),
        ("vi", ["Ông ở TP. Hồ Chí Minh.", "Trời đẹp quá!", "Vâng."]),
        ("zhs", ["你好。", "“真的吗？”", "是的！", "好。"]),
        ("zht", ["「你好。」", "他說：「真的嗎？」", "是的！"]),
    ],
)
def test_sentences_are_told_apart_in(language: str, sentences: list[str]) -> None:
    assert split(" ".join(sentences), language) == sentences


def test_every_language_that_a_source_asks_for_has_abbreviations_or_needs_none() -> None:
    assert [code for code in LANGUAGES if not len(segment.abbreviations(code.removeprefix("indic-"))[0])] == [
        "zhs",
        "zht",
    ]


@pytest.mark.parametrize("text", ["यह है।वह है।", "你好。好。", "حالك؟نعم؟"])
def test_a_mark_of_these_scripts_needs_no_white_space(text: str) -> None:
    assert len(split(text)) == 2


@pytest.mark.parametrize(
    "text",
    [
        "see example.org now",
        "v1.2.3 Beta",
        "wait... what",
        "Yahoo! is",
        "3. Item",
        "1990. ",
        "U.S. Army",
        "",
        " ",
        ".",
        "?!",
    ],
)
def test_one_sentence_stays_one(text: str) -> None:
    assert split(text) == [text]


def test_a_line_feed_stays_where_it_is_and_only_white_space_between_sentences_goes() -> None:
    assert split("One.  \n\n Two.\t Three\u3000 four. \r\n5. Five.\u00a0Six. ") == [
        "One.  ", "", " Two.", "Three\u3000 four. \r", "5. Five.", "Six. "
    ]  # fmt: skip


TEXT = st.text(st.sampled_from('aAé语नी.।؟。!?…"”)(«- \n\t1\u3000')) | st.text()


@given(st.lists(TEXT, max_size=4), st.sampled_from(LANGUAGES))
def test_nothing_but_white_space_changes_and_splitting_again_changes_nothing(texts: list[str], language: str) -> None:
    once = segment.sentences(pa.array(texts, pa.string()), language)
    assert ["".join(text.split()) for text in once.to_pylist()] == ["".join(text.split()) for text in texts]
    assert segment.sentences(once, language).equals(once)
    assert [segment.sentences(pa.array([text]), language).to_pylist()[0] for text in texts] == once.to_pylist()
