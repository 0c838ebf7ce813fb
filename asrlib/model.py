"""The network: residual convolutions look at the picture, recurrent layers read it, CTC spells.

    (batch, 1, n_mels, frames)
      -> strided convolutions, 1 -> channels
      -> residual blocks: (LayerNorm, GELU, Dropout, Conv2d) twice, plus the skip
      -> channels x mels flattened, one linear layer
      -> bidirectional GRU layers: LayerNorm, GELU, GRU, Dropout
      -> classifier: Linear to half, GELU, Dropout, Linear to the vocabulary
      -> log_softmax: (batch, frames_out, vocab)

Padding never leaks in: convolutions see zeros past an utterance's end, as they do past the end of
an utterance that is alone, and backward GRUs start at its last frame. An utterance gives the same
output alone as in any batch. (The tutorial this network descends from ran four of its five GRUs
over the batch axis: every transcript depended on the neighbors.)
"""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from asrlib.features import valid_mask


@dataclass(frozen=True)
class ModelConfig:
    """All sizes and counts of the network.

    Attributes:
        n_mels: height of the input picture.
        vocab_size: output symbols, the blank (0) among them.
        channels: of the convolutions.
        residual_blocks: how many.
        time_stride: input frames an output frame, 1, 2 or 4.
        frequency_stride: input mels a row that the residual blocks see, 1, 2 or 4.
        rnn_layers: bidirectional GRU layers.
        rnn_size: units of a GRU in each direction, and of the linear layer before it.
        dropout: in [0, 1).
    """

    n_mels: int = 80
    vocab_size: int = 29
    channels: int = 32
    residual_blocks: int = 3
    time_stride: int = 2
    frequency_stride: int = 2
    rnn_layers: int = 5
    rnn_size: int = 512
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name in ("time_stride", "frequency_stride"):
                if value not in (1, 2, 4):
                    raise ValueError(f"{name}={value} must be 1, 2 or 4")
            elif name == "dropout":
                if not 0 <= value < 1:
                    raise ValueError(f"dropout={value} must lie in [0, 1)")
            elif value < (0 if name == "residual_blocks" else 1):
                raise ValueError(f"{name}={value} is too small")

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "ModelConfig":
        """Look up a size by name.

        Args:
            name: "original" (24.8 M parameters, every frame), "base" (stride 2), "small" (stride 4,
                under 4 M) or "tiny" (stride 4, learns a small vocabulary in minutes on a CPU).
            changes: fields to set differently.

        Returns:
            The configuration.

        Raises:
            ValueError: unknown name.

        Example:
            >>> ModelConfig.preset("original").n_mels
            128
        """
        if name not in _PRESETS:
            raise ValueError(f"unknown preset {name!r}; choose {', '.join(_PRESETS)}")
        return replace(cls(**_PRESETS[name]), **changes)


_PRESETS: dict[str, dict[str, Any]] = {
    "original": {"n_mels": 128, "time_stride": 1, "frequency_stride": 1},
    "base": {},
    "small": {"time_stride": 4, "rnn_layers": 3, "rnn_size": 256},
    "tiny": {
        "channels": 16,
        "residual_blocks": 1,
        "time_stride": 4,
        "frequency_stride": 4,
        "rnn_layers": 1,
        "rnn_size": 192,
        "dropout": 0.3,  # with 0.1 it learned MiniSpeech by heart: RESULTS.md, run 1a
    },
}


def _stem_strides(config: ModelConfig) -> list[tuple[int, int]]:
    """Strides (frequency, time) of the first convolutions: a stride of 4 is two of 2."""
    count = 2 if 4 in (config.time_stride, config.frequency_stride) else 1
    times = {1: (1, 1), 2: (2, 1), 4: (2, 2)}
    return list(zip(times[config.frequency_stride], times[config.time_stride]))[:count]


def output_lengths(lengths: Int[Tensor, " batch"] | int, config: ModelConfig) -> Tensor | int:
    """How many output frames come from so many input frames?

    A convolution of width 3, padding 1 and stride s turns n frames into ceil(n / s), not into
    n // 2: for 201 frames and stride 2 it is 101.

    Args:
        lengths: input frames, a whole number or a tensor of them.
        config: the network's sizes.

    Returns:
        Output frames, of the same kind.

    Example:
        >>> output_lengths(201, ModelConfig.preset("base"))
        101
    """
    for _, stride in _stem_strides(config):
        lengths = (lengths + stride - 1) // stride
    return lengths


