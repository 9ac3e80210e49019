"""That a file is of another network, and of which: the same words for every form of file."""

from __future__ import annotations

from pathlib import Path

from runtime.errors import WeightsError
from runtime.text import printable
from weights.recognise import recognise
from zoo.originals.first_look import command_for


def not_this_network(path: Path, title: str, wrong: str) -> WeightsError:
    """An error that names the command for the network that the file looks like.

    Args:
        path: of the file.
        title: of the network that was asked for.
        wrong: what does not fit.
    """
    found = recognise(path)
    todo = "zoo list names the networks; zoo show NAME the weights of one"
    return WeightsError(
        f"{printable(path)} does not fit {title}",
        f"{wrong}. The file looks like {found.what}",
        todo if found.network == title else command_for(found, path, todo),
    )
