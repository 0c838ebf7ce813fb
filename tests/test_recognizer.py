"""asrlib.recognizer: from sound of any kind to words with times."""

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from asrlib import recognizer as module
from asrlib.audio import SAMPLE_RATE, resample
from asrlib.checkpoint import save_checkpoint
from asrlib.evaluation import Search
from asrlib.features import FeatureConfig
from asrlib.fusion import Fusion
from asrlib.language_model import NGramModel
from asrlib.model import ModelConfig, SpeechRecognitionModel, output_lengths
from asrlib.recognizer import Recognizer, Transcript
from tests.tones import TEXTS, learned_by_heart, tones, word_places


@pytest.fixture(scope="module")
def recognizer():
    """It knows the eight texts of the tones by heart."""
    trainer = learned_by_heart()
    return Recognizer(trainer.average, trainer.features, {"data": "tones"})


def guesser() -> Recognizer:
    """It has learned nothing."""
    torch.manual_seed(0)
    sizes = ModelConfig.preset("tiny", channels=4, rnn_size=16, rnn_layers=1)
    return Recognizer(SpeechRecognitionModel(sizes), FeatureConfig())


# Loading


@pytest.fixture
def run_folder(tmp_path, recognizer):
    """A run's folder with a best.pt."""
    path = tmp_path / "run" / "best.pt"
    save_checkpoint(path, recognizer.model, recognizer.extractor.config, {"data": "tones"})
    return path.parent


@pytest.fixture
def shipped(run_folder, monkeypatch):
    """asrlib as if it shipped two checkpoints, "tones" and "whistles"."""
    folder = run_folder.parent / "package" / "checkpoints"
    folder.mkdir(parents=True)
    for name in ("tones", "whistles"):
        (folder / f"{name}.pt").write_bytes((run_folder / "best.pt").read_bytes())
    monkeypatch.setattr(module, "__file__", str(folder.parent / "recognizer.py"))


def test_a_file_a_folder_and_a_name_load_the_same(run_folder, shipped, recognizer):
    for what in (run_folder / "best.pt", str(run_folder / "best.pt"), run_folder, "tones"):
        loaded = Recognizer.load(what)
        assert loaded.transcribe(tones("ten cats")) == recognizer.transcribe(tones("ten cats"))
        assert loaded.record == {"data": "tones"} and not loaded.model.training


def test_an_unknown_name_lists_what_is_shipped(shipped):
    with pytest.raises(FileNotFoundError, match=r"'bells'; shipped checkpoints: tones, whistles"):
        Recognizer.load("bells")


