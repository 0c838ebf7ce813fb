"""What makes a notebook a lesson: setup, predictions that are scored, claims that are proved."""

import os
from dataclasses import dataclass, field

import torch


@dataclass
class Lesson:
    """The state of one notebook.

    Attributes:
        smoke: True when only a quick check is wanted (ASRLIB_PROFILE=smoke): smaller sizes, same
            cells.
        predictions: what the reader guessed, by name.
        scores: "hit" or "miss" by name.
        claims: every number that prose quotes, by name.
    """

    smoke: bool = False
    predictions: dict[str, object] = field(default_factory=dict)
    scores: dict[str, str] = field(default_factory=dict)
    claims: dict[str, float] = field(default_factory=dict)

    def size(self, full: int, smoke: int) -> int:
        """Choose a size by the profile."""
        return smoke if self.smoke else full

    def predict(self, name: str, guess: float | str | None) -> None:
        """Record a guess before the cell that tells; None is "no guess" and blocks nothing.

        Args:
            name: of the question.
            guess: a number, a word, or None.

        Example:
            >>> lesson = Lesson()
            >>> lesson.predict("coin", "heads")
            noted: coin = 'heads'
            >>> lesson.reveal("coin", "tails")
            coin: you said 'heads', it is 'tails': now that is worth a thought
        """
        self.predictions[name] = guess
        print(f"noted: {name} = {guess!r}" if guess is not None else f"{name}: no guess yet")

    def reveal(self, name: str, truth: float | str, within: float = 0.0) -> None:
        """Compare a guess with what came out.

        Args:
            name: of the question.
            truth: what came out.
            within: how far off a number may be.
        """
        guess = self.predictions.get(name)
        shown = f"{truth:.3g}" if isinstance(truth, float) else repr(truth)
        if guess is None:
            print(f"{name}: it is {shown} (you made no guess)")
            return
        numbers = isinstance(guess, int | float) and isinstance(truth, int | float)
        hit = abs(guess - truth) <= within if numbers else guess == truth
        self.scores[name] = "hit" if hit else "miss"
        verdict = "well guessed" if hit else "now that is worth a thought"
        print(f"{name}: you said {guess!r}, it is {shown}: {verdict}")

    def claim(
        self,
        name: str,
        value: float,
        *,
        full: tuple[float, float],
        smoke: tuple[float, float] | None = None,
    ) -> None:
        """Prove a number that the prose relies on; it must lie in its range.

        Args:
            name: the prose marks the number with <!--claim:name-->.
            value: as measured.
            full: (low, high), both included, for a full run.
            smoke: for a smoke run, where quality means little; `full` if not given.

        Raises:
            AssertionError: the value is outside its range, so the prose would be wrong.

        Example:
            >>> Lesson().claim("answer", 42.0, full=(40, 45))
            claim answer = 42.0 (holds: 40 to 45)
            >>> Lesson().claim("clips", 12, full=(10, 20))
            claim clips = 12 (holds: 10 to 20)
        """
        low, high = smoke if self.smoke and smoke else full
        self.claims[name] = float(value)
        if not low <= value <= high:
            raise AssertionError(f"claim {name} = {value:.4g} is outside {low} to {high}")
        shown = value if isinstance(value, int) else f"{value:.1f}"  # a count has no decimals
        print(f"claim {name} = {shown} (holds: {low} to {high})")

    def summary(self) -> None:
        """Print how many predictions were made and how many hit."""
        made = sum(guess is not None for guess in self.predictions.values())
        hits = sum(score == "hit" for score in self.scores.values())
        print(f"{len(self.predictions)} questions, {made} guesses, {hits} hits")


def setup(seed: int = 0, threads: int = 1) -> Lesson:
    """Begin a notebook: fix the seed and the threads, choose the profile.

    Args:
        seed: of torch.
        threads: for torch on the CPU. One is deliberate: recurrent layers on a busy two-core
            machine were 10 times slower with two threads than with one.

    Returns:
        The lesson's state.

    Raises:
        ValueError: ASRLIB_PROFILE is neither "full" nor "smoke".

    Example:
        >>> lesson = setup()  # doctest: +ELLIPSIS
        asrlib ready on ...
        >>> lesson.predictions
        {}
    """
    profile = os.environ.get("ASRLIB_PROFILE") or "full"
    if profile not in ("full", "smoke"):
        raise ValueError(f"ASRLIB_PROFILE={profile!r}: choose full or smoke")
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"asrlib ready on {device}, {threads} thread(s), seed {seed}, profile {profile}")
    return Lesson(smoke=profile == "smoke")
