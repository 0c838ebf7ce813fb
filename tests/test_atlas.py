"""Where the errors are: every part of it adds up to the error rate of the corpus."""

import json
import math

import pytest
from hypothesis import given

from asrlib.atlas import (
    WordRecall,
    breakdown,
    breakdown_by_frequency,
    error_atlas,
    length_groups,
)
from asrlib.metrics import ErrorRate, character_error_rate, word_error_rate
from tests.transcripts import corpora, levenshtein, split_corpus, spoken, two_systems

# Breakdowns.


@given(spoken)
def test_the_groups_add_up_to_the_corpus(corpus):
    references, hypotheses, names = split_corpus(corpus)
    groups, whole = (
        breakdown(references, hypotheses, names),
        word_error_rate(references, hypotheses),
    )
    assert list(groups) == sorted(set(names))
    for count in ("substitutions", "insertions", "deletions", "words", "errors"):
        assert sum(getattr(rate, count) for rate in groups.values()) == getattr(whole, count)
    for name, rate in groups.items():
        own = [(r, h) for r, h, speaker in corpus if speaker == name]
        if rate.words:
            assert rate == word_error_rate(*map(list, zip(*own, strict=True)))
        else:
            assert math.isnan(rate.rate)


def test_a_group_has_a_corpus_rate_not_a_mean():
    rates = breakdown(
        ["one", "a b c d e f g h i", "z"], ["won", "a b c d e f g h i", "z"], [1, 1, 2]
    )
    assert rates == {1: ErrorRate(0.1, 1, 0, 0, 10), 2: ErrorRate(0.0, 0, 0, 0, 1)}


def test_a_group_without_words_keeps_its_insertions():
    rates = breakdown(["", "a"], ["um er", "a"], ["silence", "speech"])
    assert rates["silence"].insertions == rates["silence"].errors == 2
    assert math.isnan(rates["silence"].rate) and rates["silence"].words == 0
    assert str(rates["silence"]) == "nan % (0 S, 2 I, 0 D of 0)"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["6-10 words", "41+ words", "1-5 words"], ["1-5 words", "6-10 words", "41+ words"]),
        (["1089", "121", "61"], ["61", "121", "1089"]),
        ([5, -5, 0.25, 0.5, 10], [-5, 0.25, 0.5, 5, 10]),
        (["b", None, 3, "a"], [3, "None", "a", "b"]),
    ],
)
def test_groups_come_in_the_order_of_their_labels(labels, expected):
    found = list(breakdown(["a"] * len(labels), ["a"] * len(labels), labels))
    assert found == [None if label == "None" else label for label in expected]


def test_groups_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="2 references but 1 groups"):
        breakdown(["a", "b"], ["a", "b"], ["ann"])
    with pytest.raises(ValueError, match="no reference holds a word"):
        breakdown([""], ["a"], ["ann"])


def test_lengths_fall_on_the_right_side_of_each_edge():
    texts = [" ".join("a" * n) for n in (0, 1, 5, 6, 10, 11, 20, 21, 40, 41, 99)]
    middle = ["6-10 words"] * 2 + ["11-20 words"] * 2 + ["21-40 words"] * 2
    expected = ["0 words", "1-5 words", "1-5 words", *middle, "41+ words", "41+ words"]
    assert length_groups(texts) == expected
    assert length_groups(["a", "a b", "a b c"], edges=[2, 3]) == ["1-2 words"] * 2 + ["3 words"]


@pytest.mark.parametrize("edges", [(5, 5), (10, 5), (0, 5), (-1, 3)])
def test_lengths_that_do_not_increase_are_refused(edges):
    with pytest.raises(ValueError, match="must be counts in strictly increasing order"):
        length_groups(["a"], edges=edges)


@pytest.mark.parametrize("edges", [(), (5, 5), (10, 5), (-1, 3)])
def test_frequencies_that_do_not_increase_are_refused(edges):
    with pytest.raises(ValueError, match=r"edges \(.*must be counts in strictly increasing order"):
        breakdown_by_frequency(["a"], ["a"], {}, edges=edges)


def test_words_fall_in_the_class_of_their_count():
    counts = {"one": 1, "ten": 10, "eleven": 11, "hundred": 100, "thousand": 1000, "more": 1001}
    said = "none one ten eleven hundred thousand more"
    found = breakdown_by_frequency([said, "none"], [said.replace("ten", "tan"), ""], counts)
    assert found == {
        "0 times": WordRecall(0.5, 1, 2),
        "1-10 times": WordRecall(0.5, 1, 2),
        "11-100 times": WordRecall(1.0, 2, 2),
        "101-1000 times": WordRecall(1.0, 1, 1),
        "1001+ times": WordRecall(1.0, 1, 1),
    }