class ResidualCNN(nn.Module):
    """A residual block: (LayerNorm, GELU, Dropout, Conv2d) twice, added to its input.

    The norm works over the mels of one frame and channel, so no frame sees another except through
    the 3 x 3 convolutions.

    Example:
        >>> block = ResidualCNN(channels=4, n_mels=10, dropout=0.0)
        >>> block(torch.randn(2, 4, 10, 7), torch.ones(2, 7, dtype=torch.bool)).shape
        torch.Size([2, 4, 10, 7])
    """

    def __init__(self, channels: int, n_mels: int, dropout: float) -> None:
        """Make the block with two norms and two convolutions of its own."""
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(n_mels) for _ in range(2))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels, channels, kernel_size=3, padding=1) for _ in range(2)
        )
        self.activation = nn.GELU()
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "batch channels n_mels frames"], mask: Tensor
    ) -> Float[Tensor, "batch channels n_mels frames"]:
        """Apply the block.

        Args:
            x: the picture so far.
            mask: bool (batch, frames), True where real.

        Returns:
            Same shape; values past an utterance's end are unspecified.
        """
        residual = x
        for norm, convolution in zip(self.norms, self.convolutions):
            x = norm(x.transpose(2, 3)).transpose(2, 3)  # over mels, the last axis for a moment
            x = self.dropout(self.activation(x))
            x = convolution(_hide_padding(x, mask))
        return x + residual


