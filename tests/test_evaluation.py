"""asrlib.evaluation: the order of the corpus, the counts, and the fraction of blanks."""

import math
import random

import pytest
import torch

from asrlib import evaluation
from asrlib.batching import SpeechDataset, collate
from asrlib.decoding import Hypothesis
from asrlib.evaluation import Evaluation, Search, compare, count_blanks, evaluate
from asrlib.features import FeatureExtractor
from asrlib.fusion import Fusion
from asrlib.language_model import NGramModel
from asrlib.metrics import ErrorRate, character_error_rate, word_error_rate
from asrlib.model import ModelConfig, SpeechRecognitionModel
from tests.tones import TEXTS, TINY, learned_by_heart, tone_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The tones out of order, so that neither length nor name sorts them."""
    corpus = tone_corpus(tmp_path_factory.mktemp("tones"))
    random.Random(1).shuffle(corpus.utterances)
    return corpus


def guesser(**changes) -> tuple[SpeechRecognitionModel, FeatureExtractor]:
    """A network that has learned nothing and says other nonsense to every sound."""
    torch.manual_seed(3)
    model = SpeechRecognitionModel(ModelConfig.preset("tiny", rnn_size=32, rnn_layers=1, **changes))
    with torch.no_grad():
        model.classifier[-1].weight.mul_(30)
        model.classifier[-1].bias[0] += 5  # now and then a blank
    return model, FeatureExtractor()


@pytest.mark.parametrize("batch_seconds", [0.01, 2.0, 3.1, 1000.0])
def test_the_order_of_the_corpus_is_restored_whatever_the_batches(corpus, batch_seconds):
    trainer = learned_by_heart()
    result = evaluate(trainer.average, trainer.extractor, corpus, batch_seconds=batch_seconds)
    assert [u.id for u in result.utterances] == [u.id for u in corpus]
    assert [h.text for h in result.hypotheses] == [u.text for u in corpus]
    assert sorted(h.text for h in result.hypotheses) == sorted(TEXTS)


@pytest.mark.parametrize("batch_seconds", [0.01, 3.1, 1000.0])
def test_counts_are_those_of_the_error_rates(corpus, batch_seconds):
    result = evaluate(*guesser(), corpus, batch_seconds=batch_seconds)
    said, heard = [u.text for u in corpus], [h.text for h in result.hypotheses]
    assert len(set(heard)) > 4  # else the order could not show
    assert result.words == word_error_rate(said, heard)
    assert result.characters == character_error_rate(said, heard)
    assert result.words.words == sum(len(text.split()) for text in TEXTS)
    assert result.characters.rate > 0


def test_batches_change_neither_texts_nor_blanks(corpus):
    results = [evaluate(*guesser(), corpus, batch_seconds=s) for s in (0.01, 3.1, 1000.0)]
    assert len({tuple(h.text for h in r.hypotheses) for r in results}) == 1
    assert len({r.blank_fraction for r in results}) == 1
    assert 0 < results[0].blank_fraction < 1


def test_dropout_is_off_and_two_evaluations_agree(corpus):
    model, extractor = guesser(dropout=0.5)
    model.train()
    first = evaluate(model, extractor, corpus)
    assert not model.training
    model.train()
    second = evaluate(model, extractor, corpus)
    assert [h.text for h in first.hypotheses] == [h.text for h in second.hypotheses]
    assert [h.score for h in first.hypotheses] == [h.score for h in second.hypotheses]


def test_nothing_is_learned_by_evaluating(corpus):
    model, extractor = guesser()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, extractor, corpus)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_an_unreadable_file_is_left_out_and_the_others_keep_their_order(tmp_path):
    corpus = tone_corpus(tmp_path)
    corpus[2].path.unlink()
    dataset = SpeechDataset(corpus)
    trainer = learned_by_heart()
    result = evaluate(trainer.average, trainer.extractor, dataset, batch_seconds=2.0)
    rest = [text for n, text in enumerate(TEXTS) if n != 2]
    assert [u.text for u in result.utterances] == [h.text for h in result.hypotheses] == rest
    assert [what for what, _ in dataset.skipped] == [corpus[2].id]


def test_a_corpus_without_a_readable_file_is_refused(tmp_path):
    corpus = tone_corpus(tmp_path, TEXTS[:2])
    for utterance in corpus:
        utterance.path.unlink()
    with pytest.raises(ValueError, match="no utterance could be read"):
        evaluate(*guesser(), corpus)


def test_worst_puts_most_word_errors_first_then_most_character_errors(corpus):
    said = ["a cat", "a dog", "one toad", "ten cats", "no goat"]
    heard = ["a bat", "a xyz", "two frogs too", "ten cats", ""]
    utterances = [next(u for u in corpus if u.text == text) for text in said]
    hypotheses = [Hypothesis(text, [], 0.0, []) for text in heard]
    none = ErrorRate(0.0, 0, 0, 0, 1)
    result = Evaluation(utterances, hypotheses, none, none, 0.0)
    # three errors; two; one of three letters; one of one letter; none
    assert [said[n] for n in result.worst()] == [
        "one toad",
        "no goat",
        "a dog",
        "a cat",
        "ten cats",
    ]


def frames(*winners: int) -> torch.Tensor:
    """Log-probabilities whose likeliest symbols are these."""
    one_hot = torch.nn.functional.one_hot(torch.tensor(winners), 29)
    return (5.0 * one_hot).log_softmax(dim=-1)


def test_count_blanks_by_hand():
    log_probs = torch.stack([frames(0, 3, 0, 0), frames(4, 0, 0, 0)])
    assert count_blanks(log_probs, torch.tensor([4, 4])) == 6
    assert count_blanks(log_probs, torch.tensor([2, 1])) == 1
    assert count_blanks(log_probs, torch.tensor([3, 2])) == 3


def test_blank_fraction_counts_real_frames_only(corpus, monkeypatch):
    # Two utterances of 4 and 2 real frames; padding is blank and must not count.
    outputs = torch.stack([frames(3, 0, 5, 0), frames(7, 0, 0, 0)]), torch.tensor([4, 2])
    monkeypatch.setattr(evaluation, "recognize", lambda model, extractor, batch: outputs)
    result = evaluate(*guesser(), corpus[:2], batch_seconds=100.0)
    assert result.blank_fraction == 3 / 6
    assert sorted(h.text for h in result.hypotheses) == ["ac", "e"]


def test_recognize_gives_the_networks_own_output(corpus):
    model, extractor = guesser()
    model.eval()
    batch = collate([(u.load(), u) for u in corpus[:3]])
    log_probs, lengths = evaluation.recognize(model, extractor, batch)
    features, frame_lengths = extractor(batch.waveforms, batch.waveform_lengths)
    expected, expected_lengths = model(features, frame_lengths)
    assert torch.equal(log_probs, expected.detach()) and torch.equal(lengths, expected_lengths)
    assert not log_probs.requires_grad and TINY.vocab_size == log_probs.shape[-1]


# ---- several searches side by side


@pytest.mark.filterwarnings("ignore:order")  # eight short texts have no discounts
def test_searches_are_compared_on_one_run_of_the_network(corpus, monkeypatch):
    runs = []
    original = evaluation.recognize
    monkeypatch.setattr(evaluation, "recognize", lambda *a: runs.append(1) or original(*a))
    model = Fusion(NGramModel.train(TEXTS), alpha=1.0, beta=0.0)
    searches = [Search(), Search(8), Search(8, model)]
    results = compare(*guesser(), corpus, searches, batch_seconds=3.1)
    one_by_one = [compare(*guesser(), corpus, [search])[0] for search in searches]
    assert len(runs) < 4 * len(one_by_one[0].utterances)
    for search, result, alone in zip(searches, results, one_by_one, strict=True):
        assert result.search is search
        assert [u.id for u in result.utterances] == [u.id for u in corpus]
        assert [h.text for h in result.hypotheses] == [h.text for h in alone.hypotheses]
        assert (result.words, result.characters) == (alone.words, alone.characters)
        assert result.real_time_factor > 0
        wrong = [h.text.split() != u.text.split() for u, h in zip(corpus, result.hypotheses)]
        assert 0 <= result.search_errors <= sum(wrong)
    assert [str(search) for search in searches] == ["greedy", "beam 8", "beam 8 + LM"]
    assert evaluate(*guesser(), corpus).search_errors is None  # not counted: nobody asked


@pytest.mark.filterwarnings("ignore:order")
def test_a_language_model_mends_what_was_hardly_heard(corpus):
    """The network that knows the tones, heard through noise in its output."""
    trainer = learned_by_heart()
    torch.manual_seed(0)
    noisy = evaluation.recognize

    def hard_of_hearing(*given):
        log_probs, lengths = noisy(*given)
        return (0.3 * log_probs + torch.randn_like(log_probs)).log_softmax(-1), lengths

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "recognize", hard_of_hearing)
        fusion = Fusion(NGramModel.train(TEXTS), alpha=1.0, beta=0.0)
        searches = [Search(), Search(16, fusion)]
        plain, helped = compare(trainer.average, trainer.extractor, corpus, searches)
    assert helped.words.rate < plain.words.rate / 2


def test_errors_of_the_search_are_told_from_errors_of_the_model():
    log_probs = torch.tensor([[[0.6, 0.4], [0.6, 0.4]]]).log()
    log_probs = torch.nn.functional.pad(log_probs, (0, 27), value=-30.0)
    greedy, beam = Search(), Search(4)
    lengths = torch.tensor([2])
    assert greedy(log_probs, lengths)[0].text == "" and beam(log_probs, lengths)[0].text == " "
    empty, space = (beam.text_scores(log_probs, lengths, [text])[0] for text in ("", " "))
    assert math.exp(empty) == pytest.approx(0.36) and math.exp(space) == pytest.approx(0.64)
    # "a" is what was said, more probable than what greedy search wrote:
    sound = torch.full((1, 2, 29), -30.0)
    sound[0, :, 0], sound[0, :, 3] = math.log(0.6), math.log(0.4)
    lost = evaluation._search_errors
    assert lost(greedy, sound, lengths, ["a"], greedy(sound, lengths)) == 1
    assert lost(beam, sound, lengths, ["a"], beam(sound, lengths)) == 0  # found
    assert lost(beam, sound, lengths, ["b"], beam(sound, lengths)) == 0  # the model's fault
    assert lost(greedy, sound, lengths, ["aaaa"], greedy(sound, lengths)) == 0  # no path at all


def test_a_language_model_without_a_beam_is_refused():
    with pytest.raises(ValueError, match="give a beam_size"):
        Search(0, Fusion(NGramModel.train(TEXTS)))
