"""The mix file: weights by tokens, written as the original writes them, read strictly."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenizer import mix

TRAIN = '"train: 0.75 0:0.950 s/en/wiki, 0.25 0:0.950 s/sw/news"\n'
VALID = (
    '"valid: 0.75 0.950:1.0 s/en/wiki, 0.25 0.950:1.0 s/sw/news" '
    '"valid_en: 1 0.950:1.0 s/en/wiki" "valid_sw: 1 0.950:1.0 s/sw/news"\n'
)
SHARES = {"s/en/wiki": 0.75, "s/sw/news": 0.25}


def test_a_weight_is_the_share_of_all_tokens():
    assert mix.weights({"a": 30, "b": 10, "none": 0}) == {"a": 0.75, "b": 0.25}


@given(st.dictionaries(st.text(), st.integers(0, 2**45), max_size=400).filter(lambda d: any(d.values())))
def test_weights_sum_to_one(tokens):
    assert math.isclose(math.fsum(mix.weights(tokens).values()), 1, abs_tol=1e-9)


def test_negative_counts_are_refused():
    with pytest.raises(ValueError, match="a has -1 tokens; counts come from a shard's manifest"):
        mix.weights({"a": -1, "b": 5})


def test_no_tokens_at_all_are_refused():
    with pytest.raises(ValueError, match="no tokens in 1 shards; nothing can be drawn"):
        mix.weights({"a": 0})


def test_a_mix_file_is_written_and_read(tmp_path):
    for name, groups, line in (
        ("train.txt", mix.train(SHARES, 0.95), TRAIN),
        ("valid.txt", mix.valid(SHARES, 0.95), VALID),
    ):
        mix.write(tmp_path / name, groups)
        assert (tmp_path / name).read_text() == line
        assert mix.read(tmp_path / name) == groups
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.txt", "valid.txt"]


def test_shards_of_one_folder_share_a_group_and_a_shard_without_a_folder_has_its_own():
    groups = mix.valid({"en/a": 0.3, "en/b": 0.1, "c": 0.6}, 0.9)
    assert [group.name for group in groups] == ["valid", "valid_en", "valid_c"]
    assert [(part.prefix, round(part.weight, 9)) for part in groups[1].parts] == [
        ("en/a", 0.75),
        ("en/b", 0.25),
    ]
    assert mix.parse(mix.render(groups), "here") == groups


PREFIX = st.from_regex(r"[a-z]{1,3}/[a-z0-9][a-z0-9_.-]{0,7}", fullmatch=True)


@given(
    tokens=st.dictionaries(PREFIX, st.integers(1, 2**45), min_size=1, max_size=40),
    share=st.integers(1, 999).map(lambda n: n / 1000),
)
def test_what_is_written_is_read_back_exactly(tokens, share):
    for groups in (mix.train(mix.weights(tokens), share), mix.valid(mix.weights(tokens), share)):
        assert mix.parse(mix.render(groups), "here") == groups


def test_documents_of_a_part_are_rounded_and_every_document_is_in_one_part():
    train, valid = mix.train(SHARES, 0.95)[0].parts[0], mix.valid(SHARES, 0.95)[0].parts[0]
    assert (train.documents(100), valid.documents(100)) == (range(95), range(95, 100))
    assert (train.documents(10), valid.documents(10)) == (range(10), range(10, 10))  # 9.5 goes to the even 10
    for count in range(300):
        assert [*train.documents(count), *valid.documents(count)] == [*range(count)]


@pytest.mark.parametrize("share", [0.9501, 0.0001])
def test_a_share_that_three_decimals_do_not_hold_is_refused(share):
    says = "start and end take three decimals" if share > 0.5 else r"is not 'weight start:end prefix'"
    with pytest.raises(ValueError, match=says):
        mix.render(mix.train(SHARES, share))


def test_a_prefix_that_the_file_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="without spaces, commas and quotes"):
        mix.render(mix.train({"my shard": 1.0}, 0.95))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", 'here: expected a line of "name: weight'),
        ("train: 1 0:1.0 a\n", "expected a line"),
        ('"train: 1 0:1.0 a" and more\n', "expected a line"),
        ('"train: 1 0:1.0 a"\n"valid: 1 0:1.0 a"\n', "expected a line"),
        ('"train 1 0:1.0 a"\n', "expected a line"),
        ('"a: 1 0:1.0 x" "a: 1 0:1.0 x"\n', "group 'a' comes more than once"),
        ('"train: "\n', "here, group 'train': '' is not 'weight start:end prefix'"),
        ('"train: 1 0:1.0"\n', "'1 0:1.0' is not"),
        ('"train: 1  0:1.0 a"\n', "is not"),
        ('"train: one 0:1.0 a"\n', "is not"),
        ('"train: nan 0:1.0 a"\n', "is not"),
        ('"train: 0 0:1.0 a"\n', "with 0 < weight <= 1"),
        ('"train: 1.5 0:1.0 a"\n', "is not"),
        ('"train: 1 0.5:0.5 a"\n', "is not"),
        ('"train: 1 0.9:0.5 a"\n', "is not"),
        ('"train: 1 0:1.1 a"\n', "is not"),
        ('"train: 1 -0.1:1 a"\n', "is not"),
        ('"train: 1_0 0:1 a"\n', "is not"),
        ('"train: 1 0:1 a b"\n', "is not"),
        ('"train: 0.5 0:1.0 a,0.5 0:1.0 b"\n', "is not"),
        ('"train: 0.5 0:1.0 a, 0.4 0:1.0 b"\n', "group 'train': weights sum to 0.9, expected 1"),
    ],
)
def test_anything_else_is_refused(line, says):
    with pytest.raises(ValueError, match=says):
        mix.parse(line, "here")


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        mix.read(tmp_path / "train.txt")
