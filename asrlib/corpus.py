"""Collections of recorded sentences: LibriSpeech, the embedded MiniSpeech, and the reader's own.

A corpus is a sequence of utterances. Whatever cannot be used (a missing or broken file, a text
outside the alphabet) is named in `skipped` and on the screen, never dropped silently.
"""

import csv
import json
import os
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile
from jaxtyping import Float32
from torch import Tensor

from asrlib.audio import read
from asrlib.download import download_librispeech, librispeech_digests
from asrlib.text import Tokenizer, normalize

# Held out of dev-clean to choose everything on: 4 listed as F, 4 as M (its SPEAKERS.TXT).
HELD_OUT_SPEAKERS = ("1462", "2035", "3576", "6313", "1272", "2902", "5694", "7976")

# What the "8h" recipe of notebooks/RESULTS.md adds to dev-clean: 3.07 h of two other subsets.
EIGHT_HOURS = {
    "dev-other": tuple("116 1255 1585 1630 1650 1651 1686 1701 2506 3660 3663 700".split()),
    "train-clean-100": ("19", "26", "27"),
}


@dataclass(frozen=True)
class Utterance:
    """One recorded sentence: a stretch of a sound file, its text and its speaker.

    Attributes:
        id: a name, unique in its corpus.
        path: the sound file.
        text: what is said, in the alphabet.
        speaker: who says it.
        duration_seconds: how long.
        start_seconds: where in the file it begins.
    """

    id: str
    path: Path
    text: str
    speaker: str
    duration_seconds: float
    start_seconds: float = 0.0

    def load(self) -> Float32[Tensor, " samples"]:
        """Read the sound; errors as in `asrlib.audio.read`."""
        return read(self.path, self.start_seconds, self.duration_seconds)