def test_a_missing_path_never_loads_a_shipped_checkpoint_of_its_last_name(shipped, tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        Recognizer.load(tmp_path / "my_runs" / "tones")


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        Recognizer.load(tmp_path)


def test_a_file_that_is_no_checkpoint_is_refused_by_name(tmp_path):
    (tmp_path / "notes.pt").write_text("buy milk")
    with pytest.raises(ValueError, match=r"notes\.pt: not a checkpoint"):
        Recognizer.load(tmp_path / "notes.pt")


# Sound of any kind


def test_what_was_learned_is_heard(recognizer):
    for text in TEXTS:
        assert recognizer.transcribe(tones(text)).text == text


def test_a_file_gives_what_its_samples_give(recognizer, tmp_path):
    samples = tones("one toad")
    soundfile.write(tmp_path / "a.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    expected = recognizer.transcribe(samples)
    assert expected.text == "one toad"
    assert recognizer.transcribe(tmp_path / "a.wav") == expected
    assert recognizer.transcribe(str(tmp_path / "a.wav")) == expected
    assert recognizer.transcribe(torch.from_numpy(samples)) == expected
    assert recognizer.transcribe(samples.astype(np.float64)) == expected


def test_stereo_gives_what_mono_gives(recognizer, tmp_path):
    samples = tones("dogs nod")
    stereo = np.stack([samples, samples], axis=1)
    expected = recognizer.transcribe(samples)
    assert recognizer.transcribe(stereo) == expected
    soundfile.write(tmp_path / "a.wav", stereo, SAMPLE_RATE, subtype="FLOAT")
    assert recognizer.transcribe(tmp_path / "a.wav") == expected
    one_sided = np.stack([2 * samples, np.zeros_like(samples)], axis=1)
    assert recognizer.transcribe(one_sided).text == expected.text


def test_16_bit_samples_give_what_floats_give(recognizer):
    samples = tones("no goat")
    numbers = np.round(samples * 32768).astype(np.int16)
    assert recognizer.transcribe(numbers) == recognizer.transcribe(numbers / np.float32(32768))
    assert recognizer.transcribe(numbers).text == "no goat"


@pytest.mark.parametrize("rate", [44_100, 48_000, 22_050])
def test_other_sample_rates_give_nearly_the_same(recognizer, tmp_path, rate):
    samples = torch.from_numpy(tones("cats eat"))
    other = resample(samples, SAMPLE_RATE, rate).numpy()
    expected = recognizer.transcribe(samples)
    soundfile.write(tmp_path / "a.flac", other, rate)
    for heard in (recognizer.transcribe(other, rate), recognizer.transcribe(tmp_path / "a.flac")):
        assert heard.text == expected.text == "cats eat"
        for word, wanted in zip(heard.words, expected.words, strict=True):
            assert word.start == pytest.approx(wanted.start, abs=0.05)
            assert word.confidence == pytest.approx(wanted.confidence, abs=0.1)


def assert_sound(transcript: Transcript, seconds: float) -> None:
    """What holds for every transcript."""
    assert transcript.text == " ".join(word.text for word in transcript.words)
    end = 0.0
    for word in transcript.words:
        assert word.text and " " not in word.text
        assert end <= word.start <= word.end <= seconds + 0.0005  # rounded to milliseconds
        assert 0 <= word.confidence <= 1
        end = word.end


def test_telephone_sound_and_40_seconds_and_one_sample_are_recognized():
    dice, anyone = np.random.default_rng(0), guesser()
    for seconds, rate in ((2.0, 8_000), (40.0, 16_000), (1 / 16_000, 16_000), (1 / 8_000, 8_000)):
        noise = dice.standard_normal(round(seconds * rate)).astype(np.float32) / 10
        assert_sound(anyone.transcribe(noise, rate), seconds)
    assert anyone.transcribe(np.zeros(16_000, dtype=np.float32)).text is not None


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(0, dtype=np.float32), "0 samples"),
        (np.array([0.0, np.nan, 0.1], dtype=np.float32), "NaN.*sample 1"),
        (np.array([0.0, 0.1, np.inf], dtype=np.float32), "infinite.*sample 2"),
        (np.zeros((2, 2, 2), dtype=np.float32), "shape"),
    ],
)
def test_samples_that_are_no_sound_are_refused(samples, message):
    with pytest.raises(ValueError, match=message):
        guesser().transcribe(samples)


def test_files_that_are_no_sound_are_refused_by_name(tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    soundfile.write(tmp_path / "nan.wav", np.full(9, np.nan), SAMPLE_RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), SAMPLE_RATE)
    for name in ("broken.wav", "nan.wav", "empty.wav"):
        with pytest.raises(ValueError, match=name):
            guesser().transcribe(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="gone.wav"):
        guesser().transcribe(tmp_path / "gone.wav")


# Words


def path_of(symbols: list[int], strength: float = 6.0) -> torch.Tensor:
    """Log-probabilities (frames, 29) on which these symbols win."""
    one_hot = torch.nn.functional.one_hot(torch.tensor(symbols), 29)
    return (strength * one_hot).log_softmax(dim=-1)


