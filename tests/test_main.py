"""The command line: one clear sentence and exit code 2 for bad input, the whole road for good."""

import json
import math

import pytest
import torch

from asrlib import audio
from asrlib.__main__ import main
from asrlib.history import History
from asrlib.recognizer import Recognizer


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    """Ten tones of three seconds with ten short texts, in a folder of their own."""
    monkeypatch.setenv("ASRLIB_CHECKPOINTS", str(tmp_path / "runs"))
    lines = ["path\ttext\tspeaker"]
    for n in range(10):
        tone = 0.3 * torch.sin(2 * math.pi * (200 + 50 * n) * torch.arange(48_000) / 16_000)
        audio.write(tmp_path / f"{n}.wav", tone)
        lines.append(f"{n}.wav\tclip {'abcdefghij'[n]}\tspeaker{n % 3}")
    file = tmp_path / "mine.tsv"
    file.write_text("\n".join(lines) + "\n")
    return file


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    return code, capsys.readouterr()


def test_train_evaluate_transcribe_in_a_row(manifest, capsys):
    train = ("train", "--data", manifest, "--epochs", 1, "--device", "cpu")
    code, said = run(capsys, *train)
    assert code == 0 and "epoch   1/1" in said.out
    runs = manifest.parent / "runs" / "tiny-mine"
    assert sorted(file.name for file in runs.iterdir()) == [
        "best.pt",
        "flight.jsonl",
        "history.jsonl",
        "last.pt",
    ]
    code, said = run(capsys, *train)
    assert code == 0 and "going on" in said.out and "epoch   1/1" not in said.out
    code, said = run(capsys, "evaluate", "--data", manifest, "--show", 2)
    assert code == 0 and said.out.count("  said ") == 2
    for name in ("greedy", "beam 16", "beam 16 + LM"):  # in the table, and in each example
        assert sum(line[:16].strip() == name for line in said.out.splitlines()) >= 2
        assert f"\n{name} " in said.out
    assert "lost by search" in said.out and "RTF" in said.out
    search = ("--beam", 2, "--language-model", "none", "--show", 0)
    code, said = run(capsys, "evaluate", "--data", manifest, *search)
    assert code == 0 and "beam 2" in said.out and "LM" not in said.out
    code, said = run(capsys, "transcribe", manifest.parent / "0.wav", "--times")
    assert code == 0 and said.out.startswith(str(manifest.parent / "0.wav"))
    with_model = ("transcribe", manifest.parent / "0.wav", "--language-model", "books")
    code, said = run(capsys, *with_model)
    assert code == 0 and said.out.startswith(str(manifest.parent / "0.wav"))
    code, said = run(capsys, *with_model[:-1], "gone.arpa")
    assert code == 2 and "gone.arpa" in said.err
    code, said = run(capsys, "align", manifest.parent / "0.wav", "clip a")
    assert code == 0 and [line.split()[-1] for line in said.out.splitlines()] == ["clip", "a"]
    align = ("align", manifest.parent / "0.wav", "clip a", "--format")
    code, said = run(capsys, *align, "json")
    assert code == 0 and [word["text"] for word in json.loads(said.out)] == ["clip", "a"]
    code, said = run(capsys, *align, "textgrid")
    assert code == 0 and 'text = "clip"' in said.out and "xmax = 3.0" in said.out
    code, said = run(capsys, "align", manifest.parent / "0.wav", "too long a text " * 9)
    assert code == 2 and "output frames, there are 76" in said.err


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (
            ["train", "--preset", "larg"],
            "unknown preset 'larg'; choose original, base, small, tiny",
        ),
        (["train", "--data", "dev-claen"], "unknown subset 'dev-claen'; choose dev-clean"),
        (["train", "--data", "none.tsv"], "none.tsv: no such file"),
        (["train", "--data", "{manifest}", "--epochs", "0"], "epochs=0 must be positive"),
        (["train", "--set", "lr=3"], "no setting 'lr'; there are epochs"),
        (["evaluate", "--checkpoint", "nothing"], "no checkpoint 'nothing'"),
        (["evaluate"], "no trained recognizer in"),
        (["transcribe", "x.wav"], "no trained recognizer in"),
        (["align", "x.wav", "hello"], "no trained recognizer in"),
    ],
)
def test_bad_input_gets_one_sentence_and_nothing_is_written(manifest, capsys, arguments, sentence):
    code, said = run(capsys, *(a.format(manifest=manifest) for a in arguments))
    assert code == 2
    assert sentence in said.err and len(said.err.strip().splitlines()) == 1
    assert not (manifest.parent / "runs").exists()


