"""The alphabet and the tokenizer."""

import itertools
import unicodedata

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from asrlib.text import ALPHABET, BLANK, Tokenizer, normalize

texts = st.text(alphabet=ALPHABET, max_size=40)
ids = st.lists(st.integers(0, 28), max_size=30)


def test_ids_are_blank_space_apostrophe_letters():
    tokenizer = Tokenizer()
    assert BLANK == 0
    assert tokenizer.vocab_size == 29
    assert tokenizer.encode(" 'az").tolist() == [1, 2, 3, 28]
    assert tokenizer.encode("abcdefghijklmnopqrstuvwxyz").tolist() == list(range(3, 29))


@pytest.mark.parametrize("text", ["", "a", "it's"])
def test_encode_gives_int64_one_id_a_character(text):
    encoded = Tokenizer().encode(text)
    assert encoded.dtype == torch.int64
    assert encoded.shape == (len(text),)


@given(texts)
def test_decode_undoes_encode(text):
    assert Tokenizer().decode(Tokenizer().encode(text)) == text


@given(ids)
def test_encode_undoes_decode_but_for_blanks(ids):
    tokenizer = Tokenizer()
    assert tokenizer.encode(tokenizer.decode(ids)).tolist() == [i for i in ids if i != BLANK]


def test_decode_keeps_repeats_and_outer_spaces():
    assert Tokenizer().decode([1, 14, 14, 0, 1]) == " ll "


@given(texts, st.sampled_from("A5é-.\n\u2019漢"), texts)
def test_encode_names_the_first_foreign_character_and_its_position(before, foreign, after):
    with pytest.raises(ValueError, match=f"position {len(before)} ") as caught:
        Tokenizer().encode(before + foreign + after)
    assert repr(foreign) in str(caught.value)


@pytest.mark.parametrize("wrong", [-1, 29])
def test_decode_names_an_id_out_of_range(wrong):
    with pytest.raises(ValueError, match=rf"id {wrong} is outside 0\.\.28"):
        Tokenizer().decode([3, wrong])


def test_an_alphabet_with_a_character_twice_is_refused():
    with pytest.raises(ValueError, match="'aba'"):
        Tokenizer("aba")


def test_another_alphabet_numbers_its_own_characters():
    tokenizer = Tokenizer("xyz")
    assert tokenizer.vocab_size == 4
    assert tokenizer.encode("zx").tolist() == [3, 1]
    assert tokenizer.decode([3, 1]) == "zx"


@given(st.lists(st.sampled_from([0, 0, 1, 3, 14]), max_size=20))
def test_collapse_merges_repeats_then_drops_blanks(path):
    runs = [symbol for symbol, _ in itertools.groupby(path)]
    expected = "".join(ALPHABET[symbol - 1] for symbol in runs if symbol != BLANK)
    assert Tokenizer().collapse(path) == expected
    assert Tokenizer().collapse(torch.tensor(path, dtype=torch.int64)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World!", "hello world"),
        ("It\u2019s", "it's"),
        ("caf\u00e9 na\u00efve", "cafe naive"),
        ("\ufb01ne", "fine"),
        ("a\u2014b\tc\u00a0d\u2028e", "a b c d e"),
        ("\u210cello", "hello"),  # a letter-like sign whose capital appears only after NFKD
        ("\u0149", "'n"),  # NFKD makes two characters of it, the first an apostrophe
        ("  ", ""),
    ],
)
def test_normalize_examples(text, expected):
    assert normalize(text) == expected


@given(st.text(max_size=30))
@example("\u210c \u0149 \u00b4a \u0130 \u2028")
def test_normalize_twice_is_normalize_once(text):
    assert normalize(normalize(text)) == normalize(text)


def test_normalize_of_every_character_is_stable():
    # Random texts rarely hold the few hundred signs that change case or kind under NFKD.
    every = map(chr, itertools.chain(range(0xD800), range(0xE000, 0x20000)))
    once = normalize(" ".join(every))
    assert set(normalize(once).split()) ^ set(once.split()) == set()


@given(st.text(max_size=30))
def test_normalize_leaves_what_encode_takes_or_refuses_by_name(text):
    result = normalize(text)
    assert result == " ".join(result.split(" "))
    foreign = [c for c in result if c not in ALPHABET]
    # Only letters and digits of other scripts may be left: punctuation and signs are gone.
    assert all(unicodedata.category(c)[0] in "LN" for c in foreign)
    if foreign:
        with pytest.raises(ValueError, match="not in the alphabet"):
            Tokenizer().encode(result)
    else:
        assert Tokenizer().decode(Tokenizer().encode(result)) == result


@given(st.text(alphabet=st.characters(max_codepoint=127), max_size=30))
def test_normalize_of_ascii_without_digits_can_be_encoded(text):
    without_digits = "".join(c for c in text if not c.isdigit())
    Tokenizer().encode(normalize(without_digits))