def speaking(symbols: list[int]) -> tuple[Recognizer, np.ndarray]:
    """A recognizer that hears these symbols, 40 ms a frame, and a clip of that many frames."""
    anyone = guesser()
    anyone.log_probs = lambda waveform: path_of(symbols)
    samples = len(symbols) * 640 - 480  # the last frame reaches past the end
    sizes = anyone.model.config
    assert output_lengths(samples // 160 + 1, sizes) == len(symbols)
    return anyone, np.zeros(samples, dtype=np.float32)


def test_word_times_are_those_of_the_first_and_last_letter():
    # - a a - space c - a t t      (a: 3, c: 5, t: 22, space: 1)
    anyone, samples = speaking([0, 3, 3, 0, 1, 5, 0, 3, 22, 22])
    transcript = anyone.transcribe(samples)
    assert transcript.text == "a cat"
    a, cat = transcript.words
    assert (a.text, a.start, a.end) == ("a", 0.02, 0.06)  # half a frame around its center
    assert (cat.text, cat.start, cat.end) == ("cat", 0.18, 0.34)
    sure = float(path_of([3])[0, 3].exp())
    assert a.confidence == cat.confidence == pytest.approx(sure, abs=1e-4)


def test_a_word_on_the_last_frame_ends_with_the_clip():
    anyone, samples = speaking([0, 0, 5, 3, 22])
    [word] = anyone.transcribe(samples).words
    assert word.end == round(len(samples) / SAMPLE_RATE, 3) < 4.5 * 0.04


def test_confidence_is_the_geometric_mean_of_the_letters():
    anyone = guesser()
    log_probs = torch.cat([path_of([3], 8.0), path_of([22], 2.0)])
    anyone.log_probs = lambda waveform: log_probs
    [word] = anyone.transcribe(np.zeros(1280, dtype=np.float32)).words
    p, q = log_probs[0, 3].exp(), log_probs[1, 22].exp()
    assert word.confidence == pytest.approx(float((p * q).sqrt()), abs=1e-4) and p - q > 0.5


def test_spaces_without_words_are_no_words():
    anyone, samples = speaking([1, 0, 1, 3, 1, 0, 1, 4, 1])
    assert [word.text for word in anyone.transcribe(samples).words] == ["a", "b"]
    silent, samples = speaking([0, 1, 0, 0])
    assert silent.transcribe(samples) == Transcript("", [])


@given(st.lists(st.integers(0, 28), min_size=1, max_size=60))
def test_whatever_is_heard_words_follow_each_other_inside_the_clip(symbols):
    anyone, samples = speaking(symbols)
    assert_sound(anyone.transcribe(samples), len(samples) / SAMPLE_RATE)


def test_learned_words_lie_in_order_near_their_tones(recognizer):
    # A network that learned eight clips by heart spells early or late: hold it to a quarter second.
    for text in TEXTS:
        samples = tones(text)
        words = recognizer.transcribe(samples).words
        assert_sound(Transcript(text, words), len(samples) / SAMPLE_RATE)
        for word, (wanted, start, end) in zip(words, word_places(text), strict=True):
            assert word.text == wanted
            assert word.start < end + 0.25 and word.end > start - 0.25


def test_8_bit_weights_hear_the_same_and_leave_the_original_alone(recognizer):
    before = {name: p.clone() for name, p in recognizer.model.named_parameters()}
    int8 = recognizer.quantized()
    for text in TEXTS:
        wave = tones(text)
        assert int8.transcribe(wave).text == recognizer.transcribe(wave).text == text
        waveform = torch.from_numpy(wave)
        exact, rounded = (r.log_probs(waveform).exp() for r in (recognizer, int8))
        assert exact.shape == rounded.shape and 0 < (exact - rounded).abs().max() < 0.2
    kinds = {type(layer.gru).__module__ for layer in int8.model.rnn}
    assert kinds == {"torch.ao.nn.quantized.dynamic.modules.rnn"}  # and not torch.nn
    after = dict(recognizer.model.named_parameters())
    assert all(torch.equal(before[name], after[name]) for name in before)
    batch = torch.zeros(2, 16000), torch.tensor([16000, 9000])  # of unequal lengths, too
    alone, _ = int8.model(*int8.extractor(batch[0][1:, :9000], batch[1][1:]))
    together, lengths = int8.model(*int8.extractor(*batch))
    assert (alone[0].exp() - together[1, : lengths[1]].exp()).abs().max() < 0.05


def test_a_language_model_takes_part_if_asked(recognizer):
    samples = tones("ten cats")
    plain = recognizer.transcribe(samples, search=Search(8))
    assert plain.text == recognizer.transcribe(samples).text == "ten cats"
    only = Fusion(NGramModel.train(["no goat"] * 9), alpha=30.0)  # it has never heard of cats
    with_model = recognizer.transcribe(samples, search=Search(50, only))
    assert with_model.text != "ten cats"
    assert_sound(with_model, len(samples) / SAMPLE_RATE)


# A known text


def test_a_known_text_is_found_where_its_tones_are(recognizer):
    for text in TEXTS:
        aligned = recognizer.align(tones(text), text)
        assert aligned.text == text
        for word, (wanted, start, end) in zip(aligned.words, word_places(text), strict=True):
            assert word.text == wanted and word.confidence > 0.5
            assert word.start == pytest.approx(start, abs=0.15)
            assert word.end == pytest.approx(end, abs=0.2)  # its last letter is one early frame


def test_case_and_surplus_spaces_of_a_known_text_are_ignored(recognizer):
    assert recognizer.align(tones("a cat"), "  A   Cat ") == recognizer.align(
        tones("a cat"), "a cat"
    )


def test_a_wrong_text_is_aligned_with_little_confidence(recognizer):
    right = recognizer.align(tones("ten cats"), "ten cats").words
    wrong = recognizer.align(tones("ten cats"), "one toad").words
    assert max(word.confidence for word in wrong) < min(word.confidence for word in right)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dogs " * 20, "labels need 99 output frames, there are 21: too short a sound"),
        ("5 cats", "'5' at position 0"),
        ("  ", "no text to align"),
    ],
)
def test_a_text_that_cannot_be_aligned_says_why(recognizer, text, message):
    with pytest.raises(ValueError, match=message):
        recognizer.align(tones("ten cats"), text)
