"""The network: sizes, lengths, and above all that an utterance never hears its neighbors.

The checks of invariance are functions, and the mutants at the end show that these same functions
find the three bugs that matter most here.
"""

import math

import pytest
import torch
from torch import nn

import asrlib.model
from asrlib.features import valid_mask
from asrlib.model import (
    BidirectionalGRU,
    ModelConfig,
    ResidualCNN,
    SpeechRecognitionModel,
    output_lengths,
    parameter_count,
)

PRESETS = ("original", "base", "small", "tiny")
STRIDES = [(time, frequency) for time in (1, 2, 4) for frequency in (1, 2, 4)]
TOLERANCE = 1e-5


def small_model(preset="tiny", **changes):
    """A network with a preset's shape and few units, in eval mode."""
    changes = {"rnn_size": 16, "rnn_layers": 2, "channels": 4} | changes
    return SpeechRecognitionModel(ModelConfig.preset(preset, **changes)).eval()


def random_batch(model, lengths=(37, 24, 9, 1), extra=13, filler=0.0):
    """Features with `filler` past each length, and padding even after the longest."""
    features = torch.randn(len(lengths), 1, model.config.n_mels, max(lengths) + extra)
    for row, length in zip(features, lengths, strict=True):
        row[..., length:] = filler
    return features, torch.tensor(lengths)


@torch.no_grad()
def padding_error(model, **options):
    """The largest difference between utterances in a batch and the same ones alone."""
    features, lengths = random_batch(model, **options)
    together, lengths_out = model(features, lengths)
    worst = 0.0
    for row, length in enumerate(lengths.tolist()):
        alone, alone_length = model(features[row : row + 1, ..., :length], lengths[row : row + 1])
        assert alone_length.tolist() == [alone.shape[1]] == [int(lengths_out[row])]
        difference = (together[row, : alone.shape[1]] - alone[0]).abs().max()
        worst = max(worst, float(difference.nan_to_num(nan=math.inf)))
    return worst


@torch.no_grad()
def order_error(model):
    """The largest difference that another order of the batch makes."""
    features, lengths = random_batch(model)
    order = torch.tensor([2, 0, 3, 1])
    straight, lengths_out = model(features, lengths)
    shuffled, shuffled_lengths = model(features[order], lengths[order])
    assert torch.equal(shuffled_lengths, lengths_out[order])
    rows = zip(straight[order], shuffled, shuffled_lengths.tolist(), strict=True)
    return max(float((a[:n] - b[:n]).abs().max()) for a, b, n in rows)


def gradient_reach(model):
    """How strongly the output of utterance 0 depends on: itself, its padding, utterance 1."""
    features, lengths = random_batch(model, (30, 37, 20))
    features.requires_grad_()
    log_probs, lengths_out = model(features, lengths)
    log_probs[0, : lengths_out[0]].square().sum().backward()
    gradient = features.grad.abs()
    return [
        float(part.max()) for part in (gradient[0, ..., :30], gradient[0, ..., 30:], gradient[1:])
    ]


@torch.no_grad()
def first_changed_frame(model, frames=160, changed=8):
    """The first frame the recurrent layers see differently when the last few inputs change."""
    seen = []
    handle = model.linear.register_forward_hook(lambda _, __, output: seen.append(output[0]))
    features = torch.randn(1, 1, model.config.n_mels, frames)
    model(features, torch.tensor([frames]))
    features[..., -changed:] += 1
    model(features, torch.tensor([frames]))
    handle.remove()
    return int(((seen[0] - seen[1]).abs() > 1e-6).any(dim=1).nonzero()[0])


def least_changed_frame(model, frames=160, changed=8):
    """The same, as the geometry of the convolutions has it, with one frame to spare."""
    reach = 2 * model.config.residual_blocks + 3
    return (frames - changed) // model.config.time_stride - reach


@pytest.mark.parametrize("filler", [0.0, 1e3, math.nan, math.inf])
@pytest.mark.parametrize("preset", PRESETS)
def test_alone_equals_in_a_batch_whatever_the_padding_holds(preset, filler):
    assert padding_error(small_model(preset), filler=filler) < TOLERANCE


def test_alone_equals_in_a_batch_in_a_network_of_real_size():
    model = SpeechRecognitionModel(ModelConfig.preset("tiny")).eval()
    assert padding_error(model, filler=50.0) < TOLERANCE
    assert order_error(model) < TOLERANCE


