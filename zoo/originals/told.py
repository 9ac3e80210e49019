"""What a weights file says of its own network, which goes before what the card says."""

from __future__ import annotations

from dataclasses import dataclass, replace

from runtime.engine_info import Preprocessing
from zoo.card import Head


@dataclass(frozen=True)
class FileTold:
    """What was read from a file that carries its network with it.

    Attributes:
        height, width: of a frame, in pixels; ``None`` where the file does not tell.
        head: what comes out of the network; ``None`` where it is as on the card.
        scale: what pixels of 0..255 are multiplied by before a network that does the rest of
            their scaling itself; ``None`` where the card's normalisation holds.
        own_network: whether it is not quite the card's network.
        notes: how the network differs from the card's and what else was made of the file,
            each a short sentence for people.
    """

    height: int | None = None
    width: int | None = None
    head: Head | None = None
    scale: float | None = None
    own_network: bool = False
    notes: tuple[str, ...] = ()

    def resized(self, how: Preprocessing) -> Preprocessing:
        """The card's way to a frame, to frames of the file's own size."""
        height, width = self.height or how.height, self.width or how.width
        if (height, width) == (how.height, how.width):
            return how
        shorter = how.shorter_side
        if shorter is not None:  # the same part of the picture as before
            shorter = round(shorter * max(height, width) / max(how.height, how.width))
        return replace(how, height=height, width=width, shorter_side=shorter)
