"""Error rates, against jiwer and against ten lines of dynamic programming."""

import jiwer
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from asrlib.metrics import (
    ErrorRate,
    align_words,
    bootstrap_interval,
    character_error_rate,
    word_error_rate,
)

words = st.sampled_from(["a", "b", "c", "dog"])
sentences = st.lists(words, max_size=8).map(" ".join)
corpora = st.lists(st.tuples(sentences, sentences), min_size=1, max_size=5)


def levenshtein(reference, hypothesis):
    """The least number of substitutions, insertions and deletions."""
    row = list(range(len(hypothesis) + 1))
    for i, said in enumerate(reference, 1):
        before, row[0] = row[0], i
        for j, heard in enumerate(hypothesis, 1):
            least = min(before + (said != heard), row[j] + 1, row[j - 1] + 1)
            before, row[j] = row[j], least
    return row[-1]


def errors(rate):
    return rate.substitutions + rate.insertions + rate.deletions


def split_corpus(corpus):
    references, hypotheses = map(list, zip(*corpus, strict=True))
    assume(any(references))
    return references, hypotheses


def test_the_rate_is_of_the_corpus_not_the_mean_of_utterances():
    references = ["one", "a b c d e f g h i"]
    hypotheses = ["won", "a b c d e f g h i"]
    each = [word_error_rate([r], [h]).rate for r, h in zip(references, hypotheses, strict=True)]
    assert sum(each) / 2 == 0.5
    assert word_error_rate(references, hypotheses).rate == 0.1


def test_substitutions_insertions_and_deletions_are_not_swapped():
    # Three different counts, so that any exchange of two of them shows.
    references = ["a b c d e f", "the cat", "x"]
    hypotheses = ["a B C D e f", "the", "x y z"]
    expected = ErrorRate(rate=6 / 9, substitutions=3, insertions=2, deletions=1, words=9)
    assert word_error_rate(references, hypotheses) == expected


def test_character_counts_are_not_swapped_and_spaces_count():
    assert character_error_rate(["abcd"], ["xyzd"]).substitutions == 3
    assert character_error_rate(["ab"], ["ab c"]).insertions == 2  # the space is a character
    assert character_error_rate(["a bcd"], ["ad"]).deletions == 3
    assert character_error_rate(["a bcd", "e"], ["ad", "e"]).words == 6


@given(corpora)
def test_word_errors_equal_the_edit_distance(corpus):
    references, hypotheses = split_corpus(corpus)
    rate = word_error_rate(references, hypotheses)
    assert errors(rate) == sum(levenshtein(r.split(), h.split()) for r, h in corpus)
    assert rate.words == sum(len(r.split()) for r in references)
    assert rate.rate == errors(rate) / rate.words
    # What the hypotheses hold beyond the references was inserted, and the other way round.
    heard = sum(len(h.split()) for h in hypotheses)
    assert rate.insertions - rate.deletions == heard - rate.words


@given(corpora)
def test_character_errors_equal_the_edit_distance(corpus):
    references, hypotheses = split_corpus(corpus)
    rate = character_error_rate(references, hypotheses)
    assert errors(rate) == sum(levenshtein(r, h) for r, h in corpus)
    assert rate.words == sum(map(len, references))


@given(corpora)
def test_rates_equal_jiwer(corpus):
    references, hypotheses = split_corpus(corpus)
    words, characters = jiwer.wer(references, hypotheses), jiwer.cer(references, hypotheses)
    assert word_error_rate(references, hypotheses).rate == pytest.approx(words)
    assert character_error_rate(references, hypotheses).rate == pytest.approx(characters)


def test_a_perfect_transcript_has_rate_zero():
    assert word_error_rate(["a b", "c"], ["a b", "c"]) == ErrorRate(0.0, 0, 0, 0, 3)


def test_an_empty_hypothesis_deletes_everything():
    assert word_error_rate(["a b c"], [""]) == ErrorRate(1.0, 0, 0, 3, 3)


def test_an_empty_reference_beside_others_counts_its_insertions():
    assert word_error_rate(["", "a b"], ["um er", "a b"]) == ErrorRate(1.0, 0, 2, 0, 2)


@pytest.mark.parametrize("measure", [word_error_rate, character_error_rate])
@pytest.mark.parametrize("references", [[], [""], ["", "  "]])
def test_a_rate_over_nothing_is_refused(measure, references):
    with pytest.raises(ValueError, match="no reference holds a word"):
        measure(references, ["a"] * len(references))