def test_missing_librispeech_says_what_to_do(manifest, capsys, monkeypatch):
    monkeypatch.setenv("ASRLIB_DATA", str(manifest.parent / "empty"))
    code, said = run(capsys, "train", "--data", "dev-clean")
    assert code == 2 and "set ASRLIB_DATA" in said.err and "download" in said.err


def test_bad_files_are_named_and_the_good_ones_are_transcribed(manifest, capsys):
    run(capsys, "train", "--data", manifest, "--epochs", 1, "--device", "cpu")
    folder = manifest.parent
    (folder / "text.wav").write_text("no sound")
    audio.write(folder / "empty.wav", torch.zeros(0))
    files = [folder / "text.wav", folder / "empty.wav", folder / "gone.wav", folder / "1.wav"]
    code, said = run(capsys, "transcribe", *files)
    assert code == 2
    assert len(said.err.strip().splitlines()) == 3
    assert "empty.wav: 0 samples" in said.err and "gone.wav: no such file" in said.err
    assert said.out.startswith(str(folder / "1.wav"))


@pytest.mark.parametrize(
    "command", ["doctor", "train", "evaluate", "transcribe", "align", "benchmark"]
)
def test_help_is_there(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert "usage: python -m asrlib" in capsys.readouterr().out


def test_unknown_command_exits_with_2(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["trian"])
    assert stop.value.code == 2


def test_doctor_names_what_is_here(capsys):
    code, said = run(capsys, "doctor")
    assert code == 0
    for word in ("Python", "torch 2.11.0", "device: ", "MiniSpeech train", "disk: "):
        assert word in said.out


def test_doctor_names_what_is_missing(capsys, monkeypatch):
    monkeypatch.setattr("asrlib.doctor.NEEDED", ("torch", "no-such-package"))
    code, said = run(capsys, "doctor")
    assert code == 2 and "no-such-package is missing: pip install no-such-package" in said.out


def test_the_benchmark_prints_a_row_for_each_decoder(capsys):
    code, said = run(capsys, "benchmark", "decoding", "--frames", 20, "--beam", 3)
    assert code == 0 and "GFLOP/s" in said.out
    for name in ("greedy search", "beam search", "readable beam search", "fast-ctc-decode"):
        assert sum(line[10:].startswith(f"{name} ") for line in said.out.splitlines()) == 3
    code, said = run(capsys, "benchmark", "ctc", "--frames", 150)
    assert code == 0 and "asrlib.ctc.ctc_loss" in said.out and "times torch" in said.out


def test_the_playgrounds_are_one_page_that_loads_nothing(capsys, tmp_path):
    page = tmp_path / "play.html"
    code, said = run(capsys, "playgrounds", "--page", page)
    assert code == 0 and page.as_uri() in said.out
    text = page.read_text(encoding="utf-8")
    assert "asrlib-ctc_playground" in text and "asrlib-beam_playground" in text
    assert "https://" not in text and "src=" not in text.split("<script")[0]


def test_an_exported_checkpoint_is_small_says_the_same_and_starts_another_run(
    manifest, capsys, tmp_path
):
    train = ("train", "--data", manifest, "--device", "cpu", "--epochs", 2)
    run(capsys, *train)
    home, file = manifest.parent / "runs" / "tiny-mine", tmp_path / "shared.pt"
    code, said = run(capsys, "export", home, file)
    assert code == 0 and file.stat().st_size < 0.3 * (home / "last.pt").stat().st_size
    ours, theirs = Recognizer.load(home), Recognizer.load(file)
    assert theirs.record == ours.record
    sound = torch.randn(16000) / 10
    torch.testing.assert_close(ours.log_probs(sound), theirs.log_probs(sound), rtol=0, atol=0.02)

    warm = tmp_path / "warm"
    code, said = run(capsys, *train, "--start-from", file, "--folder", warm, "--max-minutes", 1e-9)
    assert code == 0
    first = History(warm / "history.jsonl").rows[0]["loss"]
    assert first < 0.9 * History(home / "history.jsonl").rows[0]["loss"]  # not a random start
    code, said = run(capsys, *train, "--start-from", file, "--folder", warm)
    assert code == 0 and "going on" in said.out  # the second time there is nothing to start
    code, said = run(
        capsys, *train, "--start-from", file, "--folder", tmp_path / "x", "--set", "rnn_size=64"
    )
    assert code == 2 and "weights of another network" in said.err
