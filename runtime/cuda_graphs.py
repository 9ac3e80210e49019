"""Small batches as CUDA graphs: copy in, compute and copy out, launched in one call.

TensorRT asks for a context of its own for each graph: one whose shape changes later makes
its graphs invalid. They share scratch memory, for a runner runs one batch at a time.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.batch_io import BatchIo
from runtime.bound_context import BoundContext
from runtime.cuda import Device, Graph, Stream, capture
from runtime.errors import EngineError
from runtime.score_checks import Scores
from runtime.tensorrt_api import Engine

logger = logging.getLogger(__name__)

#: Graphs kept for each runner; the one unused for longest goes.
MOST_GRAPHS = 4


@dataclass
class _Captured:
    """A graph, and the context that it runs."""

    graph: Graph
    context: BoundContext


class GraphCache:
    """Graphs by batch size, captured when a size comes for the second time.

    Args:
        device: where the engine is.
        engine: one that is open.
        frame_shape: (height, width, 3).
        set_up: gives a context its batch size and scratch memory.
    """

    def __init__(
        self,
        device: Device,
        engine: Engine,
        frame_shape: tuple[int, int, int],
        set_up: Callable[[BoundContext, int], None],
    ) -> None:
        self._device = device
        self._engine = engine
        self._frame_shape = frame_shape
        self._set_up = set_up
        self._graphs: OrderedDict[int, _Captured] = OrderedDict()
        self._met: set[int] = set()
        self._refused: set[int] = set()

    def infer(self, io: BatchIo, frames: NDArray[np.uint8], stream: Stream) -> Scores | None:
        """Run a batch as a graph and wait for it.

        Returns:
            (logit, fake), or ``None`` where there is no graph for this size: nothing was
            run then.
        """
        count = len(frames)
        if count in self._refused:
            return None
        if count not in self._met:
            self._met.add(count)
            return None
        if count not in self._graphs:
            return self._capture(io, frames, stream)
        self._graphs.move_to_end(count)
        io.stage(frames)
        self._graphs[count].graph.launch(stream.handle)
        io.ready.record(stream.handle)
        io.ready.synchronize()
        return io.scores(count)

    def clear(self) -> None:
        """Forget all graphs; their memory is about to go. None may be running."""
        for captured in self._graphs.values():
            captured.graph.close()
        self._graphs.clear()

    def _capture(self, io: BatchIo, frames: NDArray[np.uint8], stream: Stream) -> Scores | None:
        """Run plainly, then capture, and keep the graph if it says the same."""
        count = len(frames)
        try:
            context = BoundContext(self._engine.create_context(), self._frame_shape)
            self._set_up(context, count)
        except EngineError as error:
            self._refuse(count, f"no context for it: {error}")
            return None
        context.bind(*io.addresses)

        def enqueue() -> None:
            io.upload_staged(count, stream.handle)
            context.execute(stream.handle)
            io.fetch(count, stream.handle)

        # The first execution after a change of shape does work that can't be captured.
        io.stage(frames)
        enqueue()
        stream.synchronize()
        plain = io.scores(count)
        try:
            with capture(self._device, stream) as made:
                enqueue()
        except EngineError as error:
            self._refuse(count, str(error))
            return plain
        (graph,) = made
        # A graph captured on another device or stream would be empty, and copy nothing.
        io.spoil()
        graph.launch(stream.handle)
        stream.synchronize()
        replayed = io.scores(count)
        if not all(np.array_equal(a, b) for a, b in zip(plain, replayed, strict=True)):
            graph.close()
            self._refuse(count, "it gives other results than a plain run")
            return plain
        self._graphs[count] = _Captured(graph, context)
        if len(self._graphs) > MOST_GRAPHS:
            _, oldest = self._graphs.popitem(last=False)
            oldest.graph.close()
        return plain

    def _refuse(self, count: int, why: str) -> None:
        logger.warning("no CUDA graph for batches of %d: %s", count, why)
        self._refused.add(count)
