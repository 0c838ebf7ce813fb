"""From log-probabilities to text: the greedy search (beam search joins it later)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from asrlib.text import BLANK, Tokenizer


@dataclass(frozen=True)
class Hypothesis:
    """A transcript that a search proposes.

    Attributes:
        text: exactly `Tokenizer().decode(tokens)`, nothing stripped.
        tokens: ids without blanks.
        score: natural log; of the best path for greedy search.
        timesteps: the output frame on which each token first appears.
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
    if log_probs.dim() != 3 or len(lengths) != len(log_probs):
        raise ValueError(f"log_probs {tuple(log_probs.shape)} and {len(lengths)} lengths disagree")
    frames = log_probs.shape[1]
    if not all(0 <= length <= frames for length in lengths.tolist()):
        raise ValueError(f"lengths {lengths.tolist()} must lie in 0..{frames}, the frames given")
    tokenizer = tokenizer or Tokenizer()
    scores, paths = (x.detach().cpu() for x in log_probs.max(dim=-1))  # (batch, frames) each
    before = torch.nn.functional.pad(paths, (1, 0), value=BLANK)[:, :-1]
    appears = (paths != before) & (paths != BLANK)
    hypotheses = []
    for path, score, first, length in zip(paths, scores, appears, lengths.tolist()):
        total = float(score[:length].sum())
        if total != total:
            raise ValueError(f"utterance {len(hypotheses)}: NaN among the log-probabilities")
        timesteps = first[:length].nonzero()[:, 0]
        tokens = path[timesteps].tolist()
        hypotheses.append(Hypothesis(tokenizer.decode(tokens), tokens, total, timesteps.tolist()))
    return hypotheses
