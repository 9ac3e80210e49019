"""How a face is cut out of its picture: part of what a network was trained with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FaceCrop:
    """The crop that a network's training faces were cut with.

    Attributes:
        align: turn the face until eyes and mouth stand one above the other, and measure
            its size by them: 2.2 times the greater of the distance between the eyes and
            that from the eyes to the mouth, around a point four fifths of the way from
            the eyes to the tip of the nose. Beyond the picture's edge its mirror image
            goes on. Without it, the face is the finder's box, cut at the picture's edge.
        margin: added on every side, as a fraction of the face's size.
        square: the longer side of the box for both; an aligned face is always square.

    The default is how Afchar's data set was made (DariusAf/MesoNet, ``pipeline.py``: 2.2
    times the distance, times 1.3). Its validation set bears that out: side by distance has
    a median of 2.9 where 2.86 is due, the tilt one of 0 degrees.
    """

    align: bool = True
    margin: float = 0.15
    square: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.margin <= 4:  # NaN neither
            raise ValueError(f"margin is {self.margin}, not within 0..4 of the face's size")
        if self.align and not self.square:
            raise ValueError("an aligned face is square")
