"""Draw verdicts into a copy of the image or video that they are about."""

from __future__ import annotations

import bisect
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import ZooError
from runtime.frames import load_image
from runtime.verdicts import FaceVerdict, MediaVerdict
from zoo.inputs import Input, readable

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


def annotate(source: Path, verdict: MediaVerdict, out: Path, folder: Path, trained: bool) -> None:
    """Write the copy; it appears under its name when it is whole.

    Args:
        source: the judged file.
        verdict: of it.
        out: see `output_paths`.
        folder: that ``out`` must not leave, by a symbolic link neither.
        trained: whether the engine's weights are; otherwise the picture says so.

    Raises:
        ZooError: it cannot be written, would leave the folder or overwrite the source.
    """
    _check_place(source, out, folder)
    part = out.with_name(f".{os.getpid()}-{out.name}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _check_place(source, out, folder)
        if verdict.kind == "image":
            picture = load_image(source)
            draw_faces(picture, verdict.faces, trained)
            picture.save(part, "JPEG", quality=92)
        else:
            _write_video(source, verdict, part, trained)
        part.replace(out)
    except OSError as error:
        raise ZooError(
            f"{readable(out)} cannot be written", error.strerror or str(error), "free some space"
        ) from None
    finally:
        part.unlink(missing_ok=True)


def _check_place(source: Path, out: Path, folder: Path) -> None:
    if not out.parent.resolve().is_relative_to(folder.resolve()):
        raise ZooError(
            f"{readable(out)} would be written outside {readable(folder)}",
            f"a link leads to {readable(out.parent.resolve())}",
            "choose an empty folder for --annotate",
        )
    if out.exists() and out.samefile(source):
        raise ZooError(
            f"{readable(out)} is the file that is judged",
            "it would be overwritten with its annotated copy",
            "choose another folder for --annotate",
        )


def draw_faces(picture: Image.Image, faces: Sequence[FaceVerdict], trained: bool) -> None:
    """Draw boxes with P(fake) into a picture; a whole picture has its frame as the box."""
    from PIL import ImageDraw, ImageFont

    pen = ImageDraw.Draw(picture)
    line = max(2, round(max(picture.size) / 400))
    font: Any = ImageFont.load_default(max(12, round(max(picture.size) / 55)))
    for face in faces:
        x, y, width, height = face.box or (0, 0, *picture.size)
        colour = _COLOURS[face.label]
        pen.rectangle((x, y, x + width, y + height), outline=colour, width=line)
        text = f"{'' if trained else 'untrained: '}{face.label} {face.fake:.2f}"
        if face.track is not None:
            text = f"#{face.track} {text}"
        _, top, right, bottom = pen.textbbox((0, 0), text, font=font)
        above = y - (bottom - top) - 3 * line
        corner = max(0, min(x, picture.width - right)), above if above >= 0 else y + height
        corner = corner[0], min(corner[1], picture.height - (bottom - top) - 2 * line)
        box = pen.textbbox(corner, text, font=font)
        pen.rectangle((box[0] - line, box[1] - line, box[2] + line, box[3] + line), fill=colour)
        pen.text(corner, text, fill=(255, 255, 255), font=font)


def _write_video(source: Path, verdict: MediaVerdict, part: Path, trained: bool) -> None:
    """Every frame with the faces of the last looked-at frame; without the sound."""
    import av

    from runtime.video import Sampling, Video

    by_time: dict[float, list[FaceVerdict]] = {}
    for face in verdict.faces:
        by_time.setdefault(face.time or 0.0, []).append(face)
    times = sorted(by_time)
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with Video(source) as video, av.open(f"file:{part}", "w", format="mp4") as container:
        held = _hold(verdict, video.facts.duration)
        stream: Any = None
        last = -1
        for frame in video.frames(Sampling("every", 1)):
            picture = frame.picture
            if stream is None:
                rate = Fraction(video.facts.rate or 25).limit_denominator(1001)
                stream = container.add_stream(codec, rate=rate)
                # 4:2:0 halves both sides.
                stream.width, stream.height = (max(2, side - side % 2) for side in picture.size)
                stream.pix_fmt = "yuv420p"
                stream.codec_context.time_base = Fraction(1, _TICKS)
            ticks = round(frame.time * _TICKS)
            if ticks <= last:
                continue
            last = ticks
            at = bisect.bisect_right(times, frame.time + 1e-6) - 1
            if at >= 0 and frame.time - times[at] <= held:
                draw_faces(picture, by_time[times[at]], trained)
            if picture.size != (stream.width, stream.height):
                picture = picture.crop((0, 0, stream.width, stream.height))
            image: Any = av.VideoFrame.from_image(picture)
            image.pts, image.time_base = ticks, Fraction(1, _TICKS)
            container.mux(stream.encode(image))
        if stream is not None:
            container.mux(stream.encode(None))


def _hold(verdict: MediaVerdict, duration: float | None) -> float:
    """For how many seconds a face stands: until the next frame was looked at, and a little."""
    looked = max(verdict.frames or 1, 1)
    length = duration or max((face.time or 0.0 for face in verdict.faces), default=0.0)
    return 1.2 * length / looked if looked > 1 else length
