"""asrlib.objective: the CTC loss is the derived one, and the two additions are their formulas."""

import pytest
import torch
from torch import nn

from asrlib.ctc import ctc_loss
from asrlib.model import ModelConfig, SpeechRecognitionModel
from asrlib.objective import ctc_losses, objective

LENGTHS, LABELS = torch.tensor([30, 21]), torch.tensor([7, 4])


def case(views=1):
    """Log-probabilities of two utterances, once or twice, and their texts."""
    logits = torch.randn(2 * views, 30, 29, requires_grad=True)
    return logits, LENGTHS.repeat(views), torch.randint(1, 29, (2, 7))


def test_a_text_without_a_path_gives_zero_loss_and_zero_gradient():
    logits = torch.randn(2, 6, 29, requires_grad=True)
    targets = torch.tensor([[3, 3, 3, 3], [5, 6, 0, 0]])  # "aaaa" needs 7 frames, there are 6
    arguments = torch.tensor([6, 6]), targets, torch.tensor([4, 2])
    losses = ctc_losses(logits.log_softmax(-1), *arguments)
    losses.sum().backward()
    assert losses[0] == 0 and losses[1] > 0
    assert torch.equal(logits.grad[0], torch.zeros(6, 29))
    alone = logits[1:].detach().requires_grad_()
    one = torch.tensor([6]), torch.tensor([[5, 6]]), torch.tensor([2])
    ctc_losses(alone.log_softmax(-1), *one).sum().backward()
    assert torch.allclose(logits.grad[1:], alone.grad) and alone.grad.abs().max() > 0


def test_the_loss_is_the_one_that_asrlib_ctc_derives():
    torch.manual_seed(0)
    ours = torch.randn(3, 40, 29, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    lengths, labels = torch.tensor([40, 25, 12]), torch.tensor([12, 0, 9])
    targets = torch.randint(1, 29, (3, 12))
    losses = ctc_losses(theirs.log_softmax(-1), lengths, targets, labels)
    derived = ctc_loss(ours.log_softmax(-1).transpose(0, 1), targets, lengths, labels)
    torch.testing.assert_close(losses, derived)
    losses.sum().backward()
    derived.sum().backward()
    torch.testing.assert_close(theirs.grad, ours.grad, rtol=1e-4, atol=1e-4)


def test_a_missing_view_or_output_is_said():
    logits, lengths, targets = case()
    with pytest.raises(ValueError, match="2 rows of 2 texts"):
        objective((logits.log_softmax(-1), lengths), targets, LABELS, consistency=0.2)
    with pytest.raises(ValueError, match="halfway=True"):
        objective((logits.log_softmax(-1), lengths), targets, LABELS, inter_ctc=0.3)


def test_without_additions_it_is_the_ctc_loss():
    logits, lengths, targets = case()
    log_probs = logits.log_softmax(-1)
    ours = objective((log_probs, lengths), targets, LABELS)
    assert torch.equal(ours, ctc_losses(log_probs, lengths, targets, LABELS))


def test_inter_ctc_is_a_weighted_mean_of_two_losses():
    logits, lengths, targets = case()
    last, halfway = logits.log_softmax(-1), (2 * logits).log_softmax(-1)
    both = objective((last, lengths, halfway), targets, LABELS, inter_ctc=0.3)
    parts = [ctc_losses(x, lengths, targets, LABELS) for x in (last, halfway)]
    torch.testing.assert_close(both, 0.7 * parts[0] + 0.3 * parts[1])


def test_views_that_agree_cost_nothing_more():
    logits, _, targets = case()
    log_probs = logits.log_softmax(-1).repeat(2, 1, 1)
    ours = objective((log_probs, LENGTHS.repeat(2)), targets, LABELS, consistency=0.2)
    torch.testing.assert_close(ours, ctc_losses(log_probs[:2], LENGTHS, targets, LABELS))


def test_consistency_is_the_divergence_of_each_view_from_the_other():
    logits, lengths, targets = case(views=2)
    log_probs = logits.log_softmax(-1)
    ours = objective((log_probs, lengths), targets, LABELS, consistency=0.2)
    for n, frames in enumerate(LENGTHS):
        first, second = log_probs[n, :frames], log_probs[2 + n, :frames]
        options = {"reduction": "sum", "log_target": True}
        kl = nn.functional.kl_div(first, second, **options)
        kl = kl + nn.functional.kl_div(second, first, **options)
        one = slice(n, n + 1)
        ctc = [
            ctc_losses(x[None], LENGTHS[one], targets[one], LABELS[one])[0] for x in (first, second)
        ]
        assert ours[n].item() == pytest.approx((sum(ctc) + 0.2 * kl).item() / 2, rel=1e-5)


def test_a_view_learns_from_the_other_which_is_held_still():
    logits, lengths, _ = case(views=2)
    nothing = torch.zeros(2, 0, dtype=torch.long), torch.zeros(2, dtype=torch.long)
    grads = []
    for consistency in (0.0, 1.0):
        losses = objective((logits.log_softmax(-1), lengths), *nothing, consistency=consistency)
        grads.append(torch.autograd.grad(losses.sum(), logits)[0])
    # d KL(sg(q) || p) / d logits of p = p - q, so what the agreement adds is half of that.
    p = logits.detach().softmax(-1)
    for n, frames in enumerate(lengths):
        expected = (p[n] - p[(n + 2) % 4])[:frames] / 2
        torch.testing.assert_close((grads[1] - grads[0])[n, :frames], expected)
        assert (grads[1] - grads[0])[n, frames:].abs().sum() == 0  # padding teaches nothing


def test_the_layer_halfway_is_heard_by_the_same_classifier():
    model = SpeechRecognitionModel(ModelConfig.preset("tiny", rnn_layers=3)).eval()
    features, lengths = torch.randn(2, 1, 80, 61), torch.tensor([61, 40])
    seen = []
    model.rnn[0].register_forward_hook(lambda module, inputs, output: seen.append(output))
    log_probs, lengths_out, halfway = model(features, lengths, halfway=True)
    plain, _ = model(features, lengths)
    assert torch.equal(log_probs, plain)
    assert torch.equal(halfway, model.classifier(seen[0]).log_softmax(-1))
    assert halfway.shape == log_probs.shape and not torch.equal(halfway, log_probs)


def test_one_layer_has_no_halfway():
    model = SpeechRecognitionModel(ModelConfig.preset("tiny"))
    with pytest.raises(ValueError, match="rnn_layers=1 has no layer halfway"):
        model(torch.randn(1, 1, 80, 9), torch.tensor([9]), halfway=True)
