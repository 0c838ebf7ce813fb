"""Connectionist temporal classification: the sum over all alignments of a text, in the open.

A network emits one distribution over symbols a frame; CTC says how probable a text is, whatever
the alignment. A path is one symbol a frame; it spells a text once repeats are merged and blanks
dropped. A text of n labels has 2n+1 states, a blank around every label; a path walks them upward:

    state   0  1  2  3  4        stay, step to the next state, or skip a blank
    label   -  c  -  a  -        between two labels that differ

Everything works in natural logarithms, on batches, on any device. Slow and obvious: enumeration.
Fast: `forward`, `backward` (the forward pass of the mirrored utterance) and `ctc_loss`, whose
gradient is the posterior that the two give together. Best path instead of the sum: `forced_align`.

Source: Graves et al. 2006, "Connectionist Temporal Classification", sections 3 and 4.
"""

import itertools
import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from asrlib.text import BLANK

NEVER = -math.inf  # the log of probability zero
MOST_PATHS = 10_000_000  # enumeration stops here: about a minute


def required_frames(targets: Int[Tensor, " labels"]) -> int:
    """Count the output frames that the shortest CTC path of a text needs.

    One frame a label, and one blank between two equal neighbors: without it "ll" would collapse
    to "l" (Graves et al. 2006, section 3.1).

    Args:
        targets: ids of one utterance, without blanks; may be empty.

    Returns:
        The least number of frames with a path.

    Example:
        >>> from asrlib.text import Tokenizer
        >>> required_frames(Tokenizer().encode("hello"))
        6
    """
    targets = torch.as_tensor(targets)
    return len(targets) + int((targets[1:] == targets[:-1]).sum())


def enumerate_alignments(
    targets: Int[Tensor, " labels"], frames: int, blank: int = BLANK
) -> Int[Tensor, "paths frames"]:
    """List every path that spells a text, by trying all of them: the definition, and the oracle.

    Args:
        targets: ids of one utterance, without blanks; may be empty.
        frames: length of the paths.
        blank: id of the blank.

    Returns:
        One path a row; no row if the frames are too few.

    Raises:
        ValueError: more than 10 million paths would have to be tried.

    Example:
        >>> enumerate_alignments(torch.tensor([3]), frames=2)
        tensor([[0, 3],
                [3, 0],
                [3, 3]])
    """
    labels = torch.as_tensor(targets).tolist()
    symbols = sorted({blank, *labels})
    if len(symbols) ** frames > MOST_PATHS:
        raise ValueError(
            f"{len(symbols)} symbols on {frames} frames make {len(symbols) ** frames:.1g} paths; at"
            f" most {MOST_PATHS:,} are tried (forward counts them all at once)"
        )

    def spells(path: tuple[int, ...]) -> bool:
        return [symbol for symbol, _ in itertools.groupby(path) if symbol != blank] == labels

    paths = [path for path in itertools.product(symbols, repeat=frames) if spells(path)]
    return torch.tensor(paths, dtype=torch.long).reshape(len(paths), frames)


def forward(
    log_probs: Float[Tensor, "frames batch vocab"],
    targets: Int[Tensor, "batch labels"],
    input_lengths: Int[Tensor, " batch"],
    target_lengths: Int[Tensor, " batch"],
    blank: int = BLANK,
) -> Float[Tensor, "frames batch states"]:
    """Compute alpha: the log-probability of all beginnings of paths (Graves et al., eq. 6 to 8).

    Args:
        log_probs: natural log of the network's output; rows past `input_lengths` are ignored.
        targets: ids, padded with anything.
        input_lengths: real frames of each utterance.
        target_lengths: labels of each utterance.
        blank: id of the blank.

    Returns:
        alpha[t, b, s]: all ways to spend frames 0..t and stand in state s at frame t. What lies
        past an utterance's frames or states (2 x its labels + 1) means nothing.

    Raises:
        ValueError: shapes or lengths disagree, a target id is outside the vocabulary or the blank,
            or a real frame holds NaN.

    Example:
        >>> flat = torch.full((2, 1, 3), 1 / 3).log()
        >>> alpha = forward(flat, torch.tensor([[2]]), torch.tensor([2]), torch.tensor([1]))
        >>> (9 * alpha[1, 0].exp()).round().tolist()       # --; -2, 22; 2-
        [1.0, 2.0, 1.0]
    """
    trellis = _trellis(log_probs, targets, input_lengths, target_lengths, blank)
    return _arrivals(trellis.labels, trellis.emissions) + trellis.emissions


