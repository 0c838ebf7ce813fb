"""What a reader hears and touches: HTML with its own script, which needs no kernel or network."""

from asrlib.widgets.player import Player

__all__ = ["Player"]