@pytest.mark.parametrize(("time", "frequency"), STRIDES)
def test_alone_equals_in_a_batch_at_every_stride(time, frequency):
    model = small_model(time_stride=time, frequency_stride=frequency, n_mels=21)
    assert padding_error(model, filler=50.0) < TOLERANCE


@pytest.mark.parametrize("length", range(1, 17))
def test_alone_equals_in_a_batch_at_every_remainder_of_the_stride(length):
    model = small_model(n_mels=20)
    assert padding_error(model, lengths=(17, length), extra=0, filler=50.0) < TOLERANCE


@pytest.mark.parametrize("time", [1, 2, 4])
def test_hiding_padding_hides_nothing_of_an_utterance_alone(time, monkeypatch):
    # A mask computed with n // 2 in place of ceil(n / 2) loses the last frame, alone as in a batch.
    model = small_model(n_mels=20, time_stride=time)
    utterances = [torch.randn(1, 1, 20, frames) for frames in range(1, 17)]
    hidden = [model(x, torch.tensor([x.shape[-1]]))[0] for x in utterances]
    monkeypatch.setattr(asrlib.model, "_hide_padding", lambda x, mask: x)
    for x, expected in zip(utterances, hidden, strict=True):
        log_probs, _ = model(x, torch.tensor([x.shape[-1]]))
        torch.testing.assert_close(log_probs, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("extra", [0, 1, 2, 3, 100])
def test_extra_padding_changes_nothing(extra):
    assert padding_error(small_model(n_mels=20), extra=extra, filler=50.0) < TOLERANCE


@pytest.mark.parametrize("preset", PRESETS)
def test_the_order_of_the_batch_changes_nothing(preset):
    assert order_error(small_model(preset)) < TOLERANCE


@pytest.mark.parametrize("preset", PRESETS)
def test_no_gradient_crosses_from_one_utterance_or_the_padding_into_another(preset):
    own, padding, others = gradient_reach(small_model(preset))
    assert own > 0
    assert padding == 0  # exactly: there is no path at all
    assert others == 0


@pytest.mark.parametrize("preset", PRESETS)
def test_the_recurrent_layers_get_each_frame_in_its_place(preset):
    # A `view` in place of permute and flatten mixes times and channels; shapes would not tell.
    model = small_model(preset)
    assert first_changed_frame(model) >= least_changed_frame(model)


@pytest.mark.parametrize(("time", "frequency"), STRIDES)
def test_output_lengths_equal_the_real_lengths(time, frequency):
    model = small_model(time_stride=time, frequency_stride=frequency, n_mels=5, channels=1)
    real = []
    with torch.no_grad():
        for frames in range(1, 401):
            x = torch.zeros(1, 1, 5, frames)
            for convolution in model.stem:
                x = convolution(x)
            real.append(x.shape[-1])
        for frames in (1, 2, 3, 100, 399):
            log_probs, lengths = model(torch.zeros(1, 1, 5, frames), torch.tensor([frames]))
            assert log_probs.shape[1] == int(lengths) == real[frames - 1]
    computed = [output_lengths(frames, model.config) for frames in range(1, 401)]
    assert computed == real
    assert all(type(length) is int for length in computed)
    assert output_lengths(torch.arange(1, 401), model.config).tolist() == real


@pytest.mark.parametrize("n_mels", [1, 2, 3, 5, 81])
@pytest.mark.parametrize("frequency", [1, 2, 4])
def test_every_height_of_the_picture_works(n_mels, frequency):
    model = small_model(n_mels=n_mels, frequency_stride=frequency)
    log_probs, _ = model(torch.randn(1, 1, n_mels, 10), torch.tensor([10]))
    assert log_probs.shape == (1, 3, 29)


@pytest.mark.parametrize("preset", PRESETS)
def test_log_probs_are_float32_sum_to_one_and_are_finite_everywhere(preset):
    model = small_model(preset)
    features, lengths = random_batch(model, filler=math.nan)
    log_probs, lengths_out = model(features, lengths)
    assert log_probs.dtype == torch.float32
    assert log_probs.shape == (4, output_lengths(features.shape[-1], model.config), 29)
    assert torch.isfinite(log_probs).all()
    for row, length in zip(log_probs, lengths_out.tolist(), strict=True):
        sums = row[:length].exp().sum(dim=-1)
        torch.testing.assert_close(sums, torch.ones(length))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_parameter_gets_a_finite_gradient(preset):
    model = small_model(preset, rnn_layers=3).train()
    features, lengths = random_batch(model, filler=math.nan)
    log_probs, lengths_out = model(features, lengths)
    targets = torch.tensor([[3, 4], [5, 6], [7, 8], [9, 10]])
    label_lengths = torch.tensor([2, 2, 1, 0])
    nn.functional.ctc_loss(
        log_probs.transpose(0, 1), targets, lengths_out, label_lengths, reduction="sum"
    ).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert (parameter.grad != 0).any(), name


def test_lengths_may_stay_on_the_cpu_while_the_network_is_elsewhere():
    # The device "meta" computes shapes only, and refuses to mix with the CPU as a GPU would.
    with torch.device("meta"):
        model, features = small_model(), torch.zeros(2, 1, 80, 20)
    log_probs, lengths = model(features, torch.tensor([20, 15], device="cpu"))
    assert log_probs.shape == (2, 5, 29)
    assert lengths.tolist() == [5, 4]


def count(preset, **changes):
    with torch.device("meta"):  # shapes without memory
        return parameter_count(SpeechRecognitionModel(ModelConfig.preset(preset, **changes)))


def test_the_original_has_exactly_the_published_number_of_parameters():
    # 23,705,373 is what the tutorial of this architecture prints; its convolution has stride 2.
    assert count("original", time_stride=2, frequency_stride=2) == 23_705_373
    assert count("original") == 24_754_717


def test_small_fits_its_limit_and_the_presets_are_ordered_by_size():
    assert count("small") < 4_000_000
    assert count("tiny") < count("small") < count("base") < count("original")


def test_frozen_parameters_are_not_counted():
    layer = nn.Linear(3, 2)
    layer.bias.requires_grad_(False)
    assert parameter_count(layer) == 6


def test_presets_have_their_strides_and_take_changes():
    strides = {name: ModelConfig.preset(name).time_stride for name in PRESETS}
    assert strides == {"original": 1, "base": 2, "small": 4, "tiny": 4}
    assert ModelConfig.preset("original").n_mels == 128
    assert ModelConfig.preset("tiny", vocab_size=40).vocab_size == 40


def test_an_unknown_preset_is_named_with_the_choices():
    with pytest.raises(ValueError) as caught:
        ModelConfig.preset("larg")
    assert str(caught.value) == "unknown preset 'larg'; choose original, base, small, tiny"


@pytest.mark.parametrize(
    "wrong",
    [
        {"time_stride": 3},
        {"frequency_stride": 0},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"channels": 0},
        {"rnn_layers": 0},
        {"residual_blocks": -1},
        {"vocab_size": 0},
    ],
)
def test_bad_sizes_are_refused_by_name_and_value(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"^{name}={value} "):
        ModelConfig(**wrong)


