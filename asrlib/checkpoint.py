"""Save and load everything a recognizer is: weights, sizes, alphabet, feature settings, record.

Writing is atomic: a checkpoint is the old one or the new one, never half of each. Loading runs no
code from the file (`weights_only=True`).
"""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from asrlib.features import FeatureConfig
from asrlib.files import atomic_file
from asrlib.model import ModelConfig, SpeechRecognitionModel
from asrlib.text import ALPHABET

FORMAT = 1


def save_checkpoint(
    path: str | os.PathLike,
    model: SpeechRecognitionModel,
    features: FeatureConfig,
    record: dict[str, Any],
    *,
    weights: dict[str, torch.Tensor] | None = None,
    resume: dict[str, Any] | None = None,
) -> None:
    """Write a checkpoint atomically.

    Args:
        path: where to.
        model: its configuration is stored, and its weights unless `weights` are given.
        features: settings of the spectrogram it was trained on.
        record: how it was trained: data, seed, epochs, error rates; plain numbers and texts.
        weights: other weights of the same network, for instance their moving average.
        resume: what training needs to go on.

    Raises:
        OSError: the disk is full or the folder cannot be written; an older file stays whole.

    Example:
        >>> model = SpeechRecognitionModel(ModelConfig.preset("tiny"))
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "tiny.pt"
        >>> save_checkpoint(file, model, FeatureConfig(), {"data": "none"})
        >>> load_checkpoint(file)["record"]
        {'data': 'none'}
    """
    payload = {
        "format": FORMAT,
        "model_config": asdict(model.config),
        "feature_config": asdict(features),
        "alphabet": ALPHABET,
        "record": record,
        "weights": weights if weights is not None else model.state_dict(),
        "resume": resume,
    }
    with atomic_file(path) as part:
        torch.save(payload, part)


def load_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """Read a checkpoint, running no code from it.

    Args:
        path: a file that `save_checkpoint` wrote.

    Returns:
        Its parts; `model_config` and `feature_config` as configurations.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no checkpoint of this package, or of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    with path.open("rb") as file:
        try:
            payload = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # broken bytes: from KeyError to struct.error
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(f"{path}: not a checkpoint ({reason})") from None
    if not isinstance(payload, dict) or payload.get("format") != FORMAT:
        raise ValueError(f"{path}: not a checkpoint of format {FORMAT}")
    try:
        payload["model_config"] = ModelConfig(**payload["model_config"])
        payload["feature_config"] = FeatureConfig(**payload["feature_config"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: a checkpoint with broken settings ({error})") from None
    return payload


def build_model(checkpoint: dict[str, Any]) -> SpeechRecognitionModel:
    """Make the network of a loaded checkpoint, ready to recognize.

    Args:
        checkpoint: from `load_checkpoint`.

    Returns:
        The network in eval mode, float32, on the CPU.
    """
    model = SpeechRecognitionModel(checkpoint["model_config"])
    model.load_state_dict({name: value.float() for name, value in checkpoint["weights"].items()})
    return model.eval()