class Corpus(Sequence[Utterance]):
    """A sequence of utterances with the list of what had to be skipped.

    Example:
        >>> corpus = MiniSpeech("test")
        >>> corpus[0].speaker in corpus.speakers, len(corpus[:3])
        (True, 3)
    """

    def __init__(
        self, name: str, utterances: Iterable[Utterance], skipped: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Collect utterances.

        Args:
            name: what reports call the collection.
            utterances: its members.
            skipped: (what, why) of everything that could not be used.
        """
        self.name, self.utterances, self.skipped = name, list(utterances), list(skipped)

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index):  # a slice gives a corpus
        if isinstance(index, slice):
            return Corpus(self.name, self.utterances[index])
        return self.utterances[index]

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)

    def __repr__(self) -> str:
        return (
            f"{self.name}: {len(self)} utterances, {len(self.speakers)} speakers, "
            f"{self.seconds / 3600:.2f} h"
        )

    @property
    def speakers(self) -> list[str]:
        """The speakers, sorted."""
        return sorted({utterance.speaker for utterance in self})

    @property
    def seconds(self) -> float:
        """The duration of all utterances together."""
        return sum(utterance.duration_seconds for utterance in self)

    def select(self, speakers: Iterable[str]) -> "Corpus":
        """Keep the utterances of some speakers.

        Raises:
            ValueError: a speaker is not in the corpus.
        """
        wanted = set(speakers)
        unknown = sorted(wanted - set(self.speakers))
        if unknown:
            raise ValueError(
                f"{self.name} has no speaker {unknown[0]!r}; it has {self.speakers[:8]}..."
            )
        return Corpus(self.name, (u for u in self if u.speaker in wanted))

    def _report(self) -> None:
        for what, why in self.skipped[:10]:
            print(f"skipped {what}: {why}", file=sys.stderr)
        if len(self.skipped) > 10:
            print(f"skipped {len(self.skipped) - 10} more, see .skipped", file=sys.stderr)


def data_root() -> Path:
    """Where corpora live: the folder that ASRLIB_DATA names, else ~/asrlib-data."""
    return Path(os.environ.get("ASRLIB_DATA") or Path.home() / "asrlib-data")


def has_librispeech(subset: str = "dev-clean", root: Path | None = None) -> bool:
    """Tell whether a LibriSpeech subset is on this disk."""
    return ((root or data_root()) / "LibriSpeech" / subset).is_dir()


class LibriSpeech(Corpus):
    """A subset of LibriSpeech (Panayotov et al. 2015), read from disk or downloaded.

    Example:
        >>> corpus = LibriSpeech("dev-clean")                              # doctest: +SKIP
        >>> corpus                                                         # doctest: +SKIP
        LibriSpeech dev-clean: 2703 utterances, 40 speakers, 5.39 h
    """

    def __init__(
        self, subset: str = "dev-clean", root: Path | str | None = None, *, download: bool = False
    ) -> None:
        """Index a subset; this reads transcripts and file headers, no audio.

        Args:
            subset: "dev-clean", "test-clean", "train-clean-100", ...
            root: the folder that holds `LibriSpeech/<subset>`; `data_root()` if not given.
            download: fetch the subset when it is missing (resumable, digest checked).

        Raises:
            ValueError: unknown subset.
            FileNotFoundError: it is not on this disk and `download` is False, or it is empty.
        """
        import torchaudio.datasets  # here: a second to import, and only this class needs it

        if subset not in librispeech_digests():
            raise ValueError(
                f"unknown subset {subset!r}; choose {', '.join(librispeech_digests())}"
            )
        root = Path(root) if root else data_root()
        if not has_librispeech(subset, root):
            if not download:
                raise FileNotFoundError(
                    f"no LibriSpeech {subset} in {root}; set ASRLIB_DATA to the folder that holds"
                    f" LibriSpeech/{subset}, or say LibriSpeech({subset!r}, download=True)"
                )
            download_librispeech(subset, root)
        index = torchaudio.datasets.LIBRISPEECH(root, url=subset)
        utterances, skipped = [], []
        found = set()
        for n in range(len(index)):
            try:
                path, _, text, speaker, chapter, _ = index.get_metadata(n)
            except (FileNotFoundError, ValueError):  # its line or the whole .trans.txt is missing
                skipped.append((f"{index._walker[n]}.flac", "no transcript"))
                continue
            name = Path(path).stem
            found.add(name)
            path = root / "LibriSpeech" / subset / str(speaker) / str(chapter) / Path(path).name
            try:
                seconds = _duration(path)
            except ValueError as error:
                skipped.append((path.name, str(error)))
                continue
            utterances.append(Utterance(name, path, text.lower(), str(speaker), seconds))
        for file in (root / "LibriSpeech" / subset).glob("*/*/*.trans.txt"):
            for line in file.read_text().splitlines():
                if line.split(" ", 1)[0] not in found:
                    skipped.append(
                        (line.split(" ", 1)[0] + ".flac", "in the transcripts, not on disk")
                    )
        super().__init__(f"LibriSpeech {subset}", utterances, skipped)
        self._report()
        if not utterances:
            raise FileNotFoundError(f"{root / 'LibriSpeech' / subset} holds no usable utterance")


class Manifest(Corpus):
    """Recordings listed in a text file: the reader's own, or MiniSpeech.

    A TSV file with a header line, or JSON lines. Columns: `path` (relative to the manifest),
    `text`, `speaker`; optional `start_seconds`, `duration_seconds`, `id`, and any others to choose
    rows by.

    Example:
        >>> import tempfile, torch
        >>> from asrlib.audio import write
        >>> folder = Path(tempfile.mkdtemp())
        >>> write(folder / "one.wav", torch.zeros(16000))
        >>> lines = "path\\ttext\\tspeaker\\none.wav\\tHello you!\\tme\\n"
        >>> _ = (folder / "mine.tsv").write_text(lines)
        >>> Manifest(folder / "mine.tsv")[0].text
        'hello you'
    """

    def __init__(self, path: Path | str, *, name: str = "", **where: str) -> None:
        """Read a manifest; this reads file headers, no audio.

        Args:
            path: the .tsv or .jsonl file.
            name: what reports call it; the file's name if empty.
            where: keep only rows whose column has this value, for instance split="train".

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: a needed column is missing, a line is not JSON, an id occurs twice, or no
                row is left.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
        tokenizer = Tokenizer()
        utterances, skipped = [], []
        durations: dict[Path, float] = {}
        ids: set[str] = set()
        for line, row in _rows(path):
            missing = {"path", "text", "speaker", *where} - {
                k for k, v in row.items() if v is not None
            }
            if missing:
                raise ValueError(f"{path}, line {line}: no {', '.join(sorted(missing))}")
            if any(row[column] != value for column, value in where.items()):
                continue
            file = path.parent / row["path"]
            text = normalize(row["text"])
            try:
                tokenizer.encode(text)
                if file not in durations:
                    durations[file] = _duration(file)
                start = float(row.get("start_seconds") or 0.0)
                seconds = float(row.get("duration_seconds") or durations[file] - start)
                left = durations[file] - start
                if not (start >= 0 and left > 0 and 0 < seconds <= left + 1e-3):
                    raise ValueError(
                        f"{start}..{start + seconds} s is outside 0..{durations[file]} s"
                    )
                seconds = min(seconds, left)  # a rounded duration may end past the file
            except (ValueError, FileNotFoundError) as error:
                skipped.append((f"{path.name}, line {line} ({row['path']})", str(error)))
                continue
            name_of_row = row.get("id") or f"{Path(row['path']).stem}-{line:04d}"
            if name_of_row in ids:
                raise ValueError(f"{path}, line {line}: id {name_of_row!r} occurs a second time")
            ids.add(name_of_row)
            utterances.append(Utterance(name_of_row, file, text, row["speaker"], seconds, start))
        if not utterances:
            chosen = f" with {where}" if where else ""
            raise ValueError(
                f"{path}: no usable row{chosen}" + (f"; {skipped[0]}" if skipped else "")
            )
        super().__init__(name or path.stem, utterances, skipped)
        self._report()


class MiniSpeech(Manifest):
    """The embedded corpus: synthetic speech of many voices reading sentences of 40 words.

    Example:
        >>> train, test = MiniSpeech("train"), MiniSpeech("test")
        >>> set(train.speakers) & set(test.speakers)
        set()
    """

    def __init__(self, split: str = "train") -> None:
        """Open a split.

        Args:
            split: "train", "dev", "test", or "unseen" (a synthesizer of another kind).

        Raises:
            ValueError: unknown split.
        """
        splits = ("train", "dev", "test", "unseen")
        if split not in splits:
            raise ValueError(f"unknown split {split!r}; choose {', '.join(splits)}")
        folder = Path(__file__).parent / "minispeech"
        name = f"MiniSpeech {split} (synthetic speech)"
        super().__init__(folder / "manifest.tsv", name=name, split=split)


def split_by_speaker(corpus: Corpus, held_out: Iterable[str]) -> tuple[Corpus, Corpus]:
    """Split a corpus so that no voice is on both sides.

    Args:
        corpus: what to split.
        held_out: speakers of the second part.

    Returns:
        (the rest, the held-out part).

    Raises:
        ValueError: a speaker is unknown, or nothing is left on one side.

    Example:
        >>> rest, held_out = split_by_speaker(MiniSpeech("test"), ["bf_emma"])
        >>> held_out.speakers
        ['bf_emma']
    """
    held_out = set(held_out)
    second = corpus.select(held_out)
    first = corpus.select(set(corpus.speakers) - held_out)
    if not len(first) or not len(second):
        raise ValueError(f"{len(first)} utterances to keep, {len(second)} held out; both need some")
    check_disjoint(first, second, "speaker")
    return first, second


def librispeech_training_data(
    name: str, *, root: Path | None = None, download: bool = False
) -> tuple[Corpus, Corpus]:
    """Collect what the recipes of notebooks/RESULTS.md learn from and choose on.

    Args:
        name: a subset; "dev-clean" leaves out the 8 held-out speakers, "8h" is that and the
            `EIGHT_HOURS`. With "-whole" after either the held-out speakers take part: for the
            last run of a recipe whose every choice is made.
        root: where LibriSpeech lives; `data_root()` if not given.
        download: fetch a subset that is missing.

    Returns:
        (what to learn from, the 8 held-out speakers of dev-clean).

    Raises:
        FileNotFoundError: a subset is missing and not downloaded.
        ValueError: no subset of that name.
    """
    base, subset = name.removesuffix("-whole"), None
    if base not in ("dev-clean", "8h"):
        subset = LibriSpeech(name, root=root, download=download)  # an unknown name ends here
    everyone = LibriSpeech("dev-clean", root=root, download=download)
    rest, held_out = split_by_speaker(everyone, HELD_OUT_SPEAKERS)
    if subset:
        return subset, held_out
    parts = [everyone if name.endswith("-whole") else rest]
    if base == "8h":
        for other, speakers in EIGHT_HOURS.items():
            parts.append(LibriSpeech(other, root=root, download=download).select(speakers))
    return Corpus(f"LibriSpeech {name}", [u for part in parts for u in part]), held_out


def split_by_text(corpus: Corpus, share: float, seed: int = 0) -> tuple[Corpus, Corpus]:
    """Split a corpus so that no sentence is on both sides, whoever reads it.

    Args:
        corpus: what to split.
        share: of the distinct texts for the second part, in (0, 1).
        seed: of the choice.

    Returns:
        (the rest, the held-out part).

    Raises:
        ValueError: share is outside (0, 1), or nothing is left on one side.

    Example:
        >>> rest, held_out = split_by_text(MiniSpeech("train"), 0.1)
        >>> {u.text for u in rest} & {u.text for u in held_out}
        set()
    """
    texts = sorted({utterance.text for utterance in corpus})
    count = round(share * len(texts))
    if not 0 < count < len(texts):
        raise ValueError(
            f"share={share} holds out {count} of {len(texts)} texts; both sides need some"
        )
    held_out = set(random.Random(seed).sample(texts, count))
    first = Corpus(corpus.name, (u for u in corpus if u.text not in held_out))
    second = Corpus(corpus.name, (u for u in corpus if u.text in held_out))
    check_disjoint(first, second, "text")
    return first, second


def check_disjoint(first: Corpus, second: Corpus, *attributes: str) -> None:
    """Make sure that two parts share nothing.

    Args:
        first: one part.
        second: the other.
        attributes: of the utterances: "speaker", "text", "id".

    Raises:
        ValueError: they share something; the message gives an example.

    Example:
        >>> check_disjoint(MiniSpeech("train"), MiniSpeech("test"), "speaker", "text")
    """
    for attribute in attributes:
        shared = {getattr(u, attribute) for u in first} & {getattr(u, attribute) for u in second}
        if shared:
            raise ValueError(
                f"{first.name} and {second.name} share {len(shared)} {attribute}s, for instance"
                f" {min(shared)!r}"
            )


def _duration(path: Path) -> float:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        info = soundfile.info(path)
    except soundfile.SoundFileError as error:
        raise ValueError(f"{path}: not a readable sound file ({error})") from None
    if info.frames == 0:
        raise ValueError(f"{path}: 0 samples")
    return info.frames / info.samplerate


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error})") from None
    if path.suffix == ".jsonl":
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise ValueError(f"{path}, line {number}: not JSON ({error})") from None
                if not isinstance(row, dict):
                    raise ValueError(f"{path}, line {number}: not a JSON object")
                yield number, {key: str(value) for key, value in row.items() if value is not None}
    else:
        reader = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        for row in reader:
            yield reader.line_num, row  # not a count of rows: blank lines are no rows