def test_no_residual_blocks_are_legal():
    assert padding_error(small_model(residual_blocks=0, n_mels=20), filler=50.0) < TOLERANCE


@pytest.mark.parametrize("preset", PRESETS)
def test_one_frame_is_enough(preset):
    model = small_model(preset)
    log_probs, lengths = model(torch.randn(1, 1, model.config.n_mels, 1), torch.tensor([1]))
    assert log_probs.shape == (1, 1, 29)
    assert lengths.tolist() == [1]


@pytest.mark.parametrize("lengths", [[0, 5], [5, 11], [-1, 5]])
def test_lengths_outside_the_features_are_refused(lengths):
    with pytest.raises(ValueError, match=r"must lie in 1\.\.10"):
        small_model()(torch.zeros(2, 1, 80, 10), torch.tensor(lengths))


def test_wrong_shapes_are_refused_with_the_right_one(unchecked_types):
    model = small_model()
    for shape in [(2, 1, 64, 10), (2, 80, 10), (2, 3, 80, 10)]:
        with pytest.raises(ValueError, match=r"takes \(batch, 1, 80, frames\)"):
            model(torch.zeros(shape), torch.tensor([10, 10]))
    with pytest.raises(ValueError, match=r"\(3,\) lengths for 2 utterances"):
        model(torch.zeros(2, 1, 80, 10), torch.tensor([10, 10, 10]))


def test_the_same_seed_gives_the_same_output_and_eval_rolls_no_dice():
    outputs = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        model = small_model(dropout=0.5)
        features = torch.randn(2, 1, 80, 20)
        outputs.append(model(features, torch.tensor([20, 15]))[0])
        assert torch.equal(model(features, torch.tensor([20, 15]))[0], outputs[-1])
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_dropout_works_in_training_only():
    model = small_model(dropout=0.5).train()
    features, lengths = torch.randn(1, 1, 80, 20), torch.tensor([20])
    assert not torch.equal(model(features, lengths)[0], model(features, lengths)[0])


