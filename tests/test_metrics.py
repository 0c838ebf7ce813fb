"""Error rates, against jiwer, ten lines of dynamic programming, and all alignments there are."""

import math

import jiwer
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from asrlib.metrics import (
    ErrorRate,
    PairedDifference,
    align_words,
    bootstrap_interval,
    character_error_rate,
    edit_alignment,
    paired_bootstrap,
    word_error_rate,
)
from tests.transcripts import (
    corpora,
    levenshtein,
    sentences,
    split_corpus,
    spoken,
    two_systems,
    words,
)


def errors(rate):
    return rate.substitutions + rate.insertions + rate.deletions


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


def test_the_interval_takes_the_speakers_in_their_order():
    """The draws of a seed are published with the interval: they must not change with a version."""
    corpus = speakers_of_unequal_skill(12)  # "speaker 10" sorts before "speaker 2"
    references, hypotheses, names = corpus
    order = sorted(set(names))
    draws = np.random.default_rng(7).integers(12, size=(40, 12))
    skill = np.array([int(name.split()[1]) % 4 / 10 for name in order])
    expected = np.percentile(skill[draws].mean(axis=1), [5, 95])
    found = bootstrap_interval(references, hypotheses, names, samples=40, seed=7, confidence=0.9)
    assert found == pytest.approx(tuple(expected))


def interval_of_two(references, hypotheses, names, **options):
    return paired_bootstrap(references, hypotheses, references, names, **options)


@pytest.mark.parametrize("interval", [bootstrap_interval, interval_of_two])
def test_bad_options_and_labels_of_an_interval_are_refused(interval):
    corpus = ["a", "b"], ["a", "x"], ["ann", "bob"]
    for confidence in (95, 1, 0, -0.5, math.nan):
        with pytest.raises(ValueError, match=f"confidence {confidence} .* 95 % is 0.95"):
            interval(*corpus, confidence=confidence)
    for samples in (0, -3):
        with pytest.raises(ValueError, match=f"samples {samples} must be at least 1"):
            interval(*corpus, samples=samples)
    interval(*corpus, samples=1)
    with pytest.raises(ValueError, match="at least 2 speakers"):
        interval(["a", "b"], ["a", "b"], ["ann", "ann"])
    with pytest.raises(ValueError, match="2 references, 3 speaker labels"):
        interval(["a", "b"], ["a", "b"], ["ann", "bob", "bob"])
    with pytest.raises(ValueError, match="2 references but 1 hypotheses"):
        interval(["a", "b"], ["a"], ["ann", "bob"])
    with pytest.raises(ValueError, match="no reference holds a word"):
        interval(["", ""], ["a", "b"], ["ann", "bob"])


def test_a_speaker_without_reference_words_does_not_divide_by_zero():
    corpus = ["a b", ""], ["a x", "um"], ["ann", "bob"]
    assert np.isfinite(bootstrap_interval(*corpus, samples=50)).all()


# The alignment by hand.


def all_alignments(reference, hypothesis):
    """Every way to lay two sequences side by side, by recursion on the first column."""
    if not reference and not hypothesis:
        yield []
    if reference and hypothesis:
        kind = "equal" if reference[0] == hypothesis[0] else "substitute"
        for rest in all_alignments(reference[1:], hypothesis[1:]):
            yield [(kind, reference[0], hypothesis[0]), *rest]
    if reference:
        for rest in all_alignments(reference[1:], hypothesis):
            yield [("delete", reference[0], None), *rest]
    if hypothesis:
        for rest in all_alignments(reference, hypothesis[1:]):
            yield [("insert", None, hypothesis[0]), *rest]


def cost(rows):
    return sum(kind != "equal" for kind, _, _ in rows)


short = st.lists(words, max_size=4)  # 4 against 4: 321 alignments


@given(short, short)
def test_the_alignment_by_hand_is_one_of_the_best_of_all(reference, hypothesis):
    candidates = list(all_alignments(reference, hypothesis))
    least = min(map(cost, candidates))
    assert edit_alignment(reference, hypothesis) in [c for c in candidates if cost(c) == least]


