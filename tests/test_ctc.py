"""CTC against its oracles: enumeration = forward = backward = torch, and Viterbi by brute force."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asrlib.ctc import (
    backward,
    ctc_loss,
    enumerate_alignments,
    forced_align,
    forward,
    required_frames,
)
from asrlib.text import Tokenizer

INF = float("inf")
CLOSE = {"rtol": 0, "atol": 1e-6}


@st.composite
def batches(draw, max_frames=7, max_labels=3):
    """Small utterances: repeats, empty texts, too few frames, padding of any content, any blank.

    Some emissions are drawn from three values only, so that many paths tie; some are log 0.
    """
    vocab = draw(st.integers(2, 4))
    blank = draw(st.integers(0, vocab - 1))
    labels = [symbol for symbol in range(vocab) if symbol != blank]
    texts = draw(
        st.lists(st.lists(st.sampled_from(labels), max_size=max_labels), min_size=1, max_size=3)
    )
    input_lengths = [draw(st.integers(0, max_frames)) for _ in texts]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    shape = max(input_lengths), len(texts), vocab
    kind = draw(st.sampled_from(["smooth", "tied", "with zeros"]))
    logits = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    if kind != "smooth":
        logits = torch.randint(0, 3, shape, generator=generator).double()
    if kind == "with zeros":
        logits[(logits == 0) & (torch.arange(vocab) != blank)] = -INF
    width = max(map(len, texts))
    targets = torch.randint(-5, 99, (len(texts), width), generator=generator)  # padding: anything
    for row, text in zip(targets, texts):
        row[: len(text)] = torch.tensor(text)
    return logits, targets, torch.tensor(input_lengths), torch.tensor([*map(len, texts)]), blank


def by_enumeration(log_probs, targets, input_lengths, target_lengths, blank):
    """Loss and gradient of every utterance: sums over all of its paths, one by one."""
    losses, gradient = [], torch.zeros_like(log_probs)
    for b, (frames, labels) in enumerate(zip(input_lengths.tolist(), target_lengths.tolist())):
        paths = enumerate_alignments(targets[b, :labels], frames, blank)
        scores = log_probs[:frames, b].gather(1, paths.T).sum(0)  # (paths,)
        total = scores.logsumexp(0) if len(scores) else torch.tensor(-INF)
        losses.append(-total.double())
        for path, score in zip(paths, scores):
            if total > -INF:
                gradient[torch.arange(frames), b, path] -= (score - total).exp()
    return torch.stack(losses), gradient


@settings(max_examples=200)
@given(batches())
def test_enumeration_equals_forward_equals_backward_at_every_frame(batch):
    logits, targets, input_lengths, target_lengths, blank = batch
    log_probs = logits.log_softmax(-1)
    expected, _ = by_enumeration(log_probs, *batch[1:])
    alpha, beta = forward(log_probs, *batch[1:]), backward(log_probs, *batch[1:])
    for b, frames in enumerate(input_lengths.tolist()):
        states = 2 * int(target_lengths[b]) + 1
        for t in range(frames):
            total = (alpha + beta)[t, b, :states].logsumexp(0)
            torch.testing.assert_close(-total, expected[b], **CLOSE)


@settings(max_examples=200)
@given(batches())
def test_loss_and_gradient_equal_enumeration(batch):
    log_probs = batch[0].log_softmax(-1).requires_grad_()
    expected, gradient = by_enumeration(log_probs.detach(), *batch[1:])
    loss = ctc_loss(log_probs, *batch[1:])
    torch.testing.assert_close(loss, expected, **CLOSE)
    loss.sum().backward()
    torch.testing.assert_close(log_probs.grad, gradient, **CLOSE)


@settings(max_examples=200)
@given(batches(max_frames=30, max_labels=12))
def test_loss_and_gradient_equal_torch(batch):
    logits, targets, input_lengths, target_lengths, blank = batch
    if not logits.isfinite().all():
        logits = logits.nan_to_num(neginf=-3.0)  # torch returns NaN gradients for log 0
    some = input_lengths > 0  # torch fails on utterances without frames
    if not some.any():
        return
    # Too few frames: torch's gradient is NaN, or zero by request.
    given = targets[some], input_lengths[some], target_lengths[some]
    ours, theirs = (logits[:, some].clone().requires_grad_() for _ in range(2))
    loss = ctc_loss(ours.log_softmax(-1), *given, blank)
    legal = given[0].clamp(0, logits.shape[2] - 1)  # torch looks at the padding, too
    options = {"blank": blank, "reduction": "none"}
    expected = torch.nn.functional.ctc_loss(theirs.log_softmax(-1), legal, *given[1:], **options)
    torch.testing.assert_close(loss, expected, **CLOSE)
    weights = torch.linspace(0.5, 2, len(loss)).double()  # each loss with a gradient of its own
    torch.where(loss < INF, weights * loss, 0).sum().backward()
    expected = torch.nn.functional.ctc_loss(
        theirs.log_softmax(-1), legal, *given[1:], **options, zero_infinity=True
    )
    (weights * expected).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, **CLOSE)


def test_the_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    logits = torch.randn(6, 2, 4, dtype=torch.float64, requires_grad=True)
    given = torch.tensor([[1, 1], [3, 0]]), torch.tensor([6, 4]), torch.tensor([2, 1])
    assert torch.autograd.gradcheck(lambda x: ctc_loss(x.log_softmax(-1), *given), (logits,))


def test_behind_a_log_softmax_the_gradient_is_output_minus_posterior():
    torch.manual_seed(0)
    logits = torch.randn(9, 1, 5, dtype=torch.float64, requires_grad=True)
    log_probs = logits.log_softmax(-1)
    log_probs.retain_grad()
    lengths = torch.tensor([9]), torch.tensor([3])
    ctc_loss(log_probs, torch.tensor([[2, 2, 4]]), *lengths).sum().backward()
    posterior = -log_probs.grad
    torch.testing.assert_close(posterior.sum(-1), torch.ones(9, 1).double())
    torch.testing.assert_close(logits.grad, log_probs.exp() - posterior)


@pytest.mark.parametrize("text", ["", "a", "aa", "hello", "a a", "llll"])
def test_one_frame_too_few_is_infinite_with_a_zero_gradient_and_one_more_is_finite(text):
    targets = Tokenizer().encode(text)
    needed = required_frames(targets)
    for frames, possible in ((needed, True), (needed - 1, False)):
        if frames < 0:
            continue
        log_probs = torch.randn(frames, 1, 29).log_softmax(-1).requires_grad_()
        lengths = torch.tensor([frames]), torch.tensor([len(targets)])
        loss = ctc_loss(log_probs, targets[None], *lengths)
        assert bool(loss.isfinite()) is possible
        (loss.sum() / 3).backward()
        assert log_probs.grad.isfinite().all()
        assert possible or not log_probs.grad.any()


def test_an_utterance_without_a_path_leaves_the_others_alone():
    torch.manual_seed(0)
    log_probs = torch.randn(5, 2, 4).log_softmax(-1)
    targets, lengths = torch.tensor([[1, 2, 0, 0], [1, 1, 1, 2]]), torch.tensor([5, 5])
    both = log_probs.clone().requires_grad_()
    losses = ctc_loss(both, targets, lengths, torch.tensor([2, 4]))
    assert losses[1] == INF
    losses.sum().backward()
    alone = log_probs[:, :1].clone().requires_grad_()
    loss = ctc_loss(alone, targets[:1], lengths[:1], torch.tensor([2]))
    loss.sum().backward()
    torch.testing.assert_close(losses[:1], loss)
    torch.testing.assert_close(both.grad[:, :1], alone.grad)


def test_padding_of_any_kind_changes_nothing():
    torch.manual_seed(0)
    log_probs = torch.randn(6, 1, 4).log_softmax(-1)
    lengths = torch.tensor([6]), torch.tensor([2])
    alone = ctc_loss(log_probs, torch.tensor([[1, 2]]), *lengths)
    padded = torch.full((9, 1, 4), float("nan"))
    padded[:6] = log_probs
    padded.requires_grad_()
    loss = ctc_loss(padded, torch.tensor([[1, 2, 77, -1, 0]]), *lengths)
    loss.sum().backward()
    torch.testing.assert_close(loss, alone)
    assert not padded.grad[6:].any() and padded.grad.isfinite().all()


def test_the_dtype_is_kept_and_float32_is_close_to_float64():
    torch.manual_seed(0)
    log_probs = torch.randn(200, 3, 29).log_softmax(-1)
    given = torch.randint(1, 29, (3, 40)), torch.tensor([200, 150, 90]), torch.tensor([40, 30, 0])
    loss = ctc_loss(log_probs, *given)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(
        loss.double(), ctc_loss(log_probs.double(), *given), rtol=1e-5, atol=0
    )


@settings(max_examples=100)
@given(batches())
def test_the_loss_is_the_same_when_nobody_asks_for_a_gradient(batch):
    log_probs = batch[0].log_softmax(-1)
    alone = ctc_loss(log_probs, *batch[1:])
    torch.testing.assert_close(alone, ctc_loss(log_probs.requires_grad_(), *batch[1:]).detach())


def test_an_empty_batch_has_no_losses():
    nobody = torch.zeros(0, dtype=torch.long)
    assert ctc_loss(torch.zeros(5, 0, 4), torch.zeros(0, 3).long(), nobody, nobody).shape == (0,)


@pytest.mark.parametrize("frames", range(5))
@pytest.mark.parametrize("text", [[], [1], [2, 2], [1, 2]])
def test_enumeration_is_what_collapses_to_the_text(text, frames):
    expected = [
        path
        for path in itertools.product(range(3), repeat=frames)
        if [s for s, _ in itertools.groupby(path) if s] == text
    ]
    found = enumerate_alignments(torch.tensor(text, dtype=torch.long), frames)
    assert found.shape == (len(expected), frames)
    assert sorted(map(tuple, found.tolist())) == expected


def test_enumeration_refuses_what_would_never_end():
    with pytest.raises(ValueError, match="5 symbols on 40 frames make 9e"):
        enumerate_alignments(torch.tensor([1, 2, 3, 4]), 40)


# ---- forced alignment


def best_by_enumeration(log_probs, targets, blank):
    paths = enumerate_alignments(targets, len(log_probs), blank)
    return paths, log_probs.gather(1, paths.T).sum(0)


@settings(max_examples=200)
@given(batches(max_frames=7, max_labels=4))
def test_the_alignment_is_a_best_path_of_all(batch):
    logits, targets, input_lengths, target_lengths, blank = batch
    for b, (frames, labels) in enumerate(zip(input_lengths.tolist(), target_lengths.tolist())):
        log_probs, text = logits[:frames, b].log_softmax(-1), targets[b, :labels]
        paths, scores = best_by_enumeration(log_probs, text, blank)
        if not len(paths) or scores.max() == -INF:
            with pytest.raises(ValueError, match="need|probability 0"):
                forced_align(log_probs, text, blank)
            continue
        spans = forced_align(log_probs, text, blank)
        assert [span.token for span in spans] == text.tolist()
        path = torch.full((frames,), blank)
        for span in spans:
            assert span.start_frame < span.end_frame
            assert (path[span.start_frame : span.end_frame] == blank).all()  # they don't overlap
            path[span.start_frame : span.end_frame] = span.token
            own = log_probs[span.start_frame : span.end_frame, span.token]
            assert span.score == pytest.approx(float(own.mean()), abs=1e-9)
        assert path.tolist() in paths.tolist()  # neighbors of one label stay apart
        score = log_probs[torch.arange(frames), path].sum()
        torch.testing.assert_close(score, scores.max() if len(scores) else score, **CLOSE)


def test_where_all_paths_tie_the_alignment_is_still_one_of_them():
    """torchaudio 2.11's own is not, for 92 of 3,243 such cases (audio issue 4221)."""
    for frames, labels in itertools.product(range(1, 6), range(4)):
        for text in itertools.product((1, 2), repeat=labels):
            text = torch.tensor(text, dtype=torch.long)
            paths = enumerate_alignments(text, frames).tolist()
            if paths:
                path = [0] * frames
                for span in forced_align(torch.zeros(frames, 3), text):
                    for t in range(span.start_frame, span.end_frame):
                        path[t] = span.token
                assert path in paths


