"""Made-up references and hypotheses, for the tests of error rates and of where the errors are."""

from hypothesis import assume
from hypothesis import strategies as st

words = st.sampled_from(["a", "b", "c", "dog"])
sentences = st.lists(words, max_size=8).map(" ".join)
corpora = st.lists(st.tuples(sentences, sentences), min_size=1, max_size=5)
speakers = st.sampled_from(["ann", "bob", "cy"])
spoken = st.lists(st.tuples(sentences, sentences, speakers), min_size=1, max_size=8)


def levenshtein(reference, hypothesis):
    """The least number of substitutions, insertions and deletions."""
    row = list(range(len(hypothesis) + 1))
    for i, said in enumerate(reference, 1):
        before, row[0] = row[0], i
        for j, heard in enumerate(hypothesis, 1):
            least = min(before + (said != heard), row[j] + 1, row[j - 1] + 1)
            before, row[j] = row[j], least
    return row[-1]


def split_corpus(corpus):
    references, *columns = map(list, zip(*corpus, strict=True))
    assume(any(references))
    return references, *columns


def two_systems():
    """Seven speakers of unequal skill and length; b is better on most, worse on some."""
    references, a, b, names = [], [], [], []
    for n in range(7):
        for m in range(n % 3 + 1):
            said = list("abcdefgh")[: 4 + n % 4]
            references.append(" ".join(said))
            a.append(" ".join(["x"] * (n % 4) + said[n % 4 :]))
            b.append(" ".join(["x"] * (2 * (n == 4) + m) + said[2 * (n == 4) + m :]))
            names.append(f"speaker {n}")
    return references, a, b, names
