"""What CTC asks of an utterance: enough frames for its letters.

The loss itself is torch's for now; this module will hold ours, written in the open and checked
against enumeration.
"""

import torch
from jaxtyping import Int
from torch import Tensor


def required_frames(targets: Int[Tensor, " labels"]) -> int:
    """Count the output frames that the shortest CTC path of a text needs.

    One frame a label, and one blank between two equal neighbors: without it "ll" would collapse
    to "l" (Graves et al. 2006, section 3.1).

    Args:
        targets: ids of one utterance, without blanks; may be empty.

    Returns:
        The least number of frames with a path.

    Example:
        >>> from asrlib.text import Tokenizer
        >>> required_frames(Tokenizer().encode("hello"))
        6
    """
    targets = torch.as_tensor(targets)
    return len(targets) + int((targets[1:] == targets[:-1]).sum())