def backward(
    log_probs: Float[Tensor, "frames batch vocab"],
    targets: Int[Tensor, "batch labels"],
    input_lengths: Int[Tensor, " batch"],
    target_lengths: Int[Tensor, " batch"],
    blank: int = BLANK,
) -> Float[Tensor, "frames batch states"]:
    """Compute beta: the log-probability of all ends of paths (Graves et al., eq. 9 to 11).

    The frame t itself is counted in alpha, not here, so for every t the sum over s of
    exp(alpha + beta) is the same: the probability of the text.

    Args:
        log_probs: natural log of the network's output; rows past `input_lengths` are ignored.
        targets: ids, padded with anything.
        input_lengths: real frames of each utterance.
        target_lengths: labels of each utterance.
        blank: id of the blank.

    Returns:
        beta[t, b, s]: all ways to spend frames t+1 to the end from state s; log 0 past an
        utterance's frames or states.

    Raises:
        ValueError: as `forward`.

    Example:
        >>> flat = torch.full((2, 1, 3), 1 / 3).log()
        >>> beta = backward(flat, torch.tensor([[2]]), torch.tensor([2]), torch.tensor([1]))
        >>> (3 * beta[0, 0].exp()).round().tolist()        # -2; 2-, 22; --
        [1.0, 2.0, 1.0]
    """
    trellis = _trellis(log_probs, targets, input_lengths, target_lengths, blank)
    mirrored = _mirrored(trellis)
    return _mirror(trellis, _arrivals(mirrored.labels, mirrored.emissions))


def ctc_loss(
    log_probs: Float[Tensor, "frames batch vocab"],
    targets: Int[Tensor, "batch labels"],
    input_lengths: Int[Tensor, " batch"],
    target_lengths: Int[Tensor, " batch"],
    blank: int = BLANK,
) -> Float[Tensor, " batch"]:
    """Negative log-probability of each text, summed over all its alignments.

    The gradient at `log_probs` is minus the posterior: how probable it is that the text, were it
    said, is at this symbol in this frame. Behind a log_softmax that becomes the network's
    distribution minus the posterior (Graves et al. 2006, eq. 16).

    Args:
        log_probs: natural log of the network's output, in the dtype to compute in.
        targets: ids, padded with anything.
        input_lengths: real frames of each utterance.
        target_lengths: labels of each utterance; 0 is legal.
        blank: id of the blank.

    Returns:
        One loss an utterance, in nats; `inf`, with a gradient of zero, where the frames are too few
        for the text.

    Raises:
        ValueError: as `forward`.

    Example:
        >>> flat = torch.full((2, 1, 3), 1 / 3).log()      # 3 of the 9 paths spell it: -2 2- 22
        >>> loss = ctc_loss(flat, torch.tensor([[2]]), torch.tensor([2]), torch.tensor([1]))
        >>> (-loss).exp()
        tensor([0.3333])
    """
    return _CTCLoss.apply(log_probs, targets, input_lengths, target_lengths, blank)


@dataclass(frozen=True)
class TokenSpan:
    """Where a path stands on one label.

    Attributes:
        token: its id.
        start_frame: first output frame on it.
        end_frame: first output frame after it.
        score: natural log of its probability, mean over those frames.
    """

    token: int
    start_frame: int
    end_frame: int
    score: float


