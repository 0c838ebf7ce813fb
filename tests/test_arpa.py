"""ARPA files: to the letter, there and back, and every way to be broken."""

import gzip
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrlib.language_model import NGramModel
from tests.ngrams import assert_same, corpora, orders, units

# Corpora of tests are far too small for counts of counts, save where that is the question.
pytestmark = pytest.mark.filterwarnings("ignore:n-grams of order:UserWarning")


@settings(max_examples=15)
@given(lines=corpora, order=orders, unit=units, zipped=st.booleans())
def test_arpa_round_trip(tmp_path_factory, lines, order, unit, zipped):
    path = tmp_path_factory.mktemp("arpa") / ("model.arpa.gz" if zipped else "model.arpa")
    model = NGramModel.train(lines, order, unit=unit)
    model.save_arpa(path)
    assert_same(model, NGramModel.load_arpa(path, unit=unit), atol=1e-5)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_arpa_text_to_the_letter(tmp_path):
    model = NGramModel.train(["a b", "b"], order=2)
    model.save_arpa(tmp_path / "m.arpa")
    text = (tmp_path / "m.arpa").read_text()
    head, tail = text.split("-99\t<s>\t")
    assert head.startswith("\\data\\\nngram 1=5\nngram 2=4\n\n\\1-grams:\n-1.028029\t<unk>\t0\n")
    assert tail.endswith("\ta b\n\n\\end\\\n")
    row = next(row for row in text.splitlines() if row.endswith("\ta b"))
    assert float(row.split("\t")[0]) == pytest.approx(model.log_prob("b", ["a"]) / math.log(10))
    model = NGramModel.train(["a b"], order=2, unit="character")
    model.save_arpa(tmp_path / "c.arpa")
    assert "\ta <space>\n" in (tmp_path / "c.arpa").read_text()


def test_arpa_cannot_hold_other_white_space(tmp_path):
    with pytest.raises(ValueError, match=r"'\\xa0'"):
        NGramModel.train(["a\u00a0b"], unit="character").save_arpa(tmp_path / "m")
    assert not list(tmp_path.iterdir())


# a: 0.5 of everything, so that the sums come out; weights chosen to match.
ARPA = r"""made by hand

\data\
ngram 1=5
ngram 2=3
ngram 3=1

\1-grams:
-99	<s>	-0.30103
-0.60206	</s>
-0.60206	<UNK>
-0.60206	CAT	-0.1760913
-0.60206	THE	-0.1760913

\2-grams:
-0.2041200	<s> THE	-0.1760913
-0.30103	THE CAT
-0.30103	CAT </s>

\3-grams:
-0.1	<s> THE CAT

\end\
"""


@pytest.fixture
def by_hand(tmp_path):
    path = tmp_path / "hand.arpa"
    path.write_text(ARPA)
    return path


def test_arpa_by_hand_upper_case_and_backing_off(by_hand):
    model = NGramModel.load_arpa(by_hand)
    assert model.words == ["<unk>", "<s>", "</s>", "cat", "the"]
    assert (model.order, model.unit) == (3, "word")

    def log10(word, *history):
        return model.log_prob(word, history) / math.log(10)

    assert log10("cat", "<s>", "the") == pytest.approx(-0.1)
    assert log10("cat", "cat", "the") == pytest.approx(-0.30103)
    assert log10("</s>", "the", "cat") == pytest.approx(-0.30103)  # "the cat" has no weight: 1
    assert log10("the", "<s>", "the") == pytest.approx(-0.1760913 - 0.1760913 - 0.60206)
    assert log10("the", "cat", "the") == pytest.approx(-0.1760913 - 0.60206)
    assert log10("zebra", "cat") == pytest.approx(-0.1760913 - 0.60206)
    assert log10("the") == log10("the", "zebra") == pytest.approx(-0.60206)
    # 0.5 + 10 ** -0.1760913 * 0.75 = 1: the sum of the file, as it stands.
    some = [model.index["cat"], model.index["the"]]
    for word in some:
        states = model.score(np.array([0]), np.array([word]))[1].repeat(5)
        total = np.exp(model.score(states, np.arange(5))[0]).sum()
        assert total == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["cut.arpa", "cut.arpa.gz"])
