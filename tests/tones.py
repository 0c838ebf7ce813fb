"""A language that a small network learns in seconds: every letter is a tone of its own pitch."""

import functools
import math
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from asrlib.audio import SAMPLE_RATE
from asrlib.corpus import Manifest
from asrlib.model import ModelConfig
from asrlib.training import TrainConfig, Trainer

LETTERS = "abcdefghijklmnopqrstuvwxyz'"
LETTER_SECONDS = 0.08  # two output frames; a space is as long, and quiet
LEAD_SECONDS = 0.08  # of quiet at both ends
TEXTS = ("a cat", "a dog", "cats eat", "dogs nod", "ten cats", "ten dogs", "no goat", "one toad")

# One of the smallest networks there are; no dropout, so that it can learn a set by heart.
TINY = ModelConfig.preset("tiny", channels=8, rnn_size=32, rnn_layers=1, dropout=0.0)
# No augmentation: what is heard is exactly what was written.
PLAIN = {"speed_factors": (1.0,), "frequency_masks": 0, "time_masks": 0}


def tones(text: str, seed: int = 0) -> np.ndarray:
    """Say a text: float32 samples at 16 kHz, each letter of its own level, with a little noise."""
    dice = np.random.default_rng([seed, *text.encode()])
    time = np.arange(round(LETTER_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    fade = np.minimum(1, np.minimum(time, time[::-1]) / 0.005)
    lead = np.zeros(round(LEAD_SECONDS * SAMPLE_RATE))
    parts = [lead]
    for character in text:
        if character == " ":
            parts.append(np.zeros(len(time)))
            continue
        place = LETTERS.index(character) / (len(LETTERS) - 1)
        pitch = 300 * (6000 / 300) ** place  # evenly apart to the ear
        parts.append(dice.uniform(0.2, 0.4) * fade * np.sin(2 * math.pi * pitch * time))
    samples = np.concatenate([*parts, lead])
    return (samples + 0.003 * dice.standard_normal(len(samples))).astype(np.float32)


def word_places(text: str) -> list[tuple[str, float, float]]:
    """Where the words of a text lie in its sound: (word, start, end) in seconds."""
    places, position = [], 0
    for word in text.split(" "):
        start = LEAD_SECONDS + position * LETTER_SECONDS
        places.append((word, start, start + len(word) * LETTER_SECONDS))
        position += len(word) + 1
    return places


def write_manifest(folder: Path, texts=TEXTS, speakers=("ann", "bob")) -> Path:
    """Write a sound file a text, the speakers taking turns, and the manifest that lists them."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["path\ttext\tspeaker"]
    for n, text in enumerate(texts):
        soundfile.write(folder / f"clip{n:03d}.wav", tones(text), SAMPLE_RATE)
        lines.append(f"clip{n:03d}.wav\t{text}\t{speakers[n % len(speakers)]}")
    path = folder / "tones.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def tone_corpus(folder: Path, texts=TEXTS, speakers=("ann", "bob")) -> Manifest:
    """The same as a corpus."""
    return Manifest(write_manifest(folder, texts, speakers))


@functools.cache
def learned_by_heart() -> Trainer:
    """A trainer that has just learned TEXTS; made once for all tests, so leave it as it is."""
    config = TrainConfig(epochs=180, batch_seconds=60.0, learning_rate=2e-2, ema_decay=0.9, **PLAIN)
    with tempfile.TemporaryDirectory() as folder:  # the trainer keeps the sounds in memory
        trainer = Trainer(TINY, config, tone_corpus(Path(folder)), device="cpu")
        trainer.fit(say=lambda line: None)
    return trainer