@given(sentences, sentences)
def test_the_alignment_by_hand_has_as_many_errors_as_jiwers(reference, hypothesis):
    output = jiwer.process_words(reference, hypothesis)
    rows = edit_alignment(reference.split(), hypothesis.split())
    assert cost(rows) == output.substitutions + output.insertions + output.deletions
    assert cost(rows) == cost(align_words(reference, hypothesis))


@given(st.text("ab c", max_size=12), st.text("ab c", max_size=12))
def test_the_alignment_by_hand_works_on_characters(reference, hypothesis):
    rows = edit_alignment(reference, hypothesis)
    assert cost(rows) == levenshtein(reference, hypothesis)
    assert "".join(said for _, said, _ in rows if said is not None) == reference
    assert "".join(heard for _, _, heard in rows if heard is not None) == hypothesis


def test_the_alignment_by_hand_resolves_ties_as_documented():
    assert edit_alignment("ab", "bc") == [("substitute", "a", "b"), ("substitute", "b", "c")]
    # Cheaper than three substitutions, whichever letter is the one deleted.
    kinds = [kind for kind, _, _ in edit_alignment("aba", "bab")]
    assert kinds == ["insert", "equal", "equal", "delete"]
    assert edit_alignment("aa", "a") == [("delete", "a", None), ("equal", "a", "a")]
    assert edit_alignment([], []) == []


# Two systems on the same speakers.


@given(spoken)
def test_a_system_against_itself_makes_no_difference(corpus):
    references, hypotheses, names = split_corpus(corpus)
    assume(len(set(names)) > 1)
    found = paired_bootstrap(references, hypotheses, hypotheses, names, samples=20)
    assert found == PairedDifference(0.0, 0.0, 0.0, 0.5)


def test_the_difference_is_antisymmetric():
    references, a, b, names = two_systems()
    one = paired_bootstrap(references, a, b, names, samples=500)
    two = paired_bootstrap(references, b, a, names, samples=500)
    assert one.difference == -two.difference
    assert (one.low, one.high) == pytest.approx((-two.high, -two.low))
    assert one.probability == pytest.approx(1 - two.probability)
    assert one.probability not in (0.0, 0.5, 1.0)


def test_a_better_second_system_makes_a_positive_difference():
    references = ["a b", "c d", "e f"]
    wrong, names = ["a x", "c x", "e x"], ["ann", "bob", "cy"]
    better = paired_bootstrap(references, wrong, references, names, samples=100)
    assert better == PairedDifference(0.5, 0.5, 0.5, 1.0)


def test_the_paired_difference_equals_a_loop_over_draws():
    references, a, b, names = two_systems()
    found = paired_bootstrap(references, a, b, names, samples=80, seed=3, confidence=0.8)
    order = sorted(set(names))
    differences, score = [], 0.0
    for draw in np.random.default_rng(3).integers(len(order), size=(80, len(order))):
        rows = [i for k in draw for i, name in enumerate(names) if name == order[k]]
        rate_a, rate_b = (
            word_error_rate([references[i] for i in rows], [system[i] for i in rows]).rate
            for system in (a, b)
        )
        differences.append(rate_a - rate_b)
        score += 1.0 if rate_b < rate_a else 0.5 if rate_b == rate_a else 0.0
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(differences, [10, 90])))
    assert found.probability == pytest.approx(score / 80)
    whole = word_error_rate(references, a).rate - word_error_rate(references, b).rate
    assert found.difference == pytest.approx(whole)


def test_the_order_of_utterances_does_not_move_the_paired_interval():
    corpus = two_systems()
    backwards = [column[::-1] for column in corpus]
    assert paired_bootstrap(*backwards, samples=300) == paired_bootstrap(*corpus, samples=300)


def test_a_hard_voice_cancels_in_the_difference():
    """Every speaker gains one word in ten: certain, though the two intervals overlap widely."""
    references, better, names = speakers_of_unequal_skill(12)
    worse = [" ".join(text.split()[:-1]) for text in better]
    found = paired_bootstrap(references, worse, better, names, samples=500)
    assert (found.low, found.high, found.probability) == pytest.approx((0.1, 0.1, 1.0))
    low, _ = bootstrap_interval(references, worse, names, samples=500)
    _, high = bootstrap_interval(references, better, names, samples=500)
    assert low < high
