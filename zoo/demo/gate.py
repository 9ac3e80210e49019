"""Who may talk to the page, and how much they may send. All before Gradio sees it."""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from zoo.demo.uploads import MOST_BYTES, Uploads

if TYPE_CHECKING:
    from starlette.middleware import Middleware
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

UPLOAD = "/gradio_api/upload"
#: Bytes of a form around its file.
_FORM = 1 << 16


def allowed_hosts(host: str, more: Sequence[str] = ()) -> list[str]:
    """Names and addresses by which a page that listens on ``host`` is reached.

    A site elsewhere can let its own name point to this machine, and its scripts would then be
    of one origin with the page (DNS rebinding); but the browser still sends that name.

    Args:
        host: name or address that is listened on.
        more: names that are known to the user alone, as that of a proxy.
    """
    names = {host, *more}
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        address = None
    everywhere = address is not None and address.is_unspecified
    if everywhere or host == "localhost" or (address is not None and address.is_loopback):
        names |= {"localhost", "127.0.0.1", "::1"}
    if everywhere:
        names |= _own_names()
    return sorted(name.strip("[]").lower() for name in names)


def address_host(host: str) -> str:
    """How ``host`` is written in the page's address, for a browser on this machine."""
    plain = host.strip("[]")
    if plain in ("0.0.0.0", "::"):
        return "localhost"
    return f"[{plain}]" if ":" in plain else plain


def _own_names() -> set[str]:
    """This machine's names and addresses."""
    name = socket.gethostname()
    names = {name, socket.getfqdn()}
    with suppress(OSError):  # a name that does not resolve
        names |= {str(info[4][0]) for info in socket.getaddrinfo(name, None)}
    return names


def guards(hosts: Sequence[str], uploads: Uploads) -> list[Middleware]:
    """What stands before the page, the outermost first.

    Args:
        hosts: of `allowed_hosts`.
        uploads: which there is room for.
    """
    from starlette.middleware import Middleware
    from starlette.middleware.cors import CORSMiddleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    return [
        Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False),
        Middleware(_SameOrigin),
        # With this one there Gradio adds no headers of its own, which would echo any origin.
        Middleware(CORSMiddleware, allow_origins=[]),
        Middleware(_Room, uploads=uploads),
    ]


class _SameOrigin:
    """Refuses what the scripts and forms of other sites send."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.datastructures import Headers
        from starlette.responses import PlainTextResponse

        app = self._app
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc != headers.get("host"):
                app = PlainTextResponse("Requests of other sites are refused", 403)
        await app(scope, receive, send)


class _Room:
    """Takes an upload where there is room, of one file, and tells `Uploads` of it."""

    def __init__(self, app: ASGIApp, uploads: Uploads) -> None:
        self._app = app
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.datastructures import Headers
        from starlette.responses import PlainTextResponse

        if scope["type"] != "http" or scope["method"] != "POST" or _path(scope) != UPLOAD:
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        if not (length.isascii() and length.isdigit()):
            answer = PlainTextResponse("The size of an upload has to be told", 411)
        elif int(length) > MOST_BYTES + _FORM:
            answer = PlainTextResponse(f"A file may have {MOST_BYTES >> 20} MB", 413)
        elif not self._uploads.begin(int(length)):
            answer = PlainTextResponse("Too many files wait: try again in a minute", 503)
        else:
            try:
                await self._app(scope, receive, _Arrival(send, self._uploads))
            finally:
                self._uploads.end(int(length))
            return
        await answer(scope, receive, send)


def _path(scope: Scope) -> str:
    return str(scope["path"]).rstrip("/")


class _Arrival:
    """Counts the file that Gradio names in its answer before the browser learns of it."""

    def __init__(self, send: Send, uploads: Uploads) -> None:
        self._send = send
        self._uploads = uploads
        self._start: Message = {}
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if message.get("more_body", False):
            return
        if self._start["status"] == 200:
            files = json.loads(self._body)
            if len(files) != 1:
                # What is not counted is deleted when this upload ends.
                self._start = {
                    **self._start,
                    "status": 400,
                    "headers": [(b"content-type", b"text/plain")],
                }
                self._body = b"One file at a time"
            else:
                self._uploads.arrived(Path(files[0]))
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": self._body})
