"""How fast is it here? Rival implementations timed in turns, on one thread, beside a calibration.

Times on shared machines swing; so the best of several rounds counts, the rivals take turns within a
round, and what to look at is the ratio.
"""

import time
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from asrlib.ctc import ctc_loss
from asrlib.decoding import beam_search, greedy_search, prefix_beam_search
from asrlib.text import ALPHABET, BLANK, Tokenizer

TEXT = "the quick brown fox jumps over the lazy dog and the small black cat sat on the mat while it"
TEXT += " rained all day long in the old town "


def emissions(kind: str, frames: int, seed: int = 0) -> Float[Tensor, "frames vocab"]:
    """Make up a network's output for the alphabet of `asrlib.text`.

    Args:
        kind: "trained" (a letter here and there, blanks between, mistakes), "flat" (the same, but
            hardly above the noise) or "random" (noise).
        frames: how many.
        seed: of the noise.

    Returns:
        Natural-log probabilities.

    Raises:
        ValueError: unknown kind.

    Example:
        >>> emissions("random", 3).exp().sum(dim=1)
        tensor([1.0000, 1.0000, 1.0000])
    """
    strengths = {"trained": (12.0, 1.6), "flat": (2.0, 1.0), "random": (0.0, 1.0)}
    if kind not in strengths:
        raise ValueError(f"unknown kind {kind!r}; choose {', '.join(strengths)}")
    strength, noise = strengths[kind]
    logits = noise * torch.randn(frames, 29, generator=torch.Generator().manual_seed(seed))
    tokens = Tokenizer().encode(TEXT)
    logits[:, BLANK] += 0.8 * strength
    for n, token in enumerate(tokens.tolist()):
        start = n * frames // len(tokens)
        logits[start : start + 3, token] += 1.4 * strength
    return logits.log_softmax(dim=1)


