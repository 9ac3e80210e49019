"""The page, in Gradio. What is dropped on it is deleted when its answer is given.

Pictures go into the page as data, not as files: nothing of them is on the disk afterwards.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

from runtime.detector import Detector
from runtime.errors import MissingPackageError, ZooError
from runtime.faces import FaceFinder
from runtime.text import printable
from runtime.verdicts import MediaVerdict
from zoo.demo.answer import IMAGE_SUFFIXES, MAX_SECONDS, VIDEO_SUFFIXES, Answer, answer
from zoo.demo.folder import private_folder
from zoo.demo.gate import address_host, allowed_hosts, guards
from zoo.demo.server import listen, running
from zoo.demo.uploads import MOST_BYTES, Uploads

#: Uploads that nobody asked about are deleted after this many seconds.
_ABANDONED = 600
#: Nothing is reported to Gradio's makers, and no answers are kept in the browser.
_PRIVATE = {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_RUN_HISTORY": "False"}


@contextmanager
def serve(
    detectors: Mapping[str, Detector],
    finder: FaceFinder | None,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    names: Sequence[str] = (),
) -> Iterator[str]:
    """Serve the page while the context is open; gives its address.

    Args:
        detectors: opened engines by the name to choose them by, the default first.
        finder: of faces; ``None`` takes pictures for face crops.
        host: address to listen on; the default can be reached from this machine only.
        port: the first free one from 7860 on by default.
        names: other hosts by which browsers reach the page, as that of a proxy; a request
            for any that is not known is refused.

    Raises:
        MissingPackageError: Gradio is not installed.
        ZooError: the port is taken.
    """
    with listen(host, port) as listener, private_folder() as folder, _told_to_gradio(folder):
        gradio = _import_gradio()
        from fastapi import FastAPI
        from starlette.routing import Mount

        uploads = Uploads(folder)
        page = _build(gradio, detectors, finder, uploads)
        app = FastAPI(
            middleware=guards(allowed_hosts(host, names), uploads),
            docs_url=None,
            redoc_url=None,
            openapi_url=None,
        )
        gradio.mount_gradio_app(
            app,
            page,
            path="/",
            max_file_size=MOST_BYTES,
            footer_links=[],
            run_history=False,
            show_error=False,
            ssr_mode=False,
        )

        (mounted,) = (route for route in app.routes if isinstance(route, Mount))
        inner: Any = mounted.app

        def end_streams() -> None:
            inner.stop_event.set()
            page._queue.close()

        with running(app, listener, end_streams):
            yield f"http://{address_host(host)}:{listener.getsockname()[1]}/"


@contextmanager
def _told_to_gradio(folder: Path) -> Iterator[None]:
    """Gradio keeps uploads in ``folder``, and reports to nobody."""
    before = {key: os.environ.get(key) for key in ("GRADIO_TEMP_DIR", *_PRIVATE)}
    os.environ.update(_PRIVATE, GRADIO_TEMP_DIR=str(folder))
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


def engine_names(paths: Sequence[Path]) -> list[str]:
    """What the page calls engines: their file names, or whole paths where two are the same."""
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _import_gradio() -> Any:
    try:
        import gradio
    except ImportError:
        raise MissingPackageError("gradio", "zoo demo", "demo") from None
    return gradio


def _build(
    gradio: Any, detectors: Mapping[str, Detector], finder: FaceFinder | None, uploads: Uploads
) -> Any:
    names = list(detectors)

    def on_upload(upload: str | None, engine: str) -> tuple[str, None]:
        if upload is None:
            return "", None
        path = Path(upload)
        with uploads.answering(path):
            try:
                found = answer(path, detectors[engine], finder)
                return result_html(found, path.name, detectors[engine], engine), None
            except ZooError as error:
                return error_html(error, path), None

    with gradio.Blocks(
        title="Deepfake zoo", analytics_enabled=False, delete_cache=(60, _ABANDONED)
    ) as page:
        gradio.Markdown(
            "## Is this face forged?\n"
            f"Drop a picture, or a clip of up to {MAX_SECONDS:.0f} seconds ({MOST_BYTES >> 20} MB)."
            " It is judged on the machine that serves this page and then deleted."
        )
        with gradio.Row():
            engine = gradio.Dropdown(names, value=names[0], label="Engine", scale=1)
            upload = gradio.File(
                label="Picture or clip",
                file_types=[*IMAGE_SUFFIXES, *VIDEO_SUFFIXES],
                scale=2,
                elem_id="upload",
            )
        result = gradio.HTML(elem_id="result")
        # One file at a time: a clip takes all cores, and memory stays bounded.
        upload.upload(
            on_upload,
            [upload, engine],
            [result, upload],
            concurrency_limit=1,
            api_visibility="private",
        )
    page.queue(max_size=8)
    return page


def result_html(found: Answer, name: str, detector: Detector, engine: str) -> str:
    """The answer as HTML, everything in it."""
    verdict = found.verdict
    parts = [f"<h3>{escape(_headline(verdict, detector.info.threshold))}</h3>"]
    parts.append(f"<p>{escape(printable(name))}, {escape(engine)}. {escape(_basis(verdict))}</p>")
    if not detector.info.weights.trained:
        parts.append("<p><b>The weights are untrained: this verdict means nothing.</b></p>")
    parts += [_image(found.picture, "the picture with its faces")]
    if found.heat is not None:
        parts.append(_image(found.heat, "heat map of the most suspicious face"))
    parts.append(_scores(verdict))
    return "\n".join(parts)


def error_html(error: ZooError, path: Path) -> str:
    """What went wrong, without the place where the upload was kept."""
    lines = [line for line in (error.what, error.why, error.todo) if line]
    shown = (escape(printable(line.replace(f"{path.parent}/", ""))) for line in lines)
    return f"<h3>It cannot be judged</h3><p>{'<br>'.join(shown)}</p>"


def _headline(verdict: MediaVerdict, threshold: float) -> str:
    if verdict.highest is None or verdict.overall is None:
        return "No face was found"
    label: str = "fake" if verdict.highest >= threshold else "real"
    if verdict.kind == "video":
        people = [track.verdict for track in verdict.tracks]
        label = max(people, key=lambda v: v.mean, default=verdict.overall).label
    return f"{label.upper()}: P(fake) {verdict.highest:.3f}"


def _basis(verdict: MediaVerdict) -> str:
    if verdict.overall is None:
        return f"{len(verdict.dropped)} faces were too small." if verdict.dropped else ""
    if verdict.kind == "image":
        count = len(verdict.faces)
        return "Judged whole, as a face crop." if verdict.whole else f"{count} faces judged."
    low, high = verdict.overall.low, verdict.overall.high
    spread = "" if low is None else f", 95 % interval of the mean {low:.3f} to {high:.3f}"
    damage = "".join(f" Damaged: {what}." for what in verdict.damage)
    return f"{len(verdict.faces)} faces in {verdict.frames} frames{spread}.{damage}"


def _scores(verdict: MediaVerdict) -> str:
    if verdict.tracks:
        rows = [
            (f"person {t.track}, {t.start:.1f} to {t.end:.1f} s", t.verdict.mean, t.verdict.label)
            for t in verdict.tracks
        ]
    else:
        rows = [(f"face {i}", face.fake, face.label) for i, face in enumerate(verdict.faces, 1)]
    if not rows:
        return ""
    body = "".join(
        f"<tr><td>{escape(name)}</td><td>{fake:.4f}</td><td>{label}</td></tr>"
        for name, fake, label in rows
    )
    return f"<table><tr><th></th><th>P(fake)</th><th>verdict</th></tr>{body}</table>"


def _image(png: bytes, alt: str) -> str:
    data = base64.b64encode(png).decode()
    style = "max-width:100%;display:block;margin:.5em 0"
    return f'<img alt="{alt}" style="{style}" src="data:image/png;base64,{data}">'
