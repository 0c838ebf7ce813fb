"""Plant one fault at a time and watch the tests catch it.

    python -m tests.mutants              every fault, a table, exit code 1 if one survives
    python -m tests.mutants prefix       only those with "prefix" in their name

A test suite that is green says little until it has been seen red. Each fault here is one that real
recognizers have had; it replaces a piece of the package by another, in a copy, and names the test
file that must fail. Torch is imported once and each fault gets a fork of that process, so that the
whole table takes a few minutes. Not collected by pytest; .ci/run calls it.
"""

import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MOST_SECONDS = 120.0  # a fault that makes a test hang is caught as well


@dataclass(frozen=True)
class Mutant:
    """A fault: in which module, what becomes what, and which tests have to see it."""

    name: str
    module: str
    right: str
    wrong: str
    tests: str
    only: str = ""  # pytest -k: where a file is slow, the tests that are meant


MUTANTS = (
    # The sum over alignments.
    Mutant(
        "the trellis forgets to stay in a state",
        "ctc",
        "torch.logaddexp(torch.logaddexp(stay, step), skip + no_skip, out=arrivals[t])",
        "torch.logaddexp(step, skip + no_skip, out=arrivals[t])",
        "test_ctc",
    ),
    Mutant(
        "equal neighbors may skip the blank between them",
        "ctc",
        "labels[:, 2:] != labels[:, :-2]",
        "labels[:, 2:] == labels[:, 2:]",
        "test_ctc",
    ),
    Mutant(
        "the blank is always symbol 0",
        "ctc",
        "labels = torch.full((batch, width), blank, device=device)",
        "labels = torch.full((batch, width), 0, device=device)",
        "test_ctc",
    ),
    Mutant(
        "a text may not end on its last blank",
        "ctc",
        "total = torch.logaddexp(last[rows, trellis.states], last[rows, trellis.states - 1])",
        "total = last[rows, trellis.states - 1]",
        "test_ctc",
    ),
    Mutant(
        "the gradient points uphill",
        "ctc",
        "return -posterior * gradient[:, None]",
        "return posterior * gradient[:, None]",
        "test_ctc",
    ),
    Mutant(
        "occupancies assigned instead of added where a label repeats",
        "ctc",
        "posterior.scatter_add_(2,",
        "posterior.scatter_(2,",
        "test_ctc",
    ),
    Mutant(
        "padding frames get a gradient",
        "ctc",
        "at_state.masked_fill(~(trellis.real & possible), 0)",
        "at_state.masked_fill(~possible, 0)",
        "test_ctc",
    ),
    Mutant(
        "too short an utterance costs nothing",
        "ctc",
        "ctx.save_for_backward(posterior)\n        return -total",
        "ctx.save_for_backward(posterior)\n        return -total.masked_fill(total == NEVER, 0.0)",
        "test_ctc",
    ),
    Mutant(
        "repeats need no blank (required frames)",
        "ctc",
        "return len(targets) + int((targets[1:] == targets[:-1]).sum())",
        "return len(targets)",
        "test_ctc",
        "required or needed or few",
    ),
    Mutant(
        "Viterbi prefers the step where staying ties, but adds the stay",
        "ctc",
        "best, came_from[t] = ways.max(dim=0)",
        "best, came_from[t] = ways.amax(dim=0), (ways[1] >= ways[0]).long()",
        "test_ctc",
        "align",
    ),
    Mutant(
        "Viterbi skips between equal letters",
        "ctc",
        "score[1:-1], score[:-2] + no_skip])",
        "score[1:-1], score[:-2]])",
        "test_ctc",
        "align",
    ),
    # From frames to text.
    Mutant(
        "blanks are dropped before repeats are merged",
        "text",
        "merged = [i for n, i in enumerate(path) if n == 0 or i != path[n - 1]]",
        "path = [i for i in path if i]\n"
        "        merged = [i for n, i in enumerate(path) if n == 0 or i != path[n - 1]]",
        "test_text",
    ),
    Mutant(
        "greedy search reads the padding",
        "decoding",
        "timesteps = first[:length].nonzero()[:, 0]",
        "timesteps = first.nonzero()[:, 0]",
        "test_decoding",
    ),
    Mutant(
        "prefixes that merge are assigned, not added",
        "decoding",
        "label[child] = np.logaddexp(label[child], joins)",
        "label[child] = joins",
        "test_decoding",
    ),
    Mutant(
        "prefixes that merge stay in the beam twice",
        "decoding",
        "            grown[parent, token] = -np.inf\n",
        "",
        "test_decoding",
    ),
    Mutant(
        "a prefix doubles its letter without a blank",
        "decoding",
        "        grown[self.slots, last] = self.blank + held\n",
        "",
        "test_decoding",
    ),
    Mutant(
        "the beam keeps the worst",
        "decoding",
        "dropped, kept = order[: len(candidates)], order[len(candidates) :]",
        "kept, dropped = order[: len(rank)], order[len(rank) :]",
        "test_decoding",
    ),
    Mutant(
        "a letter's time is that of its first small chance",
        "decoding",
        "newer = joins > label[child]",
        "newer = joins > np.inf",
        "test_decoding",
        "letter",
    ),
    Mutant(
        "the language model is counted twice in a new prefix",
        "decoding",
        "self.rank[slots] = self.rank[parent] + self.extra[parent, token]",
        "self.rank[slots] = self.rank[parent] + 2 * self.extra[parent, token]",
        "test_decoding",
        "language_model",
    ),
    Mutant(
        "the end of the sentence is not scored",
        "decoding",
        "score = score + self.rank + self.fusion.finish(self.states)",
        "score = score + self.rank",
        "test_decoding",
        "language_model",
    ),
    Mutant(
        "what a word was charged in advance is not paid back",
        "fusion",
        "np.where(between, 0.0, scores - self.advance[place])",
        "np.where(between, 0.0, scores)",
        "test_fusion",
    ),
    Mutant(
        "unknown words are free",
        "fusion",
        "scores += self.alpha * LETTER * letters",
        "scores += 0.0 * letters",
        "test_fusion",
    ),
    # Counting words.
    Mutant(
        "a history that was never seen backs off without its weight",
        "language_model",
        "weights += self._backoff[states] * missed",
        "weights += 0.0 * missed",
        "test_kneser_ney",
        "sum or dictionaries",
    ),
    Mutant(
        "raw counts instead of continuation counts in lower orders",
        "kneser_ney",
        "counts.append(np.where(before > 0, before, raw))",
        "counts.append(raw.copy())",
        "test_kneser_ney",
    ),
    Mutant(
        "pruning forgets to refit the back-off weights",
        "language_model",
        "        model._fit_backoff()\n",
        "",
        "test_language_model",
        "prun",
    ),
    Mutant(
        "ARPA files hold natural logarithms",
        "arpa",
        "_LN10 = float(np.log(10))",
        "_LN10 = 1.0",
        "test_arpa",
    ),
    Mutant(
        "an ARPA file cut short is accepted",
        "arpa",
        '        rows.expect("\\\\end\\\\")\n',
        "",
        "test_arpa",
    ),
    Mutant(
        "substitutions and deletions change places",
        "metrics",
        'wrong = kinds["substitute"], kinds["insert"], kinds["delete"]',
        'wrong = kinds["delete"], kinds["insert"], kinds["substitute"]',
        "test_metrics",
    ),
    Mutant(
        "the rate is over what was written",
        "metrics",
        'words = kinds["equal"] + kinds["substitute"] + kinds["delete"]',
        'words = kinds["equal"] + kinds["substitute"] + kinds["insert"]',
        "test_metrics",
    ),
    Mutant(
        "the mean of utterance rates",
        "metrics",
        "return cls(sum(wrong) / words if words else math.nan, *wrong, words)",
        "each = [sum(kind != 'equal' for kind, _, _ in rows)"
        " / max(1, sum(said is not None for _, said, _ in rows)) for rows in alignments]\n"
        "        return cls(sum(each) / len(each) if words else math.nan, *wrong, words)",
        "test_metrics",
    ),
    Mutant(
        "utterances are drawn instead of speakers",
        "metrics",
        "names = sorted(set(speakers))",
        'speakers = [f"{name}, {n}" for n, name in enumerate(speakers)]\n'
        "    names = sorted(set(speakers))",
        "test_metrics",
        "drawn",
    ),
    # The network.
    Mutant(
        "GRUs run over the batch",
        "model",
        "direction, True, 1, 0.0, self.training, False, True)",
        "direction, True, 1, 0.0, self.training, False, False)",
        "test_model",
    ),
    Mutant(
        "the reverse read begins in the padding",
        "model",
        "mirror = torch.where(real, lengths[:, None] - 1 - frames, frames)",
        "mirror = (x.shape[1] - 1 - frames).expand(len(x), -1)",
        "test_model",
    ),
    Mutant(
        "view without permute",
        "model",
        "x = x.permute(0, 3, 1, 2).flatten(2)",
        "x = x.reshape(x.shape[0], x.shape[3], -1)",
        "test_model",
    ),
    Mutant(
        "convolutions see the padding",
        "model",
        "x = convolution(_hide_padding(x, mask))",
        "x = convolution(x)",
        "test_model",
    ),
    Mutant(
        "lengths are T // 2",
        "model",
        "lengths = (lengths + stride - 1) // stride",
        "lengths = lengths // stride",
        "test_model",
    ),
    # Features and batches.
    Mutant(
        "no logarithm",
        "features",
        "log_mel = torch.log(mel + LOG_FLOOR).transpose(1, 2)",
        "log_mel = mel.transpose(1, 2)",
        "test_features",
    ),
    Mutant(
        "the edges are reflected",
        "features",
        'pad_mode="constant",  #',
        'pad_mode="reflect",  #',
        "test_features",
    ),
    Mutant(
        "normalization counts the padding",
        "features",
        "count = lengths[:, None, None, None] * (1",
        "count = torch.full_like(lengths, features.shape[-1])[:, None, None, None] * (1",
        "test_features",
    ),
    Mutant(
        "SpecAugment works outside training",
        "features",
        "        if not self.training:\n            return features\n",
        "",
        "test_features",
    ),
    Mutant(
        "masks are drawn over the padding",
        "features",
        "times = _random_stretches(self.time_masks, longest, lengths, frames)",
        "times = _random_stretches(\n"
        "            self.time_masks, longest, torch.full_like(lengths, frames), frames\n        )",
        "test_features",
    ),
    Mutant(
        "the sampler drops its last batch",
        "batching",
        "        self._cuts.append(len(self.durations))\n",
        "",
        "test_batching",
    ),
    # Training.
    Mutant(
        "zero_grad before the step",
        "training",
        "        self.scaler.step(self.optimizer)\n",
        "        self.optimizer.zero_grad()\n        self.scaler.step(self.optimizer)\n",
        "test_training",
        "step or learn or weights",
    ),
    Mutant(
        "the gradient is not clipped",
        "training",
        "nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)",
        "nn.utils.clip_grad_norm_(self.model.parameters(), float('inf'))",
        "test_training",
        "clip",
    ),
    Mutant(
        "the views of CR-CTC do not change places",
        "objective",
        "log_probs.detach().roll(len(log_probs) // 2, dims=0)",
        "log_probs.detach()",
        "test_objective",
    ),
    Mutant(
        "both views of CR-CTC learn from each other at once",
        "objective",
        "log_probs.detach().roll",
        "log_probs.roll",
        "test_objective",
    ),
    Mutant(
        "the view is compared in the padding, too",
        "objective",
        "torch.where(real, divergence, 0.0).sum(dim=1)",
        "divergence.sum(dim=1)",
        "test_objective",
    ),
    Mutant(
        "InterCTC listens to the last layer twice",
        "model",
        "n == config.rnn_layers // 2)",
        "n == config.rnn_layers - 1)",
        "test_objective",
    ),
    Mutant(
        "the film leaves the network without dropout",
        "flight",
        "        model.train(learning)\n",
        "",
        "test_flight",
    ),
    Mutant(
        "a resumed run keeps lines it will write again",
        "history",
        'row["step"] <= up_to_step',
        'row["step"] <= up_to_step + 3',
        "test_training",
        "stopping or lines_that or crash",
    ),
    Mutant(
        "a checkpoint is written in place",
        "checkpoint",
        "    with atomic_file(path) as part:\n        torch.save(payload, part)",
        "    torch.save(payload, path)",
        "test_checkpoint",
    ),
    Mutant(
        "word times forget the network's stride",
        "recognizer",
        "frame_to_seconds(1, config.hop_length, self.model.config.time_stride)",
        "frame_to_seconds(1, config.hop_length)",
        "test_recognizer",
    ),
)


