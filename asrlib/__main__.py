"""The command line: python -m asrlib doctor | train | evaluate | transcribe | figures."""

import argparse
import json
import os
import sys
from dataclasses import fields
from pathlib import Path

DATA_HELP = (
    "minispeech (the embedded synthetic corpus), a LibriSpeech subset such as dev-clean, or your"
    " own manifest (.tsv or .jsonl with path, text, speaker)"
)
SET_HELP = (
    "minispeech-test, minispeech-dev, minispeech-unseen, held-out (the 8 dev-clean speakers kept"
    " for choosing), a LibriSpeech subset such as test-clean, or your own manifest"
)


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: of the command line; sys.argv if not given.

    Returns:
        Exit code: 0, or 2 after a sentence about bad input.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except (ValueError, FileNotFoundError, ConnectionError, FloatingPointError) as error:
        print(f"asrlib {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from the last save", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m asrlib",
        description="Train, test and use a speech recognizer.",
        epilog="Begin with: python -m asrlib doctor",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    doctor = commands.add_parser("doctor", help="is this machine ready? what is missing?")
    doctor.set_defaults(run=_doctor)

    train = commands.add_parser(
        "train",
        help="train a recognizer; the same command again goes on where it stopped",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    train.add_argument("--preset", default="tiny", help="size: original, base, small or tiny")
    train.add_argument("--data", default="minispeech", help=DATA_HELP)
    train.add_argument("--folder", help="where the run lives (default: runs/PRESET-DATA)")
    train.add_argument("--epochs", type=int, help="passes over the data (default: the preset's)")
    train.add_argument("--batch-seconds", type=float, help="sound in a batch (less saves memory)")
    train.add_argument("--learning-rate", type=float, help="peak of the schedule")
    train.add_argument("--seed", type=int, help="of weights, batches and augmentation")
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other field of asrlib.training.TrainConfig, for instance time_masks=2",
    )
    train.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    train.add_argument("--device", help="cpu or cuda (default: cuda if there is one)")
    train.add_argument("--max-minutes", type=float, help="save and stop after so many minutes")
    train.add_argument("--download", action="store_true", help="fetch LibriSpeech if it is missing")
    train.set_defaults(run=_train)

    evaluate = commands.add_parser(
        "evaluate",
        help="count a recognizer's errors on a test set",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    evaluate.add_argument("--checkpoint", help="file, run folder or name (default: newest run)")
    evaluate.add_argument("--data", default="minispeech-test", help=SET_HELP)
    evaluate.add_argument("--show", type=int, default=5, help="how many transcripts to print")
    evaluate.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    evaluate.add_argument("--device", default="cpu", help="cpu or cuda")
    evaluate.set_defaults(run=_evaluate)

    transcribe = commands.add_parser("transcribe", help="write down what sound files say")
    transcribe.add_argument("files", nargs="+", metavar="FILE", help="WAV, FLAC, OGG or MP3")
    transcribe.add_argument("--checkpoint", help="file, run folder or name (default: newest run)")
    transcribe.add_argument("--times", action="store_true", help="a line a word, with seconds")
    transcribe.set_defaults(run=_transcribe)

    figures = commands.add_parser("figures", help="redraw the stored figures from their results")
    figures.set_defaults(run=_figures)
    return parser


def _doctor(options: argparse.Namespace) -> int:
    from asrlib.doctor import report

    return 0 if report() else 2


def _train(options: argparse.Namespace) -> None:
    import torch

    from asrlib.features import FeatureConfig
    from asrlib.model import ModelConfig, parameter_count
    from asrlib.training import TrainConfig, Trainer

    torch.set_num_threads(options.threads)
    model_config = ModelConfig.preset(options.preset)
    names = [field.name for field in fields(TrainConfig)]
    given = {k: v for k, v in vars(options).items() if k in names and v is not None}
    given |= dict(_setting(text, names) for text in options.set)
    config = TrainConfig.preset(options.preset, **given)
    train_set, validation_set = _training_data(options.data, options.download)
    folder = options.folder or _runs() / f"{options.preset}-{Path(options.data).stem}"
    trainer = Trainer(
        model_config,
        config,
        train_set,
        validation_set,
        folder=folder,
        feature_config=FeatureConfig.preset(options.preset),
        device=options.device,
    )
    print(f"learn from  {train_set}\nchoose on   {validation_set}")
    print(
        f"{options.preset}: {parameter_count(trainer.model):,} parameters on {trainer.device},"
        f" {trainer.total_steps} steps, in {folder}" + (" (going on)" if trainer.step else "")
    )
    minutes = options.max_minutes
    trainer.fit(stop_after_seconds=60 * minutes if minutes else None)


def _evaluate(options: argparse.Namespace) -> None:
    import torch

    from asrlib.evaluation import evaluate
    from asrlib.metrics import bootstrap_interval
    from asrlib.recognizer import Recognizer

    torch.set_num_threads(options.threads)
    recognizer = Recognizer.load(options.checkpoint or _newest_run(), device=options.device)
    corpus = _test_data(options.data)
    result = evaluate(recognizer.model, recognizer.extractor, corpus)
    print(corpus)
    references = [u.text for u in result.utterances]
    hypotheses = [h.text for h in result.hypotheses]
    print(f"word error rate       {result.words}")
    speakers = [u.speaker for u in result.utterances]
    if len(set(speakers)) > 1:
        low, high = bootstrap_interval(references, hypotheses, speakers)
        print(f"  95 % interval       {100 * low:.1f} to {100 * high:.1f} % (other speakers)")
    print(f"character error rate  {result.characters}")
    for reference, hypothesis in list(zip(references, hypotheses))[: options.show]:
        print(f"\n  said   {reference}\n  wrote  {hypothesis}")


def _transcribe(options: argparse.Namespace) -> int:
    from asrlib.recognizer import Recognizer

    recognizer = Recognizer.load(options.checkpoint or _newest_run())
    failed = 0
    for file in options.files:
        try:
            transcript = recognizer.transcribe(file)
        except (ValueError, FileNotFoundError) as error:
            print(f"asrlib transcribe: {error}", file=sys.stderr)
            failed += 1
            continue
        print(f"{file}: {transcript.text}")
        if options.times:
            for word in transcript.words:
                print(f"  {word.start:7.2f} {word.end:7.2f}  {word.confidence:4.2f}  {word.text}")
    return 2 if failed else 0


def _figures(options: argparse.Namespace) -> None:
    from asrlib.plots.readme import redraw

    for path in redraw():
        print(path)


def _setting(text: str, names: list[str]) -> tuple[str, object]:
    name, _, value = text.partition("=")
    if name not in names:
        raise ValueError(f"--set {text}: no setting {name!r}; there are {', '.join(names)}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value  # a bare word such as bfloat16


def _training_data(name: str, download: bool):
    from asrlib import corpus

    if name == "minispeech":
        return corpus.MiniSpeech("train"), corpus.MiniSpeech("dev")
    if _is_manifest(name):
        own = corpus.Manifest(name)
        return corpus.split_by_text(own, 0.1)
    librispeech = corpus.LibriSpeech(name, download=download)
    if name == "dev-clean":
        return corpus.split_by_speaker(librispeech, corpus.HELD_OUT_SPEAKERS)
    held_out = corpus.LibriSpeech("dev-clean", download=download)
    return librispeech, held_out.select(corpus.HELD_OUT_SPEAKERS)


def _test_data(name: str):
    from asrlib import corpus

    if name.startswith("minispeech-"):
        return corpus.MiniSpeech(name.removeprefix("minispeech-"))
    if name == "held-out":
        return corpus.LibriSpeech("dev-clean").select(corpus.HELD_OUT_SPEAKERS)
    return corpus.Manifest(name) if _is_manifest(name) else corpus.LibriSpeech(name)


def _is_manifest(name: str) -> bool:
    return name.endswith((".tsv", ".jsonl"))


def _runs() -> Path:
    return Path(os.environ.get("ASRLIB_CHECKPOINTS") or "runs")


def _newest_run() -> Path:
    files = sorted(_runs().glob("*/best.pt"), key=lambda file: file.stat().st_mtime)
    if not files:
        raise FileNotFoundError(
            f"no trained recognizer in {_runs()}/; train one (python -m asrlib train) or name one"
            " with --checkpoint"
        )
    return files[-1]


if __name__ == "__main__":
    sys.exit(main())