class BidirectionalGRU(nn.Module):
    """One recurrent layer over time: LayerNorm, GELU, GRU in both directions, Dropout.

    The backward direction starts at each utterance's own last frame, not in the padding.

    Example:
        >>> layer = BidirectionalGRU(input_size=8, hidden_size=5, dropout=0.0)
        >>> layer(torch.randn(2, 7, 8), torch.tensor([7, 4])).shape
        torch.Size([2, 7, 10])
    """

    def __init__(self, input_size: int, hidden_size: int, dropout: float) -> None:
        """Make the layer; its output has 2 * hidden_size features."""
        super().__init__()
        self.norm = nn.LayerNorm(input_size)
        self.activation = nn.GELU()
        self.gru = nn.GRU(input_size, hidden_size, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "batch frames features"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch frames hidden"]:
        """Apply the layer.

        Args:
            x: frames; those past `lengths` may hold any finite value.
            lengths: real frames, on the CPU.

        Returns:
            2 * hidden_size features a frame, unspecified but finite past `lengths`.
        """
        x = self.activation(self.norm(x))
        # The 8-bit GRU of `Recognizer.quantized` is another class, which only reads.
        packed = x.is_cuda or not isinstance(self.gru, nn.GRU)
        read = self._read_packed if packed else self._read_padded
        return self.dropout(read(x, lengths))

    def _read_packed(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Leave the padding to cuDNN, which reads both directions at once."""
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=x.shape[1])[
            0
        ]

    def _read_padded(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Do the same with two forward reads, one of them of the reversed utterances.

        On the CPU torch's backward pass through a packed GRU fills a table as large as the whole
        batch once a frame: half of the training time on 5-second clips, measured.
        """
        lengths = lengths.to(x.device)
        frames = torch.arange(x.shape[1], device=x.device)
        real = valid_mask(lengths, x.shape[1])
        mirror = torch.where(real, lengths[:, None] - 1 - frames, frames)
        mirror = mirror[..., None]  # (batch, frames, 1): where each frame lands when reversed
        start = x.new_zeros(1, len(x), self.gru.hidden_size)
        weights = self.gru.all_weights  # of the forward and of the backward direction
        outputs = []
        for direction, index in zip(weights, (None, mirror)):
            read = x if index is None else x.gather(1, index.expand_as(x))
            out, _ = torch.gru(read, start, direction, True, 1, 0.0, self.training, False, True)
            outputs.append(out if index is None else out.gather(1, index.expand_as(out)))
        return torch.cat(outputs, dim=2)  # -> (batch, frames, 2 * hidden_size)


class SpeechRecognitionModel(nn.Module):
    """Features in, log-probabilities of characters out, one row a frame.

    Example:
        >>> model = SpeechRecognitionModel(ModelConfig.preset("tiny")).eval()
        >>> log_probs, lengths = model(torch.randn(2, 1, 80, 101), torch.tensor([101, 60]))
        >>> log_probs.shape, lengths.tolist()
        (torch.Size([2, 26, 29]), [26, 15])
    """

    def __init__(self, config: ModelConfig) -> None:
        """Build the network.

        Args:
            config: all its sizes.
        """
        super().__init__()
        self.config = config
        strides = _stem_strides(config)
        rows = config.n_mels  # picture rows after the strided convolutions
        for stride, _ in strides:
            rows = (rows + stride - 1) // stride
        inputs = [1] + [config.channels] * (len(strides) - 1)
        self.stem = nn.ModuleList(
            nn.Conv2d(n, config.channels, kernel_size=3, stride=stride, padding=1)
            for n, stride in zip(inputs, strides)
        )
        self.residual_blocks = nn.ModuleList(
            ResidualCNN(config.channels, rows, config.dropout)
            for _ in range(config.residual_blocks)
        )
        self.linear = nn.Linear(config.channels * rows, config.rnn_size)
        self.rnn = nn.ModuleList(
            BidirectionalGRU(
                config.rnn_size if n == 0 else 2 * config.rnn_size, config.rnn_size, config.dropout
            )
            for n in range(config.rnn_layers)
        )
        self.classifier = nn.Sequential(
            nn.Linear(2 * config.rnn_size, config.rnn_size),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.rnn_size, config.vocab_size),
        )

    def forward(
        self,
        features: Float[Tensor, "batch 1 n_mels frames"],
        lengths: Int[Tensor, " batch"],
        *,
        halfway: bool = False,
    ) -> tuple[Tensor, ...]:
        """Recognize a batch.

        Args:
            features: normalized log-mels; frames past `lengths` may hold anything, even NaN.
            lengths: real frames of each utterance, at least 1. On the CPU this saves a wait for
                the GPU.
            halfway: return as well what the classifier would say of the GRU layer in the middle,
                which InterCTC trains on (Lee and Watanabe 2021).

        Returns:
            log_probs (batch, frames_out, vocab), natural log, float32; rows past an utterance's
            output length are unspecified but finite. The output lengths (batch,). With `halfway`
            the log-probabilities halfway, of the same shape.

        Raises:
            ValueError: wrong shapes, a length outside 1..frames, or `halfway` with one GRU layer.
        """
        config = self.config
        if features.dim() != 4 or features.shape[1:3] != (1, config.n_mels):
            raise ValueError(
                f"features have shape {tuple(features.shape)}; this model takes"
                f" (batch, 1, {config.n_mels}, frames)"
            )
        cpu_lengths = torch.as_tensor(lengths).cpu()
        if cpu_lengths.shape != features.shape[:1]:
            raise ValueError(f"{tuple(cpu_lengths.shape)} lengths for {len(features)} utterances")
        if int(cpu_lengths.min()) < 1 or int(cpu_lengths.max()) > features.shape[-1]:
            raise ValueError(
                f"lengths {cpu_lengths.tolist()} must lie in 1..{features.shape[-1]} (frames)"
            )
        if halfway and config.rnn_layers < 2:
            raise ValueError("rnn_layers=1 has no layer halfway: InterCTC needs two or more")
        device_lengths = cpu_lengths.to(features.device)
        x = features
        for n, convolution in enumerate(self.stem):
            x = nn.functional.gelu(x) if n else x  # two linear layers in a row would be one
            x = convolution(_hide_padding(x, valid_mask(device_lengths, x.shape[-1])))
            device_lengths = (device_lengths + convolution.stride[1] - 1) // convolution.stride[1]
        mask = valid_mask(device_lengths, x.shape[-1])
        for block in self.residual_blocks:
            x = block(x, mask)
        x = x.permute(0, 3, 1, 2).flatten(2)  # -> (batch, frames_out, channels * rows)
        x = self.linear(x)  # -> (batch, frames_out, rnn_size)

        lengths_out = output_lengths(cpu_lengths, config)
        heard = []  # by the classifier: the last layer, and the one in the middle if asked for
        for n, layer in enumerate(self.rnn, 1):
            x = layer(x, lengths_out)  # -> (batch, frames_out, 2 * rnn_size)
            if n == config.rnn_layers or (halfway and n == config.rnn_layers // 2):
                heard.insert(0, self.classifier(x).float().log_softmax(dim=-1))  # -> (..., vocab)
        return heard[0], lengths_out.to(torch.as_tensor(lengths).device), *heard[1:]


def multiplications(config: ModelConfig) -> int:
    """Count the multiply-adds of one output frame, forward; training takes about three times that.

    Args:
        config: all sizes.

    Returns:
        Multiply-adds of convolutions, linear layers and GRUs; what is left is small beside them.

    Example:
        >>> seconds = 100 / 2  # frames a second at a hop of 160 and a stride of 2
        >>> round(2 * multiplications(ModelConfig.preset("base")) * seconds / 1e9, 2)
        2.54
    """
    rows, total, channels_in = config.n_mels, 0, 1
    strides = _stem_strides(config)
    for n, (stride, _) in enumerate(strides):
        rows = (rows + stride - 1) // stride
        later = math.prod(time for _, time in strides[n + 1 :])  # frames here an output frame
        total += 9 * channels_in * config.channels * rows * later
        channels_in = config.channels
    total += config.residual_blocks * 2 * 9 * config.channels**2 * rows
    total += config.channels * rows * config.rnn_size
    for n in range(config.rnn_layers):
        inputs = config.rnn_size * (2 if n else 1)
        total += 2 * 3 * config.rnn_size * (inputs + config.rnn_size)
    return total + 2 * config.rnn_size * config.rnn_size + config.rnn_size * config.vocab_size


def parameter_count(model: nn.Module) -> int:
    """Count the trainable numbers of a network.

    Example:
        >>> parameter_count(nn.Linear(3, 2))
        8
    """
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _hide_padding(x: Tensor, mask: Tensor) -> Tensor:
    """Zero the frames past each utterance's end; `where` also stops NaN, a product would not."""
    return torch.where(mask[:, None, None, :], x, 0.0)
