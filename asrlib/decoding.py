"""From log-probabilities to text: greedy search and prefix beam search.

Many paths spell one text. Greedy search takes the best path; a prefix beam search adds up all the
paths of a text as far as its beam of prefixes reaches (Graves 2012; Hannun et al. 2014). It is here
twice: `prefix_beam_search` is short enough to read in one go; `beam_search` does the same on
arrays, many times as fast, and lets a language model take part.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from asrlib.fusion import Fusion
from asrlib.language_model import NGramModel
from asrlib.text import BLANK, Tokenizer


@dataclass(frozen=True)
class Hypothesis:
    """A transcript that a search proposes.

    Attributes:
        text: exactly `Tokenizer().decode(tokens)`, nothing stripped.
        tokens: ids without blanks.
        score: natural log; of the best path for greedy search, of the text (all its paths that the
            beam held, and the language model's share) for beam search.
        timesteps: the output frame on which each token first appears: on the best path for greedy
            search, where most of the text's probability has it for beam search.
    """

    text: str
    tokens: list[int]
    score: float
    timesteps: list[int]


def greedy_search(
    log_probs: Float[Tensor, "batch frames vocab"],
    lengths: Int[Tensor, " batch"],
    tokenizer: Tokenizer | None = None,
) -> list[Hypothesis]:
    """Take the likeliest symbol of each frame, merge repeats, drop blanks.

    The likeliest path need not spell the likeliest text, since many paths spell one text; it is
    fast and, for a confident network, nearly always right (Graves et al. 2006, section 3.2).

    Args:
        log_probs: natural log; rows past `lengths` are ignored.
        lengths: real frames of each utterance.
        tokenizer: turns ids into text; characters if not given.

    Returns:
        One hypothesis an utterance.

    Raises:
        ValueError: the shapes disagree, a length is outside 0..frames, or a real frame holds NaN.

    Example:
        >>> paths = torch.tensor([[0, 5, 5, 3, 0, 22]])              # - c c a - t
        >>> log_probs = torch.nn.functional.one_hot(paths, 29).float().log_softmax(-1)
        >>> greedy_search(log_probs, torch.tensor([6]))[0].text
        'cat'
    """
    _check(log_probs, lengths)
    tokenizer = tokenizer or Tokenizer()
    scores, paths = (x.detach().cpu() for x in log_probs.max(dim=-1))  # (batch, frames) each
    before = torch.nn.functional.pad(paths, (1, 0), value=BLANK)[:, :-1]
    appears = (paths != before) & (paths != BLANK)
    hypotheses = []
    for path, score, first, length in zip(paths, scores, appears, lengths.tolist()):
        total = float(score[:length].sum())
        timesteps = first[:length].nonzero()[:, 0]
        tokens = path[timesteps].tolist()
        hypotheses.append(Hypothesis(tokenizer.decode(tokens), tokens, total, timesteps.tolist()))
    return hypotheses


def prefix_beam_search(
    log_probs: Float[Tensor, "frames vocab"], beam_size: int = 16
) -> list[tuple[list[int], float]]:
    """Search the likeliest texts of one utterance, written to be read.

    A prefix keeps two sums of path probabilities: of the paths that end in a blank, and of those
    that end in its last letter. Only from the first can the same letter come once more.

    Args:
        log_probs: natural log.
        beam_size: how many prefixes survive a frame.

    Returns:
        (tokens, log prefix probability), best first.

    Example:
        >>> both = torch.tensor([[0.6, 0.4], [0.6, 0.4]]).log()   # best path: -- with 0.36, but
        >>> [(tokens, round(math.exp(score), 2)) for tokens, score in prefix_beam_search(both)]
        [([1], 0.64), ([], 0.36)]
    """
    beam = {(): (0.0, -math.inf)}
    for row in log_probs.double().tolist():
        grown: dict[tuple[int, ...], tuple[float, float]] = {}

        def add(prefix: tuple[int, ...], to_blank: float, to_label: float) -> None:
            blank, label = grown.get(prefix, (-math.inf, -math.inf))  # noqa: B023
            grown[prefix] = _log_add(blank, to_blank), _log_add(label, to_label)  # noqa: B023

        for prefix, (blank, label) in beam.items():
            either = _log_add(blank, label)
            add(prefix, either + row[BLANK], -math.inf)
            for token, score in enumerate(row):
                if token == BLANK:
                    continue
                if prefix and token == prefix[-1]:
                    add(prefix, -math.inf, label + score)  # one letter, held for a frame
                    add((*prefix, token), -math.inf, blank + score)  # a second one
                else:
                    add((*prefix, token), -math.inf, either + score)
        ranked = sorted(grown.items(), key=lambda item: _log_add(*item[1]), reverse=True)
        beam = dict(ranked[:beam_size])
    scored = [(list(prefix), _log_add(*both)) for prefix, both in beam.items()]
    return [(tokens, score) for tokens, score in scored if score > -math.inf]


def beam_search(
    log_probs: Float[Tensor, "batch frames vocab"],
    lengths: Int[Tensor, " batch"],
    beam_size: int = 16,
    language_model: NGramModel | Fusion | None = None,
    alpha: float = 0.5,
    beta: float = 1.0,
    *,
    hot_words: Mapping[str, float] | None = None,
    tokenizer: Tokenizer | None = None,
) -> list[list[Hypothesis]]:
    """Search the likeliest texts, with a language model if there is one.

    Nothing is pruned but the beam. It works on the CPU, in numpy, one utterance at a time.

    Args:
        log_probs: natural log; rows past `lengths` are ignored.
        lengths: real frames of each utterance.
        beam_size: how many prefixes survive a frame, and how many texts come back at most.
        language_model: of words or characters; or a `Fusion`, which has its own weights.
        alpha: weight of the language model's natural log.
        beta: added a word (a character, with a character model), for every one costs probability.
        hot_words: words to listen for, each with what is added to a score for it; needs a model.
        tokenizer: turns ids into text; characters if not given.

    Returns:
        For each utterance its hypotheses, best first. Without a language model the score is the log
        prefix probability: what a text's paths inside the beam add up to.

    Raises:
        ValueError: shapes disagree, a length is outside 0..frames, a real frame holds NaN or no
            symbol of a probability above 0, beam_size is below 1, or hot words lack a model.

    Example:
        >>> both = torch.tensor([[[0.6, 0.4], [0.6, 0.4]]]).log()
        >>> best = beam_search(both, torch.tensor([2]), tokenizer=Tokenizer("a"))[0][0]
        >>> best.text, round(math.exp(best.score), 2)
        ('a', 0.64)
    """
    _check(log_probs, lengths)
    if beam_size < 1:
        raise ValueError(f"beam_size {beam_size}: at least 1 prefix has to survive")
    tokenizer = tokenizer or Tokenizer()
    fusion = language_model
    if isinstance(language_model, NGramModel):
        fusion = Fusion(language_model, alpha, beta, hot_words=hot_words, tokenizer=tokenizer)
    elif hot_words:
        raise ValueError("hot words take part through a language model: give one (or a Fusion)")
    emissions = log_probs.detach().cpu().double().numpy()
    results = []
    for n, length in enumerate(lengths.tolist()):
        rows = emissions[n, :length]
        impossible = (rows.max(axis=1, initial=-math.inf) == -math.inf).nonzero()[0]
        if len(impossible):
            raise ValueError(f"utterance {n}, frame {impossible[0]}: no symbol is possible")
        search = _BeamSearch(rows.shape[1], length, beam_size, fusion)
        for t, row in enumerate(rows):
            search.advance(row, t)
        results.append(
            [
                Hypothesis(tokenizer.decode(tokens), tokens, score, timesteps)
                for tokens, score, timesteps in search.results()
            ]
        )
    return results


class _BeamSearch:
    """The beam as arrays with a slot a prefix; dead slots have log-probabilities of log 0.

    Prefixes are nodes of a tree that only grows, so a prefix that is dropped and found again is the
    same node. `blank` and `label` are the two sums of `prefix_beam_search`. `links` say for either
    where most of it had its letters: a chain of (token, frame, the link before). `rank` is what a
    language model has added, `extra` what it would add for each next symbol.
    """

    def __init__(self, vocab: int, frames: int, beam_size: int, fusion: Fusion | None) -> None:
        self.vocab, self.fusion = vocab, fusion
        self.slots = np.arange(beam_size)
        self.blank, self.label = np.full((2, beam_size), -np.inf)
        self.last = np.full(beam_size, BLANK)
        # A frame founds at most beam_size nodes, and as many links twice. np.zeros takes memory
        # only where it is written to. Node 0 is the empty prefix, nobody's child.
        most = 1 + frames * beam_size
        self.dead, nobody = most, most + 1
        self.children = np.zeros(most * vocab, dtype=np.int32)
        self.parent = np.full(most + 1, nobody)
        self.place = np.full(most + 2, -1)  # the slot of a node that is in the beam
        self.chain = np.zeros((3, 2 * most), dtype=np.int32)
        self.nodes = self.linked = 1
        self.node = np.full(beam_size, self.dead)
        self.links = np.zeros((2, beam_size), dtype=np.int64)  # of blank, of label
        self.blank[0], self.node[0] = 0.0, 0  # before the first frame: the empty prefix
        if fusion:
            self.rank = np.zeros(beam_size)
            self.states = np.repeat(fusion.start(), beam_size, axis=0)
            self.extra = fusion.extensions(self.states)

    def advance(self, row: np.ndarray, t: int) -> None:
        """Read one frame."""
        node, last = self.node, self.last
        either = np.logaddexp(self.blank, self.label)
        held = row[last]
        # Every prefix grows by every letter; the letter that it ends in needs a blank in between.
        grown = either[:, None] + row  # (prefixes, vocab)
        grown[self.slots, last] = self.blank + held
        grown[:, BLANK] = -np.inf
        # Or it stays as it is: one more blank, or its last letter for one more frame.
        blank, label = either + row[BLANK], self.label + held
        link_blank, link_label = self.links
        link_either = np.where(self.blank >= self.label, link_blank, link_label)
        links = np.stack([link_either, link_label])

        # What grows into a prefix that is in the beam is the same text: add it there.
        self.place[node] = self.slots
        above = self.place[self.parent[node]]
        self.place[node] = -1
        child = (above >= 0).nonzero()[0]
        if len(child):
            parent, token = above[child], last[child]
            joins = grown[parent, token]
            grown[parent, token] = -np.inf
            newer = joins > label[child]  # then most of it has its last letter from this frame
            label[child] = np.logaddexp(label[child], joins)
            if newer.any():
                parent, token = parent[newer], token[newer]
                before = np.where(token == last[parent], link_blank[parent], link_either[parent])
                links[1, child[newer]] = self._link(token, t, before)

        # The best of both survive; a newcomer takes the slot of a prefix that is dropped.
        rank, grown_rank = np.logaddexp(blank, label), grown
        if self.fusion:
            rank, grown_rank = rank + self.rank, grown + (self.rank[:, None] + self.extra)
        grown, grown_rank = grown.ravel(), grown_rank.ravel()
        candidates = (grown_rank > rank.min()).nonzero()[0]
        if len(candidates):
            everyone = np.concatenate([rank, grown_rank[candidates]])
            order = everyone.argpartition(len(candidates))  # the worst, then the beam_size best
            dropped, kept = order[: len(candidates)], order[len(candidates) :]
            slots = dropped[dropped < len(rank)]
            key = candidates[kept[kept >= len(rank)] - len(rank)]
            parent = key // self.vocab
            token = key - parent * self.vocab
            before = np.where(token == last[parent], link_blank[parent], link_either[parent])
            links[1, slots] = self._link(token, t, before)
            blank[slots], label[slots] = -np.inf, grown[key]
            if self.fusion:
                states = self.fusion.step(self.states[parent], token)
                self.rank[slots] = self.rank[parent] + self.extra[parent, token]
                self.states[slots], self.extra[slots] = states, self.fusion.extensions(states)
            self.node[slots] = self._found(node[parent] * self.vocab + token, node[parent])
            self.last[slots] = token
        self.blank, self.label, self.links = blank, label, links

    def results(self) -> list[tuple[list[int], float, list[int]]]:
        """The prefixes as texts: (tokens, score, timesteps), best first."""
        score = np.logaddexp(self.blank, self.label)
        alive = (score > -np.inf).nonzero()[0]
        if self.fusion:
            score = score + self.rank + self.fusion.finish(self.states)
        alive = alive[np.argsort(-score[alive], kind="stable")]
        link, chains = np.where(self.blank >= self.label, *self.links)[alive], []
        while link.any():
            chains.append(self.chain[:, link])
            link = chains[-1][2]
        found = []
        chains = np.array(chains[::-1]).reshape(-1, 3, len(alive))  # (letters, 3, prefixes)
        for n, slot in enumerate(alive):
            own = chains[chains[:, 0, n] != BLANK, :, n]  # shorter ones begin later
            found.append((own[:, 0].tolist(), float(score[slot]), own[:, 1].tolist()))
        return found

    def _link(self, token: np.ndarray, t: int, before: np.ndarray) -> np.ndarray:
        """Note that letters appear at frame t, behind those of the links before."""
        begin, self.linked = self.linked, self.linked + len(token)
        self.chain[:, begin : self.linked] = token, np.full(len(token), t), before
        return np.arange(begin, self.linked)

    def _found(self, key: np.ndarray, parent: np.ndarray) -> np.ndarray:
        """The nodes of prefixes that grew by a letter; those that are new are made."""
        nodes = self.children[key].astype(np.int64)
        new = (nodes == 0).nonzero()[0]
        begin, self.nodes = self.nodes, self.nodes + len(new)
        nodes[new] = self.children[key[new]] = np.arange(begin, self.nodes)
        self.parent[begin : self.nodes] = parent[new]
        return nodes


def _log_add(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    high, low = max(a, b), min(a, b)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


def _check(log_probs: Tensor, lengths: Tensor) -> None:
    if log_probs.dim() != 3 or len(lengths) != len(log_probs):
        raise ValueError(f"log_probs {tuple(log_probs.shape)} and {len(lengths)} lengths disagree")
    frames = log_probs.shape[1]
    if not all(0 <= length <= frames for length in lengths.tolist()):
        raise ValueError(f"lengths {lengths.tolist()} must lie in 0..{frames}, the frames given")
    in_time = torch.arange(frames, device=log_probs.device) < lengths.to(log_probs.device)[:, None]
    bad = (log_probs.isnan().any(dim=2) & in_time).any(dim=1).nonzero()
    if len(bad):
        raise ValueError(f"utterance {int(bad[0])}: NaN among the log-probabilities")
