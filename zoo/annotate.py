"""Draw verdicts into a copy of the image or video that they are about."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from runtime.errors import ZooError
from runtime.frames import load_image
from runtime.text import printable
from runtime.verdicts import MediaVerdict
from runtime.video.opening import short_reason
from zoo.drawing import draw_faces, strip_below
from zoo.faces_in_time import FacesInTime
from zoo.inputs import Input
from zoo.sound import Sound

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
) -> str | None:
    """Write the copy; it appears under its name when it is whole.

    Args:
        source: the judged file.
        verdict: of it.
        out: see `output_paths`.
        folder: that ``out`` must not leave, by a symbolic link neither.
        trained: whether the engine's weights are; otherwise the picture says so.
        progress: called after each frame of a video with the part that is written, 0..1
            (0 where the file does not say how long it is); what it raises ends the work.

    Returns:
        Why the sound of a video is not, or not all, in its copy; ``None`` where it is, or
        there was none.

    Raises:
        ZooError: it cannot be written, would leave the folder or overwrite the source.
    """
    _check_place(source, out, folder)
    unheard = None
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
            unheard = _video(source, verdict, part, trained, progress)
        part.replace(out)
    except OSError as error:
        raise ZooError(
            f"{printable(out)} cannot be written", error.strerror or str(error), "free some space"
        ) from None
    finally:
        part.unlink(missing_ok=True)
    return unheard


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


def _video(
    source: Path,
    verdict: MediaVerdict,
    part: Path,
    trained: bool,
    progress: Callable[[float], None],
) -> str | None:
    import av

    try:
        return _write_video(source, verdict, part, trained, progress)
    except av.FFmpegError as error:
        if isinstance(error, OSError):  # the disk
            raise
        raise ZooError(
            f"{printable(source)} has a verdict, but no copy of it could be made",
            short_reason(error),
            "leave --annotate out for this file",
        ) from None


def _write_video(
    source: Path,
    verdict: MediaVerdict,
    part: Path,
    trained: bool,
    progress: Callable[[float], None],
) -> str | None:
    """Every frame with its faces and the clip's verdict below, and the sound."""
    import av

    from runtime.video import Sampling, Video

    with (
        Video(source) as video,
        Sound(source) as sound,
        av.open(f"file:{part}", "w", format="mp4") as container,
    ):
        faces = FacesInTime(verdict, video.facts.duration)
        stream: Any = None
        last = -1
        for frame in video.frames(Sampling("every", 1)):
            picture = frame.picture
            if stream is None:
                # 4:2:0 halves both sides.
                width, height = (max(2, side - side % 2) for side in picture.size)
                whole = strip_below((width, height), verdict.overall, trained)
                stream = _video_stream(container, whole.size, video.facts.rate)
                sound.begin(container)
            ticks = round(frame.time * _TICKS)
            if ticks <= last:
                continue
            last = ticks
            draw_faces(picture, faces.at(frame.time), trained)
            whole.paste(picture.crop((0, 0, width, height)))
            image: Any = av.VideoFrame.from_image(whole)
            image.pts, image.time_base = ticks, Fraction(1, _TICKS)
            container.mux(stream.encode(image))
            sound.carry(frame.time)
            length = video.facts.duration
            progress(min(1.0, frame.time / length) if length else 0.0)
        if stream is not None:
            container.mux(stream.encode(None))
            sound.carry()
    return sound.missing


def _video_stream(container: Any, size: tuple[int, int], rate: float | None) -> Any:
    import av

    # The encoder's own default takes four times as long as the verdict itself.
    codec, how = "libx264", {"preset": "veryfast"}
    if codec not in av.codecs_available:
        codec, how = "mpeg4", {}
    stream = container.add_stream(
        codec, rate=Fraction(rate or 25).limit_denominator(1001), options=how
    )
    stream.codec_context.thread_count = 0  # one a core
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = Fraction(1, _TICKS)
    return stream
