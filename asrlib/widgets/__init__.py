"""What a reader hears and touches: HTML with its own script, which needs no kernel or network."""

from asrlib.widgets.beam_playground import BeamPlayground
from asrlib.widgets.compare import ComparePlayer
from asrlib.widgets.ctc_playground import CTCPlayground
from asrlib.widgets.film import TrainingFilm
from asrlib.widgets.player import Player
from asrlib.widgets.recorder import Recording, record
from asrlib.widgets.workbench import SpectrogramWorkbench

__all__ = [
    "BeamPlayground",
    "CTCPlayground",
    "ComparePlayer",
    "Player",
    "Recording",
    "SpectrogramWorkbench",
    "TrainingFilm",
    "record",
]