def plant(mutant: Mutant, folder: Path) -> None:
    """Copy the package and its tests, with the fault in it; data folders are linked."""
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "asrlib").mkdir()
    for path in (ROOT / "asrlib").iterdir():
        if path.suffix == ".py":
            shutil.copy(path, folder / "asrlib")
        elif path.name != "__pycache__":
            (folder / "asrlib" / path.name).symlink_to(path)
    file = folder / "asrlib" / f"{mutant.module}.py"
    source = file.read_text(encoding="utf-8")
    if source.count(mutant.right) != 1:
        raise LookupError(
            f"{mutant.name}: asrlib/{mutant.module}.py holds {mutant.right!r}"
            f" {source.count(mutant.right)} times; the table in tests/mutants.py needs it once"
        )
    file.write_text(source.replace(mutant.right, mutant.wrong), encoding="utf-8")


def run_tests(mutant: Mutant, folder: Path) -> None:
    """In a fork: run the tests on the copy and exit with pytest's code."""
    import pytest
    from hypothesis import Phase, settings

    # The first counterexample will do: no time for a smaller one.
    few = {"deadline": None, "max_examples": 30, "derandomize": True}
    settings.register_profile("mutants", phases=[Phase.explicit, Phase.generate], **few)

    os.chdir(folder)
    sys.path[:] = [str(folder), *(p for p in sys.path if Path(p or ".").resolve() != ROOT)]
    for name in [name for name in sys.modules if name.split(".")[0] in ("asrlib", "tests")]:
        del sys.modules[name]
    out = os.open("output.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(out, 1)
    os.dup2(out, 2)
    arguments = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-profile=mutants"]
    arguments.append(f"tests/{mutant.tests}.py")
    os._exit(int(pytest.main(arguments + (["-k", mutant.only] if mutant.only else []))))


def check(mutant: Mutant) -> tuple[Mutant, bool, str, float]:
    """Plant a fault and run the tests: is it caught, by which test, in how many seconds?"""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plant(mutant, folder)
        context = multiprocessing.get_context("fork")
        process = context.Process(target=run_tests, args=(mutant, folder))
        process.start()
        process.join(MOST_SECONDS)
        hung = process.is_alive()
        if hung:
            process.kill()
            process.join()
        output = (folder / "output.txt").read_text(encoding="utf-8", errors="replace")
    failed = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
    by = "hangs" if hung else (failed[0].split("::")[-1].split(" - ")[0] if failed else "nothing")
    # pytest's 1 is "some tests failed"; anything else (no test found, a broken file) is our fault.
    caught = hung or (process.exitcode == 1 and any("::" in line for line in failed))
    if not caught and process.exitcode != 0:
        by = f"pytest exit code {process.exitcode}: {output.strip()[-300:]}"
    return mutant, caught, by, time.perf_counter() - began


def main() -> int:
    """Check all faults, two at a time."""
    import hypothesis  # noqa: F401  # in the parent, once: the forks inherit what it imported
    import jaxtyping  # noqa: F401
    import jiwer  # noqa: F401
    import torch
    import torchaudio  # noqa: F401

    torch.set_num_threads(1)
    wanted = [m for m in MUTANTS if not sys.argv[1:] or any(a in m.name for a in sys.argv[1:])]
    survivors = 0
    began = time.perf_counter()
    from multiprocessing.pool import ThreadPool

    with ThreadPool(2) as pool:
        for mutant, caught, by, seconds in pool.imap(check, wanted):
            survivors += not caught
            print(
                f"{'caught  ' if caught else 'SURVIVED'} {seconds:5.1f} s  {mutant.module:15}"
                f" {mutant.name}\n{'':18}by {mutant.tests}.py: {by}",
                flush=True,
            )
    print(
        f"{len(wanted) - survivors} of {len(wanted)} caught in {time.perf_counter() - began:.0f} s"
    )
    return 1 if survivors or not wanted else 0


if __name__ == "__main__":
    sys.exit(main())
