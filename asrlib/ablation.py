"""What does each part of the recipe buy? The same training with one thing changed, side by side.

Each run is the command `python -m asrlib train ... --set NAME=VALUE` in a folder of its own, so it
can be stopped, resumed and repeated alone. What is compared is the last pass, on the validation
set, by the words of both seeds together.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from asrlib.checkpoint import load_checkpoint
from asrlib.corpus import Utterance
from asrlib.evaluation import evaluate
from asrlib.metrics import paired_bootstrap
from asrlib.model import ModelConfig
from asrlib.recognizer import Recognizer

RECIPE = "the recipe"
_CHANGES: dict[str, tuple[str, ...]] = {
    RECIPE: (),
    "no SpecAugment": ("frequency_masks=0", "time_masks=0"),
    "no speed perturbation": ("speed_factors=[1.0]",),
    "no averaged weights": ("ema_decay=0",),
    "no dropout": ("dropout=0",),
    "no normalization": ("normalize=none",),
    "40 mels": ("n_mels=40",),
    "CR-CTC": ("consistency=0.2",),
}


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        change: what is different from the recipe.
        settings: the same as `--set` takes it.
        wer: word error rate in [0, 1], one a seed.
        cer: character error rate, one a seed.
        minutes: of training, one a seed; they depend on what else the machine did.
        worse: WER minus the recipe's, all seeds together; below 0 the change helps.
        low, high: its 95 % interval over other speakers.
    """

    change: str
    settings: list[str]
    wer: list[float]
    cer: list[float]
    minutes: list[float]
    worse: float
    low: float
    high: float


def changes(preset: str) -> dict[str, tuple[str, ...]]:
    """List what is changed, one thing at a time.

    Args:
        preset: of the network; one with a single GRU layer gets a second one for InterCTC, and a
            row without it, so that the two can be told apart.

    Returns:
        Settings by the name of the change, the recipe first.

    Example:
        >>> list(changes("small"))[-1], list(changes("tiny"))[-2:]
        ('InterCTC', ['two GRU layers', 'two GRU layers, InterCTC'])
    """
    model = ModelConfig.preset(preset)
    stride = 4 if model.time_stride == 2 else 2
    known = _CHANGES | {f"a time stride of {stride}": (f"time_stride={stride}",)}
    if model.rnn_layers > 1:
        return known | {"InterCTC": ("inter_ctc=0.3",)}
    two = {"two GRU layers": ("rnn_layers=2",)}
    return known | two | {"two GRU layers, InterCTC": ("rnn_layers=2", "inter_ctc=0.3")}


def run(folder: Path, options: Sequence[str], preset: str, seeds: Sequence[int], jobs: int) -> None:
    """Train whatever is not trained yet.

    Args:
        folder: gets a folder a run.
        options: for `python -m asrlib train`, the same for all, such as --data and --epochs.
        preset: of the network.
        seeds: each change is trained with each of them.
        jobs: runs at a time, each a process of its own (on one large GPU 4 to 8).

    Raises:
        ChildProcessError: a run failed; its output ends in its folder's log. No other is begun.
    """

    def train(change: str, settings: Sequence[str], seed: int) -> None:
        home = _home(folder, change, seed)
        home.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "asrlib", "train", "--preset", preset, *options]
        command += ["--seed", str(seed), "--folder", str(home)]
        for setting in settings:
            command += ["--set", setting]
        with (home / "log.txt").open("a") as log:
            if subprocess.run(command, stdout=log, stderr=log).returncode:
                raise ChildProcessError(f"{change}, seed {seed}, failed: see {home / 'log.txt'}")

    with ThreadPoolExecutor(jobs) as pool:
        waiting = [
            pool.submit(train, change, settings, seed)
            for seed in seeds  # all of one seed first: a table of it can be had early
            for change, settings in changes(preset).items()
        ]
        try:
            for task in waiting:
                task.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def table(
    folder: Path, preset: str, seeds: Sequence[int], validation: Sequence[Utterance]
) -> list[Row]:
    """Compare the runs with the recipe.

    Args:
        folder, preset, seeds: of `run`.
        validation: what they were validated on, more than one speaker.

    Returns:
        A row a change whose runs are finished, the recipe first.

    Raises:
        FileNotFoundError: the recipe itself is not finished.
    """
    rows: list[Row] = []
    base: list[str] = []
    for change, settings in changes(preset).items():
        homes = [_home(folder, change, seed) / "last.pt" for seed in seeds]
        if not all(map(_is_finished, homes)):
            if change == RECIPE:
                raise FileNotFoundError(f"{homes[0].parent}: the recipe is not trained to its end")
            continue
        results, minutes = [], []
        for home in homes:
            recognizer = Recognizer.load(home)
            results.append(evaluate(recognizer.model, recognizer.extractor, validation))
            minutes.append(recognizer.record["seconds"] / 60)
        texts = [h.text for result in results for h in result.hypotheses]
        base = base or texts
        said = [u for result in results for u in result.utterances]
        difference = paired_bootstrap(
            [u.text for u in said], texts, base, [u.speaker for u in said]
        )
        rows.append(
            Row(
                change,
                list(settings),
                [result.words.rate for result in results],
                [result.characters.rate for result in results],
                [round(m, 2) for m in minutes],
                difference.difference,
                difference.low,
                difference.high,
            )
        )
    return rows


def save_table(rows: Sequence[Row], path: Path) -> None:
    """Write a table as JSON, a line each row.

    Args:
        rows: of `table`.
        path: of the file.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "rows.jsonl"
        >>> save_table([Row("no dropout", ["dropout=0"], [0.5], [0.2], [1.0], 0.1, 0.0, 0.2)], file)
        >>> load_table(file)[0].worse
        0.1
    """
    path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))


def load_table(path: Path) -> list[Row]:
    """Read a table that `save_table` wrote.

    Args:
        path: of the file.

    Returns:
        Its rows.
    """
    return [Row(**json.loads(line)) for line in path.read_text().splitlines()]


def _home(folder: Path, change: str, seed: int) -> Path:
    return folder / f"{change.replace(' ', '-').replace(',', '')}-{seed}"


def _is_finished(path: Path) -> bool:
    if not path.is_file():
        return False
    record = load_checkpoint(path)["record"]
    return record["step"] == record["total_steps"]
