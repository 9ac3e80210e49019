"""The networks in their own framework, and the way to open one.

One framework a process is the safe rule (TensorFlow followed by torchvision
aborts the interpreter), so nothing here imports a framework before it is needed.
"""

from zoo.originals.original import Original, WeightsChoice, load_original
from zoo.scores import Scores

__all__ = ["Original", "Scores", "WeightsChoice", "load_original"]