def test_arpa_cut_short_after_any_line_is_an_error(tmp_path, name):
    lines = ARPA.splitlines(keepends=True)
    path = tmp_path / name
    for n in range(len(lines)):
        data = "".join(lines[:n]).encode()
        path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        with pytest.raises(ValueError, match=rf"{name}, line {n + 1}: expected .*end of the file"):
            NGramModel.load_arpa(path)


def test_arpa_gz_cut_short_after_any_byte_is_an_error(tmp_path):
    data, path = gzip.compress(ARPA.encode()), tmp_path / "m.arpa.gz"
    for n in range(len(data)):
        path.write_bytes(data[:n])
        with pytest.raises(ValueError, match=r"m\.arpa\.gz, line \d+: expected"):
            NGramModel.load_arpa(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ngram 1=5", "ngram 1=4", r"line 13: expected \\2-grams:, found '-0.60206\\tTHE"),
        ("ngram 1=5", "ngram 1=6", r"line 15: expected 1-gram 6 of 6: .*'\\\\2-grams:'"),
        ("ngram 2=3", "ngram 2=x", "line 5: expected 'ngram 2=COUNT'"),
        ("ngram 2=3\n", "", "line 5: expected 'ngram 2=COUNT'"),
        ("ngram 3=1\n", "", "line 15: expected 2-gram 1 of 3: .* words listed, found"),
        ("\\2-grams:", "\\4-grams:", r"line 15: expected \\2-grams:"),
        ("-0.30103\tTHE CAT", "-0.3x\tTHE CAT", r"line 17: expected 2-gram 2 of 3"),
        ("-0.30103\tTHE CAT", "0.3\tTHE CAT", r"line 17: expected 2-gram 2 of 3"),
        ("-0.30103\tTHE CAT", "nan\tTHE CAT", r"line 17: expected 2-gram 2 of 3"),
        ("-0.30103\tTHE CAT", "-0.3\tTHE CAT\tnan", r"line 17: expected 2-gram 2 of 3"),
        ("-0.30103\tTHE CAT", "-0.3\tTHE", r"line 17: expected 2-gram 2 of 3"),
        ("-0.30103\tTHE CAT", "-0.3\tTHE DOG", r"line 17: .*words listed"),
        ("-0.30103\tTHE CAT", "-0.3\tCAT </s>", r"line 18: .*itself is not"),
        ("\tTHE\t", "\tCAT\t", r"line 13: .* 1-gram .*itself is not"),
        ("-0.1\t<s> THE CAT", "-0.1\tCAT THE CAT", r"line 21: .*first words are listed"),
        ("-0.1\t<s> THE CAT", "-0.1\t<s> THE CAT\t-0.1", r"line 21: expected 3-gram 1 of 1"),
        ("\\end\\", "-0.1\tTHE CAT THE", r"line 23: expected \\end\\"),
    ],
)
def test_a_broken_arpa_file_names_the_line(by_hand, old, new, message):
    assert ARPA.count(old) == 1
    by_hand.write_text(ARPA.replace(old, new))
    with pytest.raises(ValueError, match="hand.arpa, " + message):
        NGramModel.load_arpa(by_hand)


def test_arpa_that_is_not_text_or_not_there(tmp_path):
    (tmp_path / "m.arpa").write_bytes(b"\\data\\\nngram 1=1\n\xff\xfe\n")
    (tmp_path / "m.gz").write_text(ARPA)
    for name in ("m.arpa", "m.gz"):
        with pytest.raises(ValueError, match=rf"{name}, line \d: .*unreadable bytes"):
            NGramModel.load_arpa(tmp_path / name)
    for load in (NGramModel.load_arpa, NGramModel.load):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            load(tmp_path / "nowhere")


def test_arpa_without_special_words_and_with_mixed_case(tmp_path):
    path = tmp_path / "m.arpa"
    path.write_text("\\data\\\nngram 1=2\n\\1-grams:\n-0.30103 Us\n-0.30103 us\n\\end\\\n")
    model = NGramModel.load_arpa(path)
    assert model.words == ["<unk>", "<s>", "</s>", "Us", "us"]
    assert math.exp(model.log_prob("us", ["<s>"])) == pytest.approx(0.5)
    assert model.log_prob("zebra") < -200 and model.start_state == model.empty_state
