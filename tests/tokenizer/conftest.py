"""One small tokenizer for all tests, trained on text in several scripts, with special tokens in plenty."""

from pathlib import Path

import pyarrow as pa
import pytest

from tokenizer import count, encode, learn

TEXTS = [
    "The quick brown fox jumps over the lazy dog. The dog sleeps, the fox does not!\n\n" * 3,
    "Mtoto anasoma kitabu; mwalimu anaandika barua. Watoto wanacheza mpira uwanjani.",
    "今天，天气。很好！今天的天气很好，我们去公园。",
    "قرأ الولد الكتاب، ثم كتب رسالة. مرحبا، كيف حالك؟",
    "क्या हाल है। बच्चा किताब पढ़ता है।",
    "def f(x):\n    return x[0]\n\n\nfor i in range(10):\n    print(f(i))\n",
    "<s>struck out</s> and again <s>struck out</s>, <pad> and <unk> too" * 20,
]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return list(TEXTS)


@pytest.fixture(scope="session")
def folder(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a saved tokenizer of 420 tokens."""
    place = tmp_path_factory.mktemp("tokenizer")
    learn.save(learn.learn(count.of([pa.array(texts)]), 420).tokenizer(), place)
    return place


@pytest.fixture(scope="session")
def encoder(folder: Path) -> encode.Encoder:
    return encode.Encoder(folder)
