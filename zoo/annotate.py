"""Draw verdicts into a copy of the image or video that they are about."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import ZooError
from runtime.frames import load_image
from runtime.text import printable
from runtime.verdicts import FaceVerdict, MediaVerdict
from zoo.faces_in_time import FacesInTime
from zoo.inputs import Input

if TYPE_CHECKING:
    from PIL import Image

_COLOURS = {"fake": (230, 40, 40), "real": (30, 170, 70)}
#: Ticks a second of the video that is written: fine enough for any file's own times.
_TICKS = 90_000


def output_paths(inputs: Sequence[Input], folder: Path) -> dict[Path, Path]:
    """Where each input's copy goes: below ``folder``, no two to the same place.

    ``clips/a/b.mov`` of the argument ``clips`` becomes ``a/b.mp4``; of several of one
    name the second is ``b-2.mp4``. The same inputs give the same names.
    """
    taken: set[str] = set()
    found: dict[Path, Path] = {}
    for item in inputs:
        parts = [part for part in item.name.parts if part not in ("..", ".", os.sep)]
        name = Path(*parts) if parts else Path("unnamed")
        suffix = ".mp4" if item.kind == "video" else ".jpg"
        number = 1
        while True:
            # Not with_suffix: the stem may hold a dot.
            stem = name.stem if number == 1 else f"{name.stem}-{number}"
            path = folder / name.parent / f"{stem}{suffix}"
            # Case does not tell files apart everywhere.
            if str(path).casefold() not in taken:
                break
            number += 1
        taken.add(str(path).casefold())
        found[item.path] = path
    return found


def annotate(
    source: Path,
    verdict: MediaVerdict,
    out: Path,
    folder: Path,
    trained: bool,
    progress: Callable[[float], None] = lambda part: None,
) -> None:
    """Write the copy; it appears under its name when it is whole.

    Args:
        source: the judged file.
        verdict: of it.
        out: see `output_paths`.
        folder: that ``out`` must not leave, by a symbolic link neither.
        trained: whether the engine's weights are; otherwise the picture says so.
        progress: called after each frame of a video with the part that is written, 0..1
            (0 where the file does not say how long it is); what it raises ends the work.

    Raises:
        ZooError: it cannot be written, would leave the folder or overwrite the source.
    """
    _check_place(source, out, folder)
    # Not made of the name, which may be as long as a name can be.
    part = out.with_name(f".{os.getpid()}-{threading.get_ident()}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _check_place(source, out, folder)
        if verdict.kind == "image":
            picture = load_image(source)
            draw_faces(picture, verdict.faces, trained)
            picture.save(part, "JPEG", quality=92)
        else:
            _write_video(source, verdict, part, trained, progress)
        part.replace(out)
    except OSError as error:
        raise ZooError(
            f"{printable(out)} cannot be written", error.strerror or str(error), "free some space"
        ) from None
    finally:
        part.unlink(missing_ok=True)


def _check_place(source: Path, out: Path, folder: Path) -> None:
    if not out.parent.resolve().is_relative_to(folder.resolve()):
        raise ZooError(
            f"{printable(out)} would be written outside {printable(folder)}",
            f"a link leads to {printable(out.parent.resolve())}",
            "choose an empty folder for --annotate",
        )
    if out.exists() and out.samefile(source):
        raise ZooError(
            f"{printable(out)} is the file that is judged",
            "it would be overwritten with its annotated copy",
            "choose another folder for --annotate",
        )


def draw_faces(picture: Image.Image, faces: Sequence[FaceVerdict], trained: bool) -> None:
    """Draw boxes with P(fake) into a picture; a whole picture has its frame as the box."""
    from PIL import ImageDraw, ImageFont

    pen = ImageDraw.Draw(picture)
    line = max(2, round(max(picture.size) / 400))
    font: Any = ImageFont.load_default(max(12, round(max(picture.size) / 55)))
    boxes = [face.box or (0, 0, *picture.size) for face in faces]
    for face, (x, y, width, height) in zip(faces, boxes, strict=True):
        corner = x + width, y + height
        pen.rectangle((x, y, *corner), outline=_COLOURS[face.label], width=line)
    taken: list[_Area] = []
    for face, (x, y, _, height) in zip(faces, boxes, strict=True):
        text = f"{'' if trained else 'untrained: '}{face.label} {face.fake:.2f}"
        if face.track is not None:
            text = f"#{face.track} {text}"
        left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
        size = right - left + 2 * line, bottom - top + 2 * line
        area = _free_place(x, y, y + height, size, picture.size, taken)
        taken.append(area)
        pen.rectangle(area, fill=_COLOURS[face.label])
        start = area[0] + line - left, area[1] + line - top
        pen.text(start, text, fill=(255, 255, 255), font=font)


_Area = tuple[float, float, float, float]


def _free_place(
    x: float,
    top: float,
    bottom: float,
    size: tuple[float, float],
    picture: tuple[int, int],
    taken: Sequence[_Area],
) -> _Area:
    """Room for a label: above its box, below it, or further up; never beyond the picture.

    Args:
        x, top, bottom: of the face's box.
        size: width and height of the label.
        picture: likewise.
        taken: what other labels cover; covered again only where all else is taken.
    """
    width, height = size
    left = max(0.0, min(x, picture[0] - width))
    wanted = [top - height, bottom, *(top - n * height for n in range(2, 6))]
    places: list[_Area] = []
    for y in wanted:
        y = max(0.0, min(y, picture[1] - height))
        places.append((left, y, left + width, y + height))
    # A label at the picture's upper edge would hide the face.
    inside = [p for p, y in zip(places, wanted, strict=True) if y == p[1]] or places
    for place in inside:
        if not any(_meet(place, other) for other in taken):
            return place
    return inside[0]


def _meet(one: _Area, other: _Area) -> bool:
    across = min(one[2], other[2]) > max(one[0], other[0])
    return across and min(one[3], other[3]) > max(one[1], other[1])


def _write_video(
    source: Path,
    verdict: MediaVerdict,
    part: Path,
    trained: bool,
    progress: Callable[[float], None],
) -> None:
    """Every frame with its faces; without the sound."""
    import av

    from runtime.video import Sampling, Video

    # The encoder's own default takes four times as long as the verdict itself.
    codec, how = "libx264", {"preset": "veryfast"}
    if codec not in av.codecs_available:
        codec, how = "mpeg4", {}
    with Video(source) as video, av.open(f"file:{part}", "w", format="mp4") as container:
        faces = FacesInTime(verdict, video.facts.duration)
        stream: Any = None
        last = -1
        for frame in video.frames(Sampling("every", 1)):
            picture = frame.picture
            if stream is None:
                rate = Fraction(video.facts.rate or 25).limit_denominator(1001)
                stream = container.add_stream(codec, rate=rate, options=how)
                stream.codec_context.thread_count = 0  # one a core
                # 4:2:0 halves both sides.
                stream.width, stream.height = (max(2, side - side % 2) for side in picture.size)
                stream.pix_fmt = "yuv420p"
                stream.codec_context.time_base = Fraction(1, _TICKS)
            ticks = round(frame.time * _TICKS)
            if ticks <= last:
                continue
            last = ticks
            draw_faces(picture, faces.at(frame.time), trained)
            if picture.size != (stream.width, stream.height):
                picture = picture.crop((0, 0, stream.width, stream.height))
            image: Any = av.VideoFrame.from_image(picture)
            image.pts, image.time_base = ticks, Fraction(1, _TICKS)
            container.mux(stream.encode(image))
            length = video.facts.duration
            progress(min(1.0, frame.time / length) if length else 0.0)
        if stream is not None:
            container.mux(stream.encode(None))
