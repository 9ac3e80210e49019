"""What half precision is judged by while it is chosen which nodes stay in FP32.

Two judges. Whether plain half precision does, the samples say. Where it does not, a search
tries dozens of sets of nodes and ends with the smallest that passes: of so many, one passes
by luck, and on other faces it would be worse than on the samples. So the search has a bar
of its own, several times as strict, and more varied frames.

Measured: MesoInception4's sets, chosen by the first judge alone, were up to 6.5e-3 in P(fake)
off on faces that nobody had seen, 4.1e-3 on the samples (see ``benchmarks/results``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from export.certificate import FP16_MARGIN, Bar, bar_for, compare, tightened
from export.certify import emulated_scores
from export.keep_fp32 import Passes
from export.samples import evenly
from export.varied import varied
from zoo.originals import Scores

if TYPE_CHECKING:
    import onnx

#: At least so many, and less than twice as many, of the frames that there are: a search
#: tries a dozen graphs or more, and each frame costs. Fewer than the default
#: samples miss what a few faces show (measured: 16 let MesoInception4 F2F pass, whose
#: logits are .15 off on the whole validation set).
_JUDGED = 48
#: Frames of a search as they are; every second of them is varied too.
_SEARCHED = 16
#: Of the certificate's bar, what the largest errors of a search's result may be: 1.6e-3 in
#: P(fake), .008 in the logit. Measured on 1,210 faces that are not searched on: 2.2e-3 at most
#: with .08, 3.2e-3 with .125.
_SEARCH_MARGIN = 0.08


def judge(
    reference: Scores,
    frames: NDArray[np.uint8],
    trained: bool,
    within: float | None = None,
) -> Passes:
    """Whether a half-precision graph, as a GPU would compute it, says what the original says.

    Args:
        reference: the original's scores of ``frames``.
        frames: uint8 [N, H, W, 3]; of 96 and more every second is judged, of 144 every third, ...
        trained: whether the weights are.
        within: of trained weights, the error in P(fake) that is aimed at on any face, where
            the card says less than the certificate allows.
    """
    every = max(1, len(reference) // _JUDGED)
    due = Scores(reference.logit[::every], reference.fake[::every])
    bar = _plain_bar(trained)
    if trained and within is not None:
        # Of a few faces none is the worst there is: half of what is aimed at.
        bar = replace(bar, max_p=min(bar.max_p, FP16_MARGIN * within))
    return _passes(due, frames[::every], bar)


def search_judge(full: onnx.ModelProto, frames: NDArray[np.uint8], trained: bool) -> Passes:
    """The stricter judge of a search: the same frames under other light and other codecs.

    Args:
        full: the FP32 graph, which says what is due: the original has not seen the varied
            frames, and the certificate holds the two together.
        frames: uint8 [N, H, W, 3]; 16 of them, evenly spread, are judged, and half of those
            in six variations each.
        trained: whether the weights are. Of an untrained network nothing more is asked
            than of its plain half precision.
    """
    chosen = frames[evenly(len(frames), _SEARCHED)]
    chosen = np.concatenate([chosen, varied(chosen[::2])])
    bar = _plain_bar(trained)
    if trained:
        strict = tightened(bar_for("fp16", trained), _SEARCH_MARGIN)
        bar = replace(bar, max_p=strict.max_p, max_logit=strict.max_logit)
    return _passes(emulated_scores(full, chosen), chosen, bar)


def _plain_bar(trained: bool) -> Bar:
    bar = bar_for("fp16", trained)
    return tightened(bar, FP16_MARGIN) if trained else bar


def _passes(due: Scores, frames: NDArray[np.uint8], bar: Bar) -> Passes:
    def passes(half: onnx.ModelProto) -> bool:
        return compare(due, emulated_scores(half, frames), bar, names=("", "")).passed

    return passes
