"""asrlib.flight: the record holds what the network said, and reading it changes nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from asrlib.batching import SpeechDataset, collate
from asrlib.decoding import greedy_search
from asrlib.features import FeatureExtractor
from asrlib.flight import FlightRecorder, load_flight
from asrlib.model import SpeechRecognitionModel
from asrlib.training import TrainConfig, Trainer
from tests.tones import PLAIN, TINY, tone_corpus

ROW = {"loss": 2.5, "gradient_norm": 7.0, "blank_fraction": 0.25, "learning_rate": 0.1}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tone_corpus(tmp_path_factory.mktemp("tones"))


def test_a_moment_holds_what_the_network_says(corpus, tmp_path):
    model = SpeechRecognitionModel(TINY).train()
    recorder = FlightRecorder(corpus, FeatureExtractor(), tmp_path / "flight.jsonl")
    recorder.record(1, model, ROW)
    assert model.training  # as it was found
    texts, [moment] = load_flight(tmp_path / "flight.jsonl")
    assert texts == [utterance.text for utterance in corpus[:5]]
    assert (moment.step, moment.loss, moment.gradient_norm, moment.blank_fraction) == (
        1,
        2.5,
        7,
        0.25,
    )
    batch = collate([SpeechDataset(corpus)[n] for n in range(5)])
    with torch.no_grad():
        log_probs, lengths = model.eval()(
            *FeatureExtractor()(batch.waveforms, batch.waveform_lengths)
        )
    assert moment.texts == [h.text for h in greedy_search(log_probs, lengths)]
    for n, posteriors in enumerate(moment.posteriors):
        exact = log_probs[n, : lengths[n]].exp().numpy()
        assert posteriors.shape == exact.shape and posteriors.dtype == np.uint8
        assert np.abs(posteriors / 255 - exact).max() <= 0.5 / 255 + 1e-6


def test_clips_fit_a_player_where_there_are_enough_of_them(corpus):
    seconds = [9.0, 3.0, 5.0, 2.0, 4.0, 1.0, 3.5, 8.0]
    timed = [replace(u, duration_seconds=s) for u, s in zip(corpus, seconds, strict=True)]
    chosen = FlightRecorder(timed, FeatureExtractor()).clips.utterances
    assert [u.duration_seconds for u in chosen] == [3.0, 2.0, 4.0, 1.0, 3.5]
    chosen = FlightRecorder(timed[:5], FeatureExtractor()).clips.utterances
    assert [u.duration_seconds for u in chosen] == [2.0, 3.0, 4.0, 5.0, 9.0]


def test_a_run_is_filmed_at_its_first_last_and_every_nth_step(corpus, tmp_path):
    config = TrainConfig(**{**PLAIN, "epochs": 7, "batch_seconds": 60.0, "film_every": 3})
    trainer = Trainer(TINY, config, corpus, corpus[:3], folder=tmp_path, device="cpu")
    trainer.fit(say=lambda line: None)
    texts, moments = load_flight(tmp_path / "flight.jsonl")
    assert [moment.step for moment in moments] == [1, 3, 6, 7] and len(texts) == 3
    assert len(trainer.history.column("step", "loss")) == 1  # the film adds no line there


def test_filming_changes_no_weight(corpus, tmp_path):
    weights = []
    for every in (0, 1):
        config = TrainConfig(epochs=3, batch_seconds=60.0, film_every=every)
        trainer = Trainer(TINY, config, corpus, corpus[:3], folder=tmp_path / str(every))
        trainer.fit(say=lambda line: None)
        weights.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))
    assert torch.equal(*weights)
    assert not (tmp_path / "0" / "flight.jsonl").exists()


def test_clips_whose_files_are_gone_do_not_end_a_training(corpus, tmp_path, capsys):
    gone = [replace(utterance, path=tmp_path / "gone.wav") for utterance in corpus]
    recorder = FlightRecorder(gone, FeatureExtractor())
    recorder.record(1, SpeechRecognitionModel(TINY), ROW)
    assert recorder.moments() == [] and "skipped" in capsys.readouterr().out


def test_a_missing_or_empty_record_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="no flight record"):
        load_flight(tmp_path / "flight.jsonl")
    (tmp_path / "flight.jsonl").write_text("")
    with pytest.raises(ValueError, match="no moment yet"):
        load_flight(tmp_path / "flight.jsonl")