def best_times(rivals: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Time functions in turns.

    Args:
        rivals: by name; each is called once before the clock runs.
        rounds: how often.

    Returns:
        The least processor seconds of each.

    Example:
        >>> best_times({"nothing": lambda: None}, rounds=2)["nothing"] < 0.1
        True
    """
    times = dict.fromkeys(rivals, float("inf"))
    for turn in range(rounds + 1):
        for name, run in rivals.items():
            began = time.process_time()
            run()
            if turn:
                times[name] = min(times[name], time.process_time() - began)
    return times


def now(device: torch.device | str = "cpu") -> float:
    """Read the clock that fits: processor seconds on a CPU, which other programs do not use up.

    Args:
        device: on a GPU wall seconds count, once it has done all it was asked for.

    Example:
        >>> now() <= now()
        True
    """
    if torch.device(device).type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def gigaflops(size: int = 1024, device: str = "cpu", dtype: torch.dtype = torch.float32) -> float:
    """How fast is this core, or GPU, right now? A matrix product.

    Args:
        size: rows and columns of the matrix.
        device: "cpu" or "cuda".
        dtype: of the numbers.

    Returns:
        Billions of additions and multiplications a second.

    Example:
        >>> gigaflops(64) > 0
        True
    """
    a, best = torch.randn(size, size, device=device, dtype=dtype), float("inf")
    for turn in range(6):
        began = now(device)
        a @ a
        best = min(best, now(device) - began) if turn else best
    return 2 * size**3 / max(best, 1e-9) / 1e9


def decoding(
    frames: int = 1000, beam_size: int = 50, rounds: int = 5, readable: bool = True
) -> list[dict[str, object]]:
    """Time our searches beside fast-ctc-decode (Rust) and flashlight (C++), where installed.

    Args:
        frames: length of the one utterance.
        beam_size: of all the beams.
        rounds: the best of so many counts.
        readable: time the dictionary search as well, once.

    Returns:
        A row for each kind of emissions and decoder: kind, decoder, seconds, ratio (to our beam
        search: above 1 is slower than ours), same (the text is that of our beam search).

    Example:
        >>> rows = decoding(frames=20, beam_size=4, rounds=1)
        >>> [row["decoder"] for row in rows][:3]
        ['greedy search', 'beam search', 'readable beam search']
    """
    torch.set_num_threads(1)
    rows: list[dict[str, object]] = []
    for kind in ("trained", "flat", "random"):
        log_probs, lengths = emissions(kind, frames)[None], torch.tensor([frames])
        # The lambdas run before the loop goes on: they see this kind's emissions.
        rivals: dict[str, Callable[[], str]] = {
            "greedy search": lambda: greedy_search(log_probs, lengths)[0].text,  # noqa: B023
            "beam search": lambda: beam_search(log_probs, lengths, beam_size)[0][0].text,  # noqa: B023
        } | _others(log_probs, beam_size)
        times = best_times(rivals, rounds)
        texts = {name: run() for name, run in rivals.items()}
        if readable:
            began = time.process_time()
            tokens = prefix_beam_search(log_probs[0], beam_size)[0][0]
            times["readable beam search"] = time.process_time() - began
            texts["readable beam search"] = Tokenizer().decode(tokens)
        order = ["greedy search", "beam search", "readable beam search", *times]
        for name in dict.fromkeys(name for name in order if name in times):
            ratio = times[name] / max(times["beam search"], 1e-9)
            same = texts[name].strip() == texts["beam search"].strip()
            row = {"kind": kind, "decoder": name, "seconds": times[name]}
            rows.append(row | {"ratio": ratio, "same": same})
    return rows


def ctc(
    frames: int = 400, batch: int = 8, labels: int = 60, rounds: int = 10
) -> list[dict[str, object]]:
    """Time our CTC loss and its gradient beside torch's, on the CPU.

    Args:
        frames: of each utterance.
        batch: utterances.
        labels: of each text.
        rounds: the best of so many counts.

    Returns:
        A row for each: loss, seconds, ratio (to torch), difference (the greatest of the gradients).

    Example:
        >>> rows = ctc(frames=20, batch=2, labels=5, rounds=1)
        >>> [row["loss"] for row in rows], rows[0]["difference"] < 1e-5
        (['asrlib.ctc.ctc_loss', 'torch.nn.functional.ctc_loss'], True)
    """
    torch.set_num_threads(1)
    dice = torch.Generator().manual_seed(0)
    logits = torch.randn(frames, batch, 29, generator=dice)
    targets = torch.randint(1, 29, (batch, labels), generator=dice)
    lengths = torch.full((batch,), frames), torch.full((batch,), labels)

    def gradient(loss: Callable[..., Tensor], **options: object) -> Tensor:
        x = logits.clone().requires_grad_()
        loss(x.log_softmax(-1), targets, *lengths, **options).sum().backward()
        return x.grad

    rivals = {
        "asrlib.ctc.ctc_loss": lambda: gradient(ctc_loss),
        "torch.nn.functional.ctc_loss": lambda: gradient(
            torch.nn.functional.ctc_loss, reduction="none"
        ),
    }
    times = best_times(rivals, rounds)
    ours, theirs = (run() for run in rivals.values())
    difference, base = float((ours - theirs).abs().max()), times["torch.nn.functional.ctc_loss"]
    return [
        {"loss": name, "seconds": seconds, "ratio": seconds / max(base, 1e-9)}
        | {"difference": difference}
        for name, seconds in times.items()
    ]


def _others(log_probs: Tensor, beam_size: int) -> dict[str, Callable[[], str]]:
    """Other people's decoders, as far as they are installed, set to search as ours does."""
    others: dict[str, Callable[[], str]] = {}
    try:
        import fast_ctc_decode

        symbols = "-" + ALPHABET
        others["fast-ctc-decode"] = lambda: fast_ctc_decode.beam_search(
            log_probs[0].exp().numpy(), symbols, beam_size=beam_size, beam_cut_threshold=0.0
        )[0]
    except ImportError:
        pass
    try:
        from torchaudio.models.decoder import ctc_decoder

        decoder = ctc_decoder(
            lexicon=None,
            tokens=["-", *ALPHABET],
            beam_size=beam_size,
            beam_threshold=1e9,
            blank_token="-",
            sil_token=" ",
            log_add=True,
        )
        others["flashlight"] = lambda: Tokenizer().decode(decoder(log_probs)[0][0].tokens.tolist())
    except (ImportError, RuntimeError):
        pass
    return others
