"""What the network learns from: the CTC loss, and two ways to learn more from the same sound.

InterCTC (Lee and Watanabe 2021) asks the layer in the middle for the text as well. CR-CTC (Yao et
al. 2024) shows the network two masked views of each utterance and lets each learn from the other.
"""

import torch
from jaxtyping import Float32, Int64
from torch import Tensor, nn

from asrlib.features import valid_mask
from asrlib.text import BLANK


def ctc_losses(
    log_probs: Float32[Tensor, "batch frames vocab"],
    lengths: Int64[Tensor, " batch"],
    targets: Int64[Tensor, "batch labels"],
    target_lengths: Int64[Tensor, " batch"],
) -> Float32[Tensor, " batch"]:
    """Negative log-likelihood of each text, in float32; 0 where an utterance has no path.

    The same numbers as `asrlib.ctc.ctc_loss` (a test holds them equal), by torch's fused kernel:
    ours takes some calls a frame, which is nothing to a CPU and a lot to a GPU.

    Args:
        log_probs: of the network.
        lengths: real output frames.
        targets: ids, padded.
        target_lengths: real labels.

    Returns:
        Nats, one number an utterance.

    Example:
        >>> log_probs, one = torch.zeros(1, 1, 2).log_softmax(-1), torch.tensor([1])
        >>> ctc_losses(log_probs, one, torch.tensor([[1]]), one)
        tensor([0.6931])
    """
    return nn.functional.ctc_loss(
        log_probs.float().transpose(0, 1),  # -> (frames, batch, vocab)
        targets.to(log_probs.device),
        lengths,
        target_lengths,
        blank=BLANK,
        reduction="none",
        zero_infinity=True,
    )


def objective(
    outputs: tuple[Tensor, ...],
    targets: Int64[Tensor, "batch labels"],
    target_lengths: Int64[Tensor, " batch"],
    *,
    inter_ctc: float = 0.0,
    consistency: float = 0.0,
) -> Float32[Tensor, " batch"]:
    """Put together the loss of a batch from what the network said.

    Args:
        outputs: of the network: log_probs (views * batch, frames, vocab), lengths and, for
            InterCTC, log_probs halfway. With CR-CTC there are two views: first the first view of
            all utterances, then the second one.
        targets: ids, padded.
        target_lengths: real labels.
        inter_ctc: weight of the loss halfway.
        consistency: weight of the disagreement of the views.

    Returns:
        Nats, one number an utterance, the mean over the views.

    Raises:
        ValueError: a view or the output halfway is missing.

    Example:
        >>> log_probs, one = torch.zeros(2, 1, 2).log_softmax(-1), torch.tensor([1, 1])
        >>> objective((log_probs, one), torch.tensor([[1]]), one[:1], consistency=0.2)
        tensor([0.6931])
    """
    log_probs, lengths = outputs[:2]
    views = len(log_probs) // len(targets)
    if len(log_probs) != views * len(targets) or (consistency and views != 2):
        raise ValueError(f"{len(log_probs)} rows of {len(targets)} texts; CR-CTC wants two of each")
    if inter_ctc and len(outputs) < 3:
        raise ValueError("inter_ctc wants the output halfway: model(..., halfway=True)")
    all_targets, all_lengths = targets.repeat(views, 1), target_lengths.repeat(views)
    losses = ctc_losses(log_probs, lengths, all_targets, all_lengths)
    if inter_ctc:
        halfway = ctc_losses(outputs[2], lengths, all_targets, all_lengths)
        losses = (1 - inter_ctc) * losses + inter_ctc * halfway
    if consistency:
        losses = losses + consistency * _disagreement(log_probs, lengths)
    return losses.unflatten(0, (views, -1)).mean(dim=0)  # (views * batch,) -> (batch,)


def _disagreement(log_probs: Tensor, lengths: Tensor) -> Tensor:
    """KL divergence of each view from the other one, which is held still; a sum over frames."""
    other = log_probs.detach().roll(len(log_probs) // 2, dims=0)  # the views change places
    divergence = (other.exp() * (other - log_probs)).sum(dim=-1)  # (views * batch, frames)
    real = valid_mask(lengths.to(log_probs.device), log_probs.shape[1])
    return torch.where(real, divergence, 0.0).sum(dim=1)
