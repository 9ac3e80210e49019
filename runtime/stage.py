"""One stage of a pipeline: an iterator that runs ahead in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Stage(Generic[T]):
    """Runs an iterator in a thread of its own, at most ``ahead`` items in advance.

    Iterating over it gives the items, and raises what the iterator raised. Leaving the
    ``with`` stops the thread, whether it was done or not, and waits for it.
    """

    _END = object()

    def __init__(self, source: Iterator[T], ahead: int) -> None:
        self._source = source
        self._queue: queue.Queue[object] = queue.Queue(ahead)
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Stage[T]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        while not self._stopped.is_set():
            try:
                item = self._queue.get(timeout=0.1)
            except queue.Empty:
                continue
            if item is self._END:
                if self._error is not None:
                    raise self._error
                return
            yield item  # type: ignore[misc]

    def take_waiting(self, most: int) -> list[T]:
        """Items that are there already, without waiting; the end stays in the queue."""
        items: list[T] = []
        while len(items) < most:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if item is self._END:
                self._queue.put(item)  # nothing comes after the end: there is room
                break
            items.append(item)  # type: ignore[arg-type]
        return items

    def _run(self) -> None:
        try:
            for item in self._source:
                if not self._put(item):
                    return
        except BaseException as error:
            self._error = error
        finally:
            close = getattr(self._source, "close", None)
            if close is not None:
                close()
            self._put(self._END)

    def _put(self, item: object) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False
