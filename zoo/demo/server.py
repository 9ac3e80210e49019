"""Serve an ASGI application from a thread, on an address that was looked for."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

from runtime.errors import ZooError

#: Where the first free port is looked for.
_PORTS = range(7860, 7960)
#: Seconds for answers under way when the page is closed.
_PATIENCE = 1


@contextmanager
def listen(host: str, port: int | None) -> Iterator[socket.socket]:
    """A socket that listens on ``host``.

    Args:
        host: name or address; IPv6 with or without brackets.
        port: the first free one of a hundred by default.

    Raises:
        ZooError: there is no such address here, or the port is taken.
    """
    name = host.strip("[]")
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    for number in _PORTS if port is None else (port,):
        try:
            found = socket.create_server((name, number), family=family)
            break
        except OSError as error:
            why = error.strerror or str(error)
    else:
        raise ZooError(
            f"{host}:{port or ''} cannot be served", why, "choose another --host or --port"
        )
    with found:
        yield found


@contextmanager
def running(app: Any, listener: socket.socket, on_close: Callable[[], None]) -> Iterator[None]:
    """Answer requests while the context is open.

    Args:
        app: the application.
        listener: of `listen`.
        on_close: called when no more requests are taken, to end answers that would not end.
    """
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            log_level="error",
            timeout_graceful_shutdown=_PATIENCE,
        )
    )
    thread = Thread(target=server.run, args=([listener],), name="zoo-demo", daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise ZooError("the page cannot be served", "its server did not start")
        time.sleep(0.01)
    try:
        yield
    finally:
        on_close()
        server.should_exit = True
        thread.join()
