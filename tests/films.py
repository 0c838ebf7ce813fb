"""A small training film for tests: three clips, five moments, every number known."""

import numpy as np

from asrlib.flight import Moment

TRUTHS = ["the cat sat", "it's", "a dog ran off"]
FRAMES = [24, 9, 30]
TEXTS = [  # of each moment, one a clip
    [" q  the", "zz", "x"],
    ["", "", ""],
    ["   ", "", "a "],
    ["he cat at ", "its", "a og an"],
    ["the cat sat", "it's", "a dog ran of"],
]
STEPS = [1, 20, 40, 60, 75]
BLANKS = [0.05, 0.98, 1.0, 0.65, 0.3]
LOSSES = [4.125, 3.1, 2.96, 2.5, 1.0 / 3]
NORMS = [0.9, 1.75, 1.2, 0.8, 0.7]


def posteriors(seed, frames, sharpness=4.0, blanks=2.0):
    """Random probabilities, some of them sharp, as uint8 (frames, 29)."""
    logits = sharpness * np.random.default_rng(seed).normal(size=(frames, 29))
    logits[:, 0] += blanks
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.rint(255 * odds / odds.sum(axis=1, keepdims=True)).astype(np.uint8)


def moments(texts=TEXTS):
    return [
        Moment(step, loss, norm, blank, said, [posteriors([n, k], f) for k, f in enumerate(FRAMES)])
        for n, (step, loss, norm, blank, said) in enumerate(
            zip(STEPS, LOSSES, NORMS, BLANKS, texts, strict=True)
        )
    ]