@pytest.mark.parametrize("measure", [word_error_rate, character_error_rate])
def test_lists_that_do_not_match_are_refused(measure):
    with pytest.raises(ValueError, match="2 references but 1 hypotheses"):
        measure(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="wrap a single text"):
        measure("abc", "abc")  # texts are sequences of texts: three one-letter utterances


def test_a_rate_prints_its_counts():
    assert str(word_error_rate(["a b c d"], ["a x c d e"])) == "50.0 % (1 S, 1 I, 0 D of 4)"


@given(sentences, sentences)
def test_an_alignment_rebuilds_both_sides_at_the_least_cost(reference, hypothesis):
    rows = align_words(reference, hypothesis)
    assert [said for _, said, _ in rows if said is not None] == reference.split()
    assert [heard for _, _, heard in rows if heard is not None] == hypothesis.split()
    assert sum(kind != "equal" for kind, _, _ in rows) == levenshtein(
        reference.split(), hypothesis.split()
    )
    for kind, said, heard in rows:
        assert (kind == "equal") == (said == heard)
        assert (kind == "insert") == (said is None)
        assert (kind == "delete") == (heard is None)


def test_an_alignment_names_deletions_and_insertions():
    assert align_words("a b", "b") == [("delete", "a", None), ("equal", "b", "b")]
    assert align_words("b", "a b") == [("insert", None, "a"), ("equal", "b", "b")]


def speakers_of_unequal_skill(speakers):
    """Five utterances a speaker; of ten words each, speaker n gets n mod 4 wrong."""
    references, hypotheses, names = [], [], []
    for n in range(speakers):
        for _ in range(5):
            references.append("a b c d e f g h i j")
            hypotheses.append(" ".join(["x"] * (n % 4) + list("abcdefghij")[n % 4 :]))
            names.append(f"speaker {n}")
    return references, hypotheses, names


def interval_width(*corpus, **options):
    low, high = bootstrap_interval(*corpus, **options)
    return high - low


def test_the_interval_contains_the_rate():
    references, hypotheses, names = speakers_of_unequal_skill(12)
    low, high = bootstrap_interval(references, hypotheses, names, samples=2000)
    assert 0 < low < word_error_rate(references, hypotheses).rate < high < 0.3


def test_fewer_speakers_give_a_wider_interval():
    few, many = speakers_of_unequal_skill(4), speakers_of_unequal_skill(64)
    # A sixteenth of the speakers: four times as wide, if the draws are of speakers.
    ratio = interval_width(*few, samples=2000) / interval_width(*many, samples=2000)
    assert 3 < ratio < 5


def test_speakers_are_drawn_not_utterances():
    # Two voices, one perfect and one always wrong: with probability 1/4 each, both draws fall on
    # one of them. Utterances drawn one by one would keep the rate near one half.
    references = ["a"] * 100
    hypotheses = ["a"] * 50 + ["x"] * 50
    assert bootstrap_interval(references, hypotheses, ["ann"] * 50 + ["bob"] * 50) == (0.0, 1.0)


def test_the_interval_grows_with_the_confidence():
    corpus = speakers_of_unequal_skill(12)
    narrow = interval_width(*corpus, samples=2000, confidence=0.5)
    assert narrow < interval_width(*corpus, samples=2000, confidence=0.99)


def test_the_interval_is_the_same_for_the_same_seed_only():
    corpus = speakers_of_unequal_skill(13)
    draws = [bootstrap_interval(*corpus, samples=20, seed=seed) for seed in (0, 0, 1, 2, 3)]
    assert draws[0] == draws[1]
    assert len(set(draws)) > 1  # few samples: the rates of this corpus lie on a coarse grid


def test_the_order_of_utterances_does_not_move_the_interval():
    corpus = speakers_of_unequal_skill(6)
    backwards = [column[::-1] for column in corpus]
    assert bootstrap_interval(*backwards, samples=500) == bootstrap_interval(*corpus, samples=500)


def test_a_single_speaker_and_missing_labels_are_refused():
    with pytest.raises(ValueError, match="1 different speakers; .* at least 2 speakers"):
        bootstrap_interval(["a", "b"], ["a", "b"], ["ann", "ann"])
    with pytest.raises(ValueError, match="2 references, 1 speaker labels"):
        bootstrap_interval(["a", "b"], ["a", "b"], ["ann"])
