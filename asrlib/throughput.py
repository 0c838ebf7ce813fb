"""How many seconds of speech are learned from, or written down, in one second?

Sound is read before the clock starts. The pipeline this course begins with, which pads every clip
to the longest of the corpus, is timed in the same run: it is the zero line.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from asrlib.audio import SAMPLE_RATE
from asrlib.batching import Batch, LengthBucketSampler, SpeechDataset, batch_loader
from asrlib.benchmark import gigaflops, now
from asrlib.corpus import Utterance
from asrlib.decoding import greedy_search
from asrlib.features import FeatureConfig
from asrlib.model import ModelConfig, SpeechRecognitionModel, multiplications, output_lengths
from asrlib.recognizer import Recognizer
from asrlib.train_config import TrainConfig
from asrlib.training import Trainer


@dataclass(frozen=True)
class Speed:
    """One line of the table.

    Attributes:
        what: was timed.
        real_time: seconds of speech a second of work; its inverse is the real-time factor.
        padding: frames computed over frames of speech; 1 is none wasted.
        arithmetic: useful multiply-adds over what a large matrix product reaches on this device,
            in [0, 1]: how much of the machine's arithmetic goes into speech.
        recurrent: time of the GRU layers alone, which go frame by frame, over that of all.
    """

    what: str
    real_time: float
    padding: float
    arithmetic: float
    recurrent: float


def train_speed(
    preset: str, utterances: Sequence[Utterance], *, batches: int = 4, device: str = "cpu"
) -> list[Speed]:
    """Time training steps: features, augmentation, loss, gradient, update.

    Args:
        preset: of the network and the training.
        utterances: to learn from.
        batches: timed after one to warm up.
        device: "cpu" or "cuda".

    Returns:
        Length buckets, and every clip padded to the longest of the corpus.

    Example:
        >>> from asrlib.corpus import MiniSpeech
        >>> [row.what for row in train_speed("tiny", MiniSpeech("dev")[:9], batches=1)]
        ['training, length buckets', 'training, padded to the longest']
    """
    config = TrainConfig.preset(preset, speed_factors=(1.0,))  # a fast batch has fewer frames
    features = FeatureConfig.preset(preset)
    trainer = Trainer(
        ModelConfig.preset(preset), config, utterances, feature_config=features, device=device
    )
    dtype = trainer.dtype or torch.float32
    peak = gigaflops(1024 if device == "cpu" else 4096, device, dtype)
    bucketed = _load(trainer.train_set, list(trainer.sampler), batches)
    longest = max(utterance.duration_seconds for utterance in utterances)
    size = max(1, int(config.batch_seconds / longest))  # clips in a batch of the same memory
    order = torch.randperm(len(utterances), generator=torch.Generator().manual_seed(0)).tolist()
    drawn = [order[n : n + size] for n in range(0, len(order), size)]
    padded = _load(trainer.train_set, drawn, batches, pad_to=int(longest * SAMPLE_RATE))

    def learn(batch: Batch) -> None:
        trainer.train_step(batch)
        trainer.step += 1  # other dice, and not a logged step each time

    def row(name: str, chosen: list[Batch]) -> Speed:
        trainer.step = 1
        name, hop = f"training, {name}", features.hop_length
        return _speed(name, learn, chosen, trainer.model, hop, peak, dtype)

    return [row("length buckets", bucketed), row("padded to the longest", padded)]


def inference_speed(
    preset: str, utterances: Sequence[Utterance], *, batches: int = 4, device: str = "cpu"
) -> list[Speed]:
    """Time recognition from waveforms to text, greedily, with an untrained network.

    Args:
        preset: of the network.
        utterances: to recognize.
        batches: timed after one to warm up.
        device: "cpu" or "cuda".

    Returns:
        One utterance at a time, length buckets, all padded to the longest and, on the CPU, the
        first two with 8-bit weights.

    Example:
        >>> from asrlib.corpus import MiniSpeech
        >>> rows = inference_speed("tiny", MiniSpeech("dev")[:6], batches=1)
        >>> [row.what for row in rows][::4]
        ['recognition, one at a time', 'recognition, length buckets, 8 bit']
    """
    peak = gigaflops(1024 if device == "cpu" else 4096, device)
    torch.manual_seed(0)
    model = SpeechRecognitionModel(ModelConfig.preset(preset))
    features = FeatureConfig.preset(preset)
    recognizer, hop = Recognizer(model, features, device=device), features.hop_length
    dataset, longest = SpeechDataset(utterances), max(u.duration_seconds for u in utterances)
    sampler = LengthBucketSampler([u.duration_seconds for u in utterances], 120.0)
    bucketed = _load(dataset, list(sampler), batches)
    singles = _load(dataset, [[n] for n in range(len(utterances))], batches)
    size = max(1, int(120.0 / longest))
    drawn = [list(range(n, min(n + size, len(dataset)))) for n in range(0, len(dataset), size)]
    padded = _load(dataset, drawn, batches, pad_to=int(longest * SAMPLE_RATE))

    def recognize(recognizer: Recognizer) -> Callable[[Batch], object]:
        def run(batch: Batch) -> object:
            waveforms = batch.waveforms.to(recognizer.device)
            outputs = recognizer.extractor(waveforms, batch.waveform_lengths)
            return greedy_search(*recognizer.model(*outputs))

        return run

    cases = [("one at a time", recognizer, singles), ("length buckets", recognizer, bucketed)]
    cases.append(("padded to the longest", recognizer, padded))
    if device == "cpu":
        int8 = recognizer.quantized()
        cases += [
            ("one at a time, 8 bit", int8, singles),
            ("length buckets, 8 bit", int8, bucketed),
        ]
    with torch.inference_mode():
        return [
            _speed(f"recognition, {name}", recognize(how), chosen, how.model, hop, peak)
            for name, how, chosen in cases
        ]


def _speed(
    what: str,
    work: Callable[[Batch], object],
    batches: list[Batch],
    model: nn.Module,
    hop_length: int,
    peak: float,
    dtype: torch.dtype = torch.float32,
) -> Speed:
    """Time the batches after the first, and then the GRU layers alone on as many frames."""
    device = model.stem[0].weight.device
    learning = torch.is_grad_enabled()

    def recur(batch: Batch) -> None:
        lengths = output_lengths(batch.waveform_lengths // hop_length + 1, model.config)
        size = len(lengths), int(lengths.max()), model.config.rnn_size
        x = torch.randn(size, device=device, requires_grad=learning)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            for layer in model.rnn:
                x = layer(x, lengths)
        if learning:
            x.sum().backward()

    seconds = []
    for run in (work, recur):
        run(batches[0])
        began = now(device)
        for batch in batches[1:]:
            run(batch)
        seconds.append(now(device) - began)
    model.zero_grad(set_to_none=True)
    speech = sum(u.duration_seconds for batch in batches[1:] for u in batch.utterances)
    computed = sum(batch.waveforms.numel() for batch in batches[1:]) / SAMPLE_RATE
    frames = speech * SAMPLE_RATE / hop_length / model.config.time_stride
    flops = (3 if learning else 1) * 2 * multiplications(model.config) * frames
    return Speed(
        what,
        speech / seconds[0],
        computed / speech,
        flops / seconds[0] / 1e9 / peak,
        seconds[1] / seconds[0],
    )


def _load(
    dataset: SpeechDataset, indices: list[list[int]], count: int, pad_to: int = 0
) -> list[Batch]:
    """Read one batch to warm up and `count` to time, evenly chosen: not only short or long ones."""
    if count < 1:
        raise ValueError(f"batches={count}; at least 1 must be timed")
    step = max(1, len(indices) // (count + 1))
    chosen = indices[::step][: count + 1]
    batches = list(batch_loader(dataset, chosen if len(chosen) > 1 else chosen * 2))
    return [_padded(batch, pad_to) for batch in batches] if pad_to else batches


def _padded(batch: Batch, samples: int) -> Batch:
    """Make every clip as long as the longest of the corpus, its padding treated as sound."""
    waveforms = nn.functional.pad(batch.waveforms, (0, samples - batch.waveforms.shape[1]))
    return batch._replace(
        waveforms=waveforms, waveform_lengths=torch.full_like(batch.waveform_lengths, samples)
    )
