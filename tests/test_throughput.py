"""asrlib.throughput: the counts behind the rates are right; the rates are the machine's."""

import pytest
import torch
from torch import nn

from asrlib import throughput
from asrlib.corpus import Utterance
from asrlib.model import ModelConfig, SpeechRecognitionModel, multiplications, output_lengths
from asrlib.throughput import inference_speed, train_speed
from tests.tones import tone_corpus


def counted(config):
    """Multiply-adds of a whole number of output frames, from the layers that ran."""
    total = 0

    def count(module, inputs, output):
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total += output.numel() * module.in_features
        else:
            total += inputs[0].shape[1] * sum(p.numel() for n, p in module.gru.named_parameters()
                                              if n.startswith("weight"))  # fmt: skip

    model = SpeechRecognitionModel(config).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) or hasattr(module, "gru"):
            module.register_forward_hook(count)
    frames = 40
    model(torch.randn(1, 1, config.n_mels, frames), torch.tensor([frames]))
    return total / output_lengths(frames, config)


@pytest.mark.parametrize("preset", ["original", "base", "small", "tiny"])
def test_multiplications_are_those_that_the_layers_do(preset):
    config = ModelConfig.preset(preset)
    assert multiplications(config) == counted(config)


def test_rates_are_seconds_of_speech_over_seconds_of_work(tmp_path, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(throughput, "now", lambda device: float(next(clock)))
    monkeypatch.setattr(throughput, "gigaflops", lambda *size: 50.0)
    corpus = tone_corpus(tmp_path)
    mean = sum(u.duration_seconds for u in corpus) / len(corpus)
    longest = max(u.duration_seconds for u in corpus)
    rows = {row.what: row for row in inference_speed("tiny", corpus, batches=len(corpus) - 1)}
    one = rows["recognition, one at a time"]  # the work and the GRUs alone take one tick each
    timed = sum(u.duration_seconds for u in corpus[1:])
    assert one.real_time == pytest.approx(timed) and one.recurrent == 1.0
    assert one.padding == pytest.approx(1.0)
    assert rows["recognition, padded to the longest"].padding == pytest.approx(longest / mean)
    frames = timed * 100 / 4  # a hop of 160, a stride of 4
    flops = 2 * multiplications(ModelConfig.preset("tiny")) * frames
    assert one.arithmetic == pytest.approx(flops / 1e9 / 50)
    trained = train_speed("tiny", corpus, batches=1)[0]
    assert trained.arithmetic / trained.real_time == pytest.approx(3 * one.arithmetic / timed)


def test_padded_clips_are_heard_to_their_end(tmp_path):
    corpus = tone_corpus(tmp_path)
    [batch] = throughput.batch_loader(throughput.SpeechDataset(corpus[:2]), [[0, 1]])
    padded = throughput._padded(batch, 50_000)
    assert (
        padded.waveforms.shape == (2, 50_000) and padded.waveform_lengths.tolist() == [50_000] * 2
    )
    assert isinstance(padded.utterances[0], Utterance)
    assert torch.equal(padded.waveforms[:, : batch.waveforms.shape[1]], batch.waveforms)
    assert padded.waveforms[:, batch.waveforms.shape[1] :].abs().sum() == 0