def test_an_alignment_without_enough_frames_says_how_many_are_needed():
    with pytest.raises(ValueError, match="5 labels need 6 output frames, there are 4"):
        forced_align(torch.zeros(4, 29), Tokenizer().encode("hello"))


# ---- what a caller may get wrong


def bad(**changes):
    given = {
        "log_probs": torch.zeros(4, 2, 5),
        "targets": torch.tensor([[1, 2], [3, 0]]),
        "input_lengths": torch.tensor([4, 3]),
        "target_lengths": torch.tensor([2, 1]),
    }
    return given | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"log_probs": torch.zeros(4, 5)}, r"need log_probs \(frames, batch, vocab\)"),
        ({"targets": torch.tensor([1, 2, 3])}, r"targets \(batch, labels\)"),
        ({"input_lengths": torch.tensor([5, 3])}, r"input_lengths \[5, 3\] must lie in 0..4"),
        ({"input_lengths": torch.tensor([4])}, r"2 utterances, targets 2, input_lengths \(1,\)"),
        ({"target_lengths": torch.tensor([3, 1])}, r"target_lengths \[3, 1\] must lie in 0..2"),
        ({"targets": torch.tensor([[1, 2]])}, "2 utterances, targets 1"),
        ({"targets": torch.tensor([[1, 7], [3, 0]])}, "target 7 is not a label: ids are 0 to 4"),
        ({"targets": torch.tensor([[1, 0], [3, 0]])}, "target 0 is not a label"),
        ({"blank": 9}, "blank is 9"),
        ({"log_probs": torch.full((4, 2, 5), float("nan"))}, "utterance 0: NaN"),
    ],
)
@pytest.mark.parametrize("function", [ctc_loss, forward, backward])
def test_bad_input_is_named(function, changes, message, unchecked_types):
    with pytest.raises(ValueError, match=message):
        function(**bad(**changes))


def test_nan_is_found_in_the_utterance_that_has_it():
    log_probs = torch.zeros(4, 2, 5)
    log_probs[3, 1] = float("nan")  # past the second utterance's frames
    assert ctc_loss(**bad(log_probs=log_probs)).isfinite().all()
    log_probs[2, 1, 4] = float("nan")
    with pytest.raises(ValueError, match="utterance 1: NaN"):
        ctc_loss(**bad(log_probs=log_probs))


# ---- required_frames


@pytest.mark.parametrize("labels", range(5))
def test_required_frames_equal_the_shortest_path_of_all(labels):
    for text in itertools.product((3, 4), repeat=labels):
        targets = torch.tensor(text, dtype=torch.long)
        shortest = next(n for n in itertools.count() if len(enumerate_alignments(targets, n)))
        assert required_frames(targets) == shortest


@pytest.mark.parametrize(
    ("text", "frames"), [("", 0), ("a", 1), ("aa", 3), ("aaa", 5), ("hello", 6), ("a a", 3)]
)
def test_required_frames_of_words(text, frames):
    assert required_frames(Tokenizer().encode(text)) == frames