def forced_align(
    log_probs: Float[Tensor, "frames vocab"], targets: Int[Tensor, " labels"], blank: int = BLANK
) -> list[TokenSpan]:
    """Find the most probable single path of a known text: when was each label said? (Viterbi)

    CTC learns to spell, not to keep time: a network often writes a letter in one frame, late in its
    sound, and blanks around it.

    Args:
        log_probs: natural log of the network's output for one utterance.
        targets: ids of the text, without blanks; may be empty.
        blank: id of the blank.

    Returns:
        One span a label. Of several paths that are equally probable it is one of the best.

    Raises:
        ValueError: too few frames (says how many are needed), no path of a probability above 0,
            NaN, or a target that is blank or outside the vocabulary.

    Example:
        >>> path = torch.tensor([0, 10, 10, 0, 11, 0])                    # - h h - i -
        >>> log_probs = torch.nn.functional.one_hot(path, 29).float().log_softmax(-1)
        >>> spans = forced_align(log_probs, torch.tensor([10, 11]))       # "hi"
        >>> [(span.token, span.start_frame, span.end_frame) for span in spans]
        [(10, 1, 3), (11, 4, 5)]
    """
    log_probs, targets = log_probs.detach().cpu(), torch.as_tensor(targets).cpu().long()
    frames, needed = len(log_probs), required_frames(targets)
    if frames < needed:
        raise ValueError(
            f"{len(targets)} labels need {needed} output frames, there are {frames}: too short a"
            " sound for this text"
        )
    lengths = torch.tensor([frames]), torch.tensor([len(targets)])
    trellis = _trellis(log_probs[:, None], targets[None], *lengths, blank)
    if not frames:
        return []
    emissions, no_skip = trellis.emissions[:, 0], _no_skip(trellis.labels)[0]
    width = emissions.shape[1]
    score = emissions.new_full((width + 2,), NEVER)  # two states that are never reached below
    came_from = torch.zeros(frames, width, dtype=torch.long)  # 0 stay, 1 step, 2 skip
    score[2:4] = emissions[:1, :2].flatten()
    for t in range(1, frames):
        ways = torch.stack([score[2:], score[1:-1], score[:-2] + no_skip])  # (3, states)
        best, came_from[t] = ways.max(dim=0)
        score[2:] = best + emissions[t]
    state = width - 1 if width == 1 or score[-1] >= score[-2] else width - 2
    if score[state + 2] == NEVER:
        raise ValueError("every path of this text has probability 0")
    path = [state]
    for t in range(frames - 1, 0, -1):
        path.append(path[-1] - int(came_from[t, path[-1]]))
    path.reverse()
    spans, labels = [], trellis.labels[0].tolist()
    for state, run in itertools.groupby(range(frames), key=lambda t: path[t]):
        if state % 2:  # odd states are labels; equal neighbors are different states
            run = list(run)
            mean = float(emissions[run, state].mean())
            spans.append(TokenSpan(labels[state], run[0], run[-1] + 1, mean))
    return spans


class _CTCLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, log_probs, targets, input_lengths, target_lengths, blank):
        trellis = _trellis(log_probs.detach(), targets, input_lengths, target_lengths, blank)
        if not ctx.needs_input_grad[0]:  # the loss alone needs one direction
            alpha = _arrivals(trellis.labels, trellis.emissions) + trellis.emissions
            return -_total(trellis, alpha)
        # Both directions in one loop: its cost lies in the number of calls, not in their size.
        mirrored = _mirrored(trellis)
        labels = torch.cat([trellis.labels, mirrored.labels])
        emissions = torch.cat([trellis.emissions, mirrored.emissions], dim=1)
        arrivals, departures = _arrivals(labels, emissions).chunk(2, dim=1)
        alpha, beta = arrivals + trellis.emissions, _mirror(trellis, departures)
        total = _total(trellis, alpha)
        at_state = (alpha + beta - total[:, None]).exp()  # (frames, batch, states)
        possible = (total > NEVER)[:, None]
        at_state = at_state.masked_fill(~(trellis.real & possible), 0)
        posterior = torch.zeros_like(log_probs)  # (frames, batch, vocab)
        posterior.scatter_add_(2, trellis.labels.expand_as(at_state), at_state)
        ctx.save_for_backward(posterior)
        return -total

    @staticmethod
    def backward(ctx, gradient):
        (posterior,) = ctx.saved_tensors
        return -posterior * gradient[:, None], None, None, None, None


@dataclass(frozen=True)
class _Trellis:
    """The states of a batch of texts, and what each frame says of each state."""

    labels: Tensor  # (batch, states): blank, label, blank, ..., blank; blanks behind the last
    emissions: Tensor  # (frames, batch, states): log-probability of the state's label
    frames: Tensor  # (batch,): real frames
    states: Tensor  # (batch,): real states
    real: Tensor  # (frames, batch, states): neither padding in time nor in states