def test_insertions_belong_to_no_class_and_empty_classes_are_nan():
    found = breakdown_by_frequency(["a"], ["a b b b"], {"a": 3, "b": 3}, edges=(0, 5))
    assert found["1-5 times"] == WordRecall(1.0, 1, 1)
    assert list(found) == ["0 times", "1-5 times", "6+ times"]
    assert math.isnan(found["6+ times"].rate) and found["6+ times"].words == 0


@given(corpora)
def test_the_classes_add_up_to_the_hits_of_the_corpus(corpus):
    references, hypotheses = split_corpus(corpus)
    counts = {"a": 1, "b": 20, "c": 300}
    found = breakdown_by_frequency(references, hypotheses, counts).values()
    whole = word_error_rate(references, hypotheses)
    assert sum(recall.words for recall in found) == whole.words
    hits = whole.words - whole.substitutions - whole.deletions
    assert sum(recall.hits for recall in found) == hits
    with pytest.raises(ValueError, match="references but"):
        breakdown_by_frequency([*references, "a"], hypotheses, counts)


# The atlas.


def total(entries):
    return sum(entry[-1] for entry in entries)


@given(spoken)
def test_the_atlas_adds_up_to_the_corpus(corpus):
    references, hypotheses, names = split_corpus(corpus)
    atlas = error_atlas(references, hypotheses, names)
    rate = word_error_rate(references, hypotheses)
    assert total(atlas.substitutions) == rate.substitutions
    assert total(atlas.deletions) == rate.deletions
    assert total(atlas.insertions) == rate.insertions
    assert sum(count for _, count, _ in atlas.worst) == rate.errors
    assert all(said != heard for said, heard, _ in atlas.substitutions + atlas.characters)
    for index, count, length in atlas.worst:
        said, heard = references[index].split(), hypotheses[index].split()
        assert (count, length) == (levenshtein(said, heard), len(said))
    assert set(atlas.speakers) == set(names)
    assert sum(speaker.errors for speaker in atlas.speakers.values()) == rate.errors
    letters = character_error_rate(references, hypotheses)
    assert total(row for row in atlas.characters if not row[0]) == letters.insertions
    assert total(row for row in atlas.characters if not row[1]) == letters.deletions
    assert total(atlas.characters) == letters.errors


def test_the_atlas_counts_and_ranks_what_was_said_and_heard():
    references = ["x", "the cat", "b a", "the cat sat", "", "b"]
    hypotheses = ["x", "the hat", "", "a hat sat", "um", "um b"]
    atlas = error_atlas(references, hypotheses)
    assert atlas.substitutions == [("cat", "hat", 2), ("the", "a", 1)]
    assert atlas.deletions == [("a", 1), ("b", 1)]
    assert atlas.insertions == [("um", 2)]
    assert atlas.worst == [(2, 2, 2), (3, 2, 3), (1, 1, 2), (4, 1, 0), (5, 1, 1)]
    assert atlas.speakers == {}


def test_the_atlas_counts_characters():
    atlas = error_atlas(["cat", "cab", "do"], ["hat", "hab", "dog"])
    assert atlas.characters == [("c", "h", 2), ("", "g", 1)]
    assert error_atlas(["a bc"], ["abc"]).characters == [(" ", "", 1)]


def test_the_atlas_does_not_depend_on_the_order_of_utterances():
    references, a, _, names = two_systems()
    one = error_atlas(references, a, names)
    two = error_atlas(references[::-1], a[::-1], names[::-1])
    for part in ("substitutions", "deletions", "insertions", "speakers", "characters"):
        assert getattr(one, part) == getattr(two, part)
    assert list(one.speakers) == list(two.speakers)


def test_the_atlas_is_written_as_json():
    atlas = error_atlas(["a b", ""], ["x b", "um"], ["ann", "bob"])
    content = json.loads(atlas.to_json(), parse_constant=pytest.fail)  # NaN is no JSON
    assert content["substitutions"] == [["a", "x", 1]]
    assert content["insertions"] == [["um", 1]]
    assert content["worst"] == [[0, 1, 2], [1, 1, 0]]
    counts = {"substitutions": 1, "insertions": 0, "deletions": 0, "words": 2}
    assert content["speakers"]["ann"] == {"rate": 0.5, **counts}
    assert content["speakers"]["bob"]["rate"] is None


def test_an_atlas_of_lists_that_do_not_match_is_refused():
    with pytest.raises(ValueError, match="2 references but 1 hypotheses"):
        error_atlas(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="1 references but 2 groups"):
        error_atlas(["a"], ["a"], ["ann", "bob"])
    with pytest.raises(ValueError, match="1 references but 0 groups"):
        error_atlas(["a"], ["a"], [])
