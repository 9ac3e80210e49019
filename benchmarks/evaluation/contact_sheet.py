"""The worst mistakes as one picture. It shows faces: written only where the user asks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.evaluation.run import Evaluation
from benchmarks.evaluation.scoring import read_frame
from runtime.engine_info import Preprocessing

#: Pictures of each kind of mistake, and how many a row.
WORST = 24
_COLUMNS = 8
_SIDE = 128
_TEXT = 30
_HOW = Preprocessing(_SIDE, _SIDE, "bilinear")


def worst_mistakes(one: Evaluation, fake: bool, count: int = WORST) -> list[int]:
    """Images of one class that were called the other, the most wrong first.

    Args:
        one: an evaluation.
        fake: the class that they are.
        count: at most.

    Returns:
        Their places in ``one.scored.images``.
    """
    labels = np.asarray([image.fake for image in one.scored.images])
    scores, logits = one.scored.fake[one.index], one.scored.logit[one.index]
    wrong = np.flatnonzero((labels == fake) & ((scores >= one.metrics.threshold) != labels))
    order = np.argsort(logits[wrong] if fake else -logits[wrong], kind="stable")
    return [int(i) for i in wrong[order][:count]]


def draw_contact_sheet(one: Evaluation, path: Path) -> None:
    """Reals that were called fake, then fakes that were called real, as a JPEG."""
    from PIL import Image, ImageDraw, ImageFont

    kinds = [("real, called fake", worst_mistakes(one, False)),
             ("fake, called real", worst_mistakes(one, True))]  # fmt: skip
    names = {one.scored.images[i].name for _, places in kinds for i in places}
    pictures = {image.name: read_frame(data, _HOW) for image, data in one.source.read(names)}
    rows = [-(-len(places) // _COLUMNS) for _, places in kinds]
    height = sum(32 + row * (_SIDE + _TEXT) for row in rows) + 8
    sheet = Image.new("RGB", (_COLUMNS * (_SIDE + 6) + 6, height), "white")
    draw = ImageDraw.Draw(sheet)
    small, large = ImageFont.load_default(11), ImageFont.load_default(15)
    top = 8
    for (kind, places), row_count in zip(kinds, rows, strict=True):
        total = one.metrics.confusion[0][1] if kind.startswith("real") else (
            one.metrics.confusion[1][0])  # fmt: skip
        title = f"{kind}: the worst {len(places)} of {total}" if places else f"{kind}: none"
        draw.text((6, top), title, "black", large)
        top += 24
        for place, index in enumerate(places):
            x = 6 + place % _COLUMNS * (_SIDE + 6)
            y = top + place // _COLUMNS * (_SIDE + _TEXT)
            name = one.scored.images[index].name
            sheet.paste(Image.fromarray(pictures[name]), (x, y))
            score = f"P(fake) {one.scored.fake[one.index][index]:.4f}"
            draw.text((x, y + _SIDE + 1), _drawable(name), "#555555", small)
            draw.text((x, y + _SIDE + 13), score, "black", small)
        top += row_count * (_SIDE + _TEXT) + 8
    sheet.save(path, "JPEG", quality=90)


def _drawable(name: str) -> str:
    text = name.encode("ascii", "backslashreplace").decode().replace("\n", "\\n")
    return text if len(text) <= 21 else f"...{text[-18:]}"