def _trellis(log_probs, targets, input_lengths, target_lengths, blank: int) -> _Trellis:
    device = log_probs.device
    targets, input_lengths, target_lengths = (
        torch.as_tensor(x, device=device).long() for x in (targets, input_lengths, target_lengths)
    )
    _check(log_probs, targets, input_lengths, target_lengths, blank)
    frames, batch = log_probs.shape[:2]
    states = 2 * target_lengths + 1
    width = int(states.max()) if batch else 1
    inside = torch.arange(width, device=device) < states[:, None]  # (batch, states)
    labels = torch.full((batch, width), blank, device=device)
    labels[:, 1::2] = targets[:, : width // 2]
    labels = labels.masked_fill(~inside, blank)
    emissions = log_probs.gather(2, labels.expand(frames, batch, width))
    in_time = torch.arange(frames, device=device)[:, None] < input_lengths  # (frames, batch)
    return _Trellis(labels, emissions, input_lengths, states, in_time[:, :, None] & inside)


def _no_skip(labels: Tensor) -> Tensor:
    """0 where the state before may be skipped, log 0 where it must not: (batch, states).

    That is a blank between two labels that differ. Where the state is a blank itself, so is the
    one two before it, and they do not differ.
    """
    differs = torch.nn.functional.pad(labels[:, 2:] != labels[:, :-2], (2, 0))[
        :, -labels.shape[1] :
    ]
    return torch.zeros(labels.shape, device=labels.device).masked_fill(~differs, NEVER)


def _arrivals(labels: Tensor, emissions: Tensor) -> Tensor:
    """All ways into each state at each frame, the frame itself not yet counted."""
    frames, batch, width = emissions.shape
    no_skip = _no_skip(labels).to(emissions)
    arrivals = torch.full_like(emissions, NEVER)
    arrivals[:1, :, :2] = 0.0  # a path begins on the first blank or on the first label
    before = emissions.new_full((batch, width + 2), NEVER)  # two states below the first
    stay, step, skip = before[:, 2:], before[:, 1:-1], before[:, :-2]
    for t in range(1, frames):
        torch.add(arrivals[t - 1], emissions[t - 1], out=stay)
        torch.logaddexp(torch.logaddexp(stay, step), skip + no_skip, out=arrivals[t])
    return arrivals


def _total(trellis: _Trellis, alpha: Tensor) -> Tensor:
    """Log-probability of each text: its last label and its last blank, in its last frame."""
    alpha = torch.nn.functional.pad(alpha, (1, 0, 0, 0, 1, 0), value=NEVER)  # room for no frame
    rows = torch.arange(alpha.shape[1], device=alpha.device)
    last = alpha[trellis.frames, rows]  # (batch, 1 + states)
    total = torch.logaddexp(last[rows, trellis.states], last[rows, trellis.states - 1])
    # No frame at all spells the empty text with certainty, and nothing else.
    return total.masked_fill((trellis.frames == 0) & (trellis.states == 1), 0.0)


def _mirror(trellis: _Trellis, values: Tensor) -> Tensor:
    """Turn (frames, batch, states) around in time and in states, each utterance in its place."""
    frames, _, width = values.shape
    t = trellis.frames - 1 - torch.arange(frames, device=values.device)[:, None]
    s = trellis.states[:, None] - 1 - torch.arange(width, device=values.device)
    values = values.gather(0, t.clamp(min=0)[:, :, None].expand_as(values))
    values = values.gather(2, s.clamp(min=0).expand_as(values))
    return values.masked_fill(~trellis.real, NEVER)


def _mirrored(trellis: _Trellis) -> _Trellis:
    """The same texts read from the end: their forward pass is our backward pass."""
    width = trellis.labels.shape[1]
    s = trellis.states[:, None] - 1 - torch.arange(width, device=trellis.labels.device)
    labels = trellis.labels.gather(1, s.clamp(min=0))
    return replace(trellis, labels=labels, emissions=_mirror(trellis, trellis.emissions))


def _check(log_probs, targets, input_lengths, target_lengths, blank: int) -> None:
    if log_probs.dim() != 3 or targets.dim() != 2:
        raise ValueError(
            f"need log_probs (frames, batch, vocab) and targets (batch, labels); got"
            f" {tuple(log_probs.shape)} and {tuple(targets.shape)}"
        )
    frames, batch, vocab = log_probs.shape
    for name, lengths, most in (
        ("input_lengths", input_lengths, frames),
        ("target_lengths", target_lengths, targets.shape[1]),
    ):
        if lengths.shape != (batch,) or len(targets) != batch:
            raise ValueError(
                f"log_probs hold {batch} utterances, targets {len(targets)}, {name}"
                f" {tuple(lengths.shape)}"
            )
        if batch and not 0 <= int(lengths.min()) <= int(lengths.max()) <= most:
            raise ValueError(f"{name} {lengths.tolist()} must lie in 0..{most}")
    labels = torch.arange(targets.shape[1], device=targets.device) < target_lengths[:, None]
    used = targets[labels]
    wrong = used[(used < 0) | (used >= vocab) | (used == blank)]
    if len(wrong) or not 0 <= blank < vocab:
        what = f"target {int(wrong[0])} is not a label" if len(wrong) else f"blank is {blank}"
        raise ValueError(f"{what}: ids are 0 to {vocab - 1}, and {blank} is the blank")
    in_time = torch.arange(frames, device=log_probs.device)[:, None] < input_lengths
    bad = (log_probs.isnan().any(dim=2) & in_time).any(dim=0).nonzero()
    if len(bad):
        raise ValueError(f"utterance {int(bad[0])}: NaN among the log-probabilities")