def test_a_residual_block_adds_to_its_input():
    block = ResidualCNN(channels=4, n_mels=10, dropout=0.0)
    for convolution in block.convolutions:
        nn.init.zeros_(convolution.weight)
        nn.init.zeros_(convolution.bias)
    x = torch.randn(2, 4, 10, 7)
    assert torch.equal(block(x, torch.ones(2, 7, dtype=torch.bool)), x)


def test_a_recurrent_layer_reads_backward_from_each_utterances_own_end():
    layer = BidirectionalGRU(input_size=3, hidden_size=2, dropout=0.0)
    x = torch.randn(2, 9, 3)
    output = layer(x, torch.tensor([9, 4]))
    assert output.shape == (2, 9, 4)
    short, _ = layer.gru(layer.activation(layer.norm(x[1:, :4])))
    torch.testing.assert_close(output[1:, :4], short, atol=1e-6, rtol=0)


@pytest.mark.parametrize("lengths", [[9, 4, 1], [1, 9, 9], [5, 5, 5]])
def test_a_recurrent_layer_computes_the_same_for_the_cpu_and_for_the_gpu(lengths):
    # The GPU reads packed sequences, the CPU the utterance and its mirror image; both run here.
    layer = BidirectionalGRU(input_size=3, hidden_size=2, dropout=0.0)
    x, lengths = torch.randn(3, 9, 3), torch.tensor(lengths)
    real = valid_mask(lengths, 9)
    outputs, gradients = [], []
    for read in (layer._read_packed, layer._read_padded):
        x.grad, _ = None, layer.zero_grad()
        output = read(x.requires_grad_(), lengths)[real]
        output.square().sum().backward()
        outputs.append(output)
        gradients.append([x.grad, *(weight.grad for weight in layer.gru.parameters())])
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-6, rtol=0)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=0)


# Mutants: each of the checks above must find the bug that it was written for.


def gru_over_the_batch_axis(self, x, lengths):
    """nn.GRU without batch_first on (batch, frames, features): utterances become the time axis."""
    return self.gru(self.activation(self.norm(x)).transpose(0, 1))[0].transpose(0, 1)


def backward_gru_from_the_end_of_the_padding(self, x, lengths):
    """nn.GRU on the padded rectangle: the backward direction reads the padding first."""
    return self.gru(self.activation(self.norm(x)))[0]


def view_in_place_of_permute(linear, arguments):
    """Undo permute and flatten, and cut the channels-first picture into rows of the right size."""
    (x,) = arguments  # (batch, frames, channels * rows)
    batch, frames, size = x.shape
    return x.transpose(1, 2).contiguous().view(batch, frames, size)


@pytest.mark.parametrize("preset", PRESETS)
def test_mutant_gru_over_the_batch_axis_is_found(preset, monkeypatch):
    monkeypatch.setattr(BidirectionalGRU, "forward", gru_over_the_batch_axis)
    model = small_model(preset)
    assert padding_error(model, extra=0) > 100 * TOLERANCE
    assert order_error(model) > 100 * TOLERANCE
    assert gradient_reach(model)[2] > 0


@pytest.mark.parametrize("preset", PRESETS)
def test_mutant_gru_that_reads_the_padding_is_found(preset, monkeypatch):
    monkeypatch.setattr(BidirectionalGRU, "forward", backward_gru_from_the_end_of_the_padding)
    assert padding_error(small_model(preset)) > 100 * TOLERANCE


@pytest.mark.parametrize("filler", [0.0, 1e3, math.nan])
@pytest.mark.parametrize("preset", PRESETS)
def test_mutant_without_hidden_padding_is_found(preset, filler, monkeypatch):
    # Even zeros leak: after the first convolution the padding holds its bias.
    monkeypatch.setattr(asrlib.model, "_hide_padding", lambda x, mask: x)
    assert padding_error(small_model(preset), filler=filler) > 10 * TOLERANCE


@pytest.mark.parametrize("preset", PRESETS)
def test_mutant_view_in_place_of_permute_is_found(preset):
    model = small_model(preset)
    model.linear.register_forward_pre_hook(view_in_place_of_permute)
    assert first_changed_frame(model) < least_changed_frame(model)
    assert padding_error(model) > 100 * TOLERANCE
