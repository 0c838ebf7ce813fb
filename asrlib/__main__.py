"""The command line: python -m asrlib doctor | train | evaluate | transcribe | align | ..."""

import argparse
import json
import os
import sys
from dataclasses import fields
from pathlib import Path

DATA_HELP = (
    "minispeech (the embedded synthetic corpus), a LibriSpeech subset such as dev-clean, 8h (7.4"
    " hours of three subsets), either with -whole (the 8 held-out speakers, too), or your own"
    " manifest (.tsv or .jsonl with path, text, speaker)"
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
    options, rest = _parser().parse_known_args(arguments)
    if rest and options.command != "ablate":
        _parser().error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    try:
        return options.run(options) or 0
    except (ValueError, OSError, MemoryError, FloatingPointError) as error:
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
        help="any other field of TrainConfig, ModelConfig or FeatureConfig, such as time_masks=2",
    )
    train.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    train.add_argument("--device", help="cpu or cuda (default: cuda if there is one)")
    train.add_argument("--start-from", metavar="CHECKPOINT", help="begin with its weights")
    train.add_argument("--max-minutes", type=float, help="save and stop after so many minutes")
    train.add_argument("--download", action="store_true", help="fetch LibriSpeech if it is missing")
    train.set_defaults(run=_train)

    ablate = commands.add_parser(
        "ablate",
        help="train with one thing changed at a time, and compare",
        epilog="Anything else is handed on to train, for instance --epochs 12.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    ablate.add_argument("--preset", default="tiny", help="size: base, small or tiny")
    ablate.add_argument("--data", default="minispeech", help=DATA_HELP)
    ablate.add_argument("--folder", help="of all the runs (default: runs/ablation-PRESET-DATA)")
    ablate.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="each change has all")
    ablate.add_argument("--jobs", type=int, default=1, help="runs at a time")
    ablate.add_argument("--table", help="write the rows to this file, as JSON lines")
    ablate.set_defaults(run=_ablate)

    evaluate = commands.add_parser(
        "evaluate",
        help="count a recognizer's errors on a test set",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    evaluate.add_argument("--checkpoint", help="file, run folder or name (default: newest run)")
    evaluate.add_argument("--data", default="minispeech-test", help=SET_HELP)
    _add_search(evaluate, beam=16, language_model="books")
    evaluate.add_argument("--show", type=int, default=5, help="how many transcripts to print")
    evaluate.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    evaluate.add_argument("--device", default="cpu", help="cpu or cuda")
    evaluate.set_defaults(run=_evaluate)

    export = commands.add_parser(
        "export", help="write a run's best weights to a small file to share (float16)"
    )
    export.add_argument("checkpoint", help="file or run folder")
    export.add_argument("file", help="where to, ending in .pt")
    export.set_defaults(run=_export)

    transcribe = commands.add_parser("transcribe", help="write down what sound files say")
    transcribe.add_argument("files", nargs="+", metavar="FILE", help="WAV, FLAC, OGG or MP3")
    transcribe.add_argument("--checkpoint", help="file, run folder or name (default: newest run)")
    _add_search(transcribe, beam=0, language_model="none")
    transcribe.add_argument("--times", action="store_true", help="a line a word, with seconds")
    transcribe.set_defaults(run=_transcribe)

    align = commands.add_parser("align", help="find when each word of a known text is said")
    align.add_argument("file", metavar="FILE", help="WAV, FLAC, OGG or MP3")
    align.add_argument("text", metavar="TEXT", help="what is said in it")
    align.add_argument("--checkpoint", help="file, run folder or name (default: newest run)")
    align.add_argument(
        "--format", choices=("table", "json", "textgrid"), default="table", help="what to print"
    )
    align.set_defaults(run=_align)

    benchmark = commands.add_parser(
        "benchmark",
        help="how fast is it on this machine?",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    benchmark.add_argument(
        "what",
        choices=("train", "infer", "decoding", "ctc"),
        help="seconds of speech a second, beam searches, or the loss and its gradient",
    )
    benchmark.add_argument("--preset", default="base", help="network for train and infer")
    benchmark.add_argument("--data", default="minispeech", help="sound for train and infer")
    benchmark.add_argument("--device", help="cpu or cuda (default: cuda if there is one)")
    benchmark.add_argument("--frames", type=int, help="of an utterance (1000; for ctc 400)")
    benchmark.add_argument("--beam", type=int, default=50, help="beam size of all decoders")
    benchmark.set_defaults(run=_benchmark)

    playgrounds = commands.add_parser(
        "playgrounds", help="write a page to play with CTC and beam search; it needs no Python"
    )
    playgrounds.add_argument("--page", default="playgrounds.html", help="where to")
    playgrounds.add_argument(
        "--film", metavar="RUN", help="a run's folder: its training film comes along"
    )
    playgrounds.set_defaults(run=_playgrounds)

    figures = commands.add_parser("figures", help="redraw the stored figures from their results")
    figures.set_defaults(run=_figures)
    return parser


def _add_search(command: argparse.ArgumentParser, beam: int, language_model: str) -> None:
    command.add_argument("--beam", type=int, default=beam, help="beam size; 0: greedy search")
    command.add_argument(
        "--language-model",
        default=language_model,
        help="books (comes with asrlib), an ARPA file, or none",
    )
    command.add_argument("--alpha", type=float, default=0.5, help="weight of the language model")
    command.add_argument("--beta", type=float, default=1.0, help="added for each word")


def _doctor(options: argparse.Namespace) -> int:
    from asrlib.doctor import report

    return 0 if report() else 2


def _train(options: argparse.Namespace) -> None:
    import torch

    from asrlib.checkpoint import load_checkpoint
    from asrlib.features import FeatureConfig
    from asrlib.model import ModelConfig, parameter_count
    from asrlib.training import TrainConfig, Trainer

    torch.set_num_threads(options.threads)
    given = {k: v for k, v in vars(options).items() if v is not None}
    given |= dict(_setting(text, (TrainConfig, ModelConfig, FeatureConfig)) for text in options.set)

    def preset(kind):  # a setting such as n_mels belongs to more than one of them
        names = {field.name for field in fields(kind)}
        return kind.preset(options.preset, **{k: v for k, v in given.items() if k in names})

    model_config, config = preset(ModelConfig), preset(TrainConfig)
    train_set, validation_set = _training_data(options.data, options.download)
    folder = options.folder or _runs() / f"{options.preset}-{Path(options.data).stem}"
    trainer = Trainer(
        model_config,
        config,
        train_set,
        validation_set,
        folder=folder,
        feature_config=preset(FeatureConfig),
        device=options.device,
    )
    if options.start_from and not trainer.step:
        trainer.start_from(load_checkpoint(options.start_from)["weights"])
    if trainer.world.is_first:
        print(f"learn from  {train_set}\nchoose on   {validation_set}")
        many = f" and {trainer.world.size - 1} more" if trainer.world.size > 1 else ""
        print(
            f"{options.preset}: {parameter_count(trainer.model):,} parameters on {trainer.device}"
            f"{many}, {trainer.total_steps} steps, in {folder}"
            + (" (going on)" if trainer.step else "")
        )
    minutes = options.max_minutes
    trainer.fit(stop_after_seconds=60 * minutes if minutes else None)
    trainer.world.leave()


def _ablate(options: argparse.Namespace) -> None:
    from asrlib import ablation

    folder = options.folder or _runs() / f"ablation-{options.preset}-{Path(options.data).stem}"
    handed_on = ["--data", options.data, *options.rest]
    _, validation_set = _training_data(options.data, download="--download" in options.rest)
    if len(validation_set.speakers) < 2:
        raise ValueError(f"{validation_set}: to compare, two speakers are needed")
    ablation.run(Path(folder), handed_on, options.preset, options.seeds, options.jobs)
    rows = ablation.table(Path(folder), options.preset, options.seeds, validation_set)
    print(f"{'':28}{'WER of each seed':>20}{'change (95 %, other speakers)':>34}{'minutes':>10}")
    for row in rows:
        rates = " ".join(f"{100 * rate:.1f}" for rate in row.wer)
        interval = f"{100 * row.worse:+.1f} ({100 * row.low:+.1f} to {100 * row.high:+.1f})"
        print(f"{row.change:28}{rates:>18} %{interval:>34}{sum(row.minutes):10.1f}")
    if options.table:
        ablation.save_table(rows, Path(options.table))


def _evaluate(options: argparse.Namespace) -> None:
    import torch

    from asrlib.evaluation import Search, compare
    from asrlib.metrics import bootstrap_interval
    from asrlib.recognizer import Recognizer

    torch.set_num_threads(options.threads)
    recognizer = Recognizer.load(options.checkpoint or _newest_run(), device=options.device)
    corpus = _test_data(options.data)
    searches = [Search(), Search(options.beam), _search(options)] if options.beam else [Search()]
    searches = list(dict.fromkeys(searches))  # without a language model two are the same
    results = compare(recognizer.model, recognizer.extractor, corpus, searches)
    print(corpus)
    references = [u.text for u in results[0].utterances]
    speakers = [u.speaker for u in results[0].utterances]
    print(
        f"{'':14}{'WER':>7}{'95 % (other speakers)':>24}{'CER':>9}{'lost by search':>18}{'RTF':>8}"
    )
    for result in results:
        hypotheses = [h.text for h in result.hypotheses]
        interval = "one speaker"
        if len(set(speakers)) > 1:
            low, high = bootstrap_interval(references, hypotheses, speakers)
            interval = f"{100 * low:.1f} to {100 * high:.1f} %"
        wrong = sum(a.split() != b.split() for a, b in zip(references, hypotheses))
        print(
            f"{result.search!s:14}{100 * result.words.rate:5.1f} %{interval:>24}"
            f"{100 * result.characters.rate:7.1f} %{f'{result.search_errors} of {wrong}':>18}"
            f"{result.real_time_factor:8.3f}"
        )
        counts = result.words
        print(
            f"{'':14}{counts.substitutions} substituted, {counts.insertions} inserted,"
            f" {counts.deletions} deleted of {counts.words} words"
        )
    for n, reference in enumerate(references[: options.show]):
        print(f"\n  said   {reference}")
        for result in results:
            print(f"  {result.search!s:14} {result.hypotheses[n].text}")


def _export(options: argparse.Namespace) -> None:
    import torch

    from asrlib.checkpoint import save_checkpoint
    from asrlib.recognizer import Recognizer

    recognizer = Recognizer.load(options.checkpoint)
    weights = {name: value.half() for name, value in recognizer.model.state_dict().items()}
    far = [name for name, value in weights.items() if not torch.isfinite(value).all()]
    if far:
        raise ValueError(f"{far[0]} does not fit into float16")
    features = recognizer.extractor.config
    save_checkpoint(options.file, recognizer.model, features, recognizer.record, weights=weights)
    print(f"{options.file}: {Path(options.file).stat().st_size:,} bytes")


def _transcribe(options: argparse.Namespace) -> int:
    from asrlib.recognizer import Recognizer

    recognizer = Recognizer.load(options.checkpoint or _newest_run())
    search = _search(options)
    failed = 0
    for file in options.files:
        try:
            transcript = recognizer.transcribe(file, search=search)
        except (ValueError, FileNotFoundError) as error:
            print(f"asrlib transcribe: {error}", file=sys.stderr)
            failed += 1
            continue
        print(f"{file}: {transcript.text}")
        if options.times:
            for word in transcript.words:
                print(f"  {word.start:7.2f} {word.end:7.2f}  {word.confidence:4.2f}  {word.text}")
    return 2 if failed else 0


def _align(options: argparse.Namespace) -> None:
    from asrlib import audio
    from asrlib.recognizer import Recognizer
    from asrlib.subtitles import to_json, to_textgrid

    recognizer = Recognizer.load(options.checkpoint or _newest_run())
    waveform = audio.read(options.file)
    words = recognizer.align(waveform, options.text).words
    if options.format == "json":
        print(to_json(words))
    elif options.format == "textgrid":
        print(to_textgrid(words, round(len(waveform) / audio.SAMPLE_RATE, 3)), end="")
    else:
        for word in words:
            print(f"{word.start:7.2f} {word.end:7.2f}  {word.confidence:4.2f}  {word.text}")


def _benchmark(options: argparse.Namespace) -> None:
    import torch

    from asrlib import benchmark

    if options.what in ("train", "infer"):
        return _benchmark_speed(options)
    torch.set_num_threads(1)
    print(
        "one thread; the least processor time of several rounds in turns; calibration"
        f" {benchmark.gigaflops():.0f} GFLOP/s"
    )
    if options.what == "ctc":
        frames = options.frames or 400
        print(f"{frames} frames, batch 8, 60 labels, 29 symbols: loss and gradient")
        for row in benchmark.ctc(frames):
            print(
                f"{row['loss']:30}{1000 * row['seconds']:9.1f} ms{row['ratio']:7.2f} times torch;"
                f" gradients differ by {row['difference']:.0e}"
            )
        return
    frames = options.frames or 1000
    print(f"{frames} frames, 29 symbols, beam {options.beam}")
    rows = benchmark.decoding(frames, options.beam)
    print(f"{'emissions':10}{'decoder':22}{'ms':>9}{'times ours':>12}  same text")
    for row in rows:
        milliseconds, same = 1000 * row["seconds"], "yes" if row["same"] else "no"
        print(f"{row['kind']:10}{row['decoder']:22}{milliseconds:9.1f}{row['ratio']:12.2f}  {same}")
    missing = {"fast-ctc-decode", "flashlight"} - {row["decoder"] for row in rows}
    if missing:
        print(f"not installed, so not timed: {', '.join(sorted(missing))}")


def _benchmark_speed(options: argparse.Namespace) -> None:
    import torch

    from asrlib import benchmark, throughput

    torch.set_num_threads(1)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    utterances, _ = _training_data(options.data, download=False)
    how = "one thread, processor time" if device == "cpu" else "wall time"
    calibration = benchmark.gigaflops(device=device)
    print(f"{options.preset} on {device}, {how}; calibration {calibration:.0f} GFLOP/s")
    measure = throughput.train_speed if options.what == "train" else throughput.inference_speed
    columns = ("x real time", "RTF", "padding", "arithmetic", "recurrent")
    print(f"{'':36}" + "".join(f"{name:>12}" for name in columns))
    for row in measure(options.preset, utterances, device=device):
        print(
            f"{row.what:36}{row.real_time:12.1f}{1 / row.real_time:12.4f}{row.padding:12.2f}"
            f"{100 * row.arithmetic:10.0f} %{100 * row.recurrent:10.0f} %"
        )


def _playgrounds(options: argparse.Namespace) -> None:
    from asrlib.widgets import BeamPlayground, CTCPlayground, TrainingFilm

    cards = [CTCPlayground(), BeamPlayground()]
    if options.film:
        cards.append(TrainingFilm.load(options.film))
    head = "<!doctype html><html lang=en><meta charset=utf-8><title>Playgrounds</title>"
    head += "<meta name=viewport content='width=device-width'>"
    head += "<meta name=color-scheme content='light dark'>"
    look = "max-width: 720px; margin: 24px auto; padding: 0 8px; font: 16px/1.5 system-ui"
    head += f"<body style='{look}'>"
    head += (
        "<h1>Playgrounds</h1><p>In every frame of sound, some 25 a second, a recognizer names one"
        " symbol, or none: the blank. To read its path, merge what repeats, then drop the blanks."
        " Many paths spell the same text. The first playground adds them all up (CTC); the second"
        " looks for the text whose paths weigh most (beam search).</p>"
    )
    body = "\n".join(card._repr_html_() for card in cards)
    page = Path(options.page)
    page.write_text(f"{head}\n{body}\n", encoding="utf-8")
    print(f"open {page.resolve().as_uri()} in a browser")


def _figures(options: argparse.Namespace) -> None:
    from asrlib.plots.readme import redraw

    for path in redraw():
        print(path)


def _search(options: argparse.Namespace):
    from asrlib.evaluation import Search
    from asrlib.fusion import Fusion
    from asrlib.language_model import NGramModel

    name = options.language_model
    if name == "none":
        return Search(options.beam)
    arpa = name.endswith((".arpa", ".arpa.gz"))
    model = NGramModel.load_arpa(name) if arpa else NGramModel.load(name)
    return Search(options.beam or 16, Fusion(model, options.alpha, options.beta))


def _setting(text: str, kinds: tuple[type, ...]) -> tuple[str, object]:
    name, _, value = text.partition("=")
    names = [field.name for kind in kinds for field in fields(kind)]
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
    return corpus.librispeech_training_data(name, download=download)


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
