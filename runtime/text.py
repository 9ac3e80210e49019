"""Text from outside, made fit to show: file names, a library's words, a sidecar's fields."""

from __future__ import annotations

from pathlib import Path


def printable(text: str | Path) -> str:
    """A text for a terminal: on one line, without a character that the terminal would obey.

    Bytes of a file name that are no UTF-8 are shown as ``\\xff``; control characters, and
    marks that turn the direction of writing, as Python writes them.
    """
    return "".join(map(_shown, str(text)))


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # a byte that os.fsdecode could not decode
        return f"\\x{ord(character) - 0xDC00:02x}"
    return repr(character)[1:-1]


def first_line(error: BaseException) -> str:
    """What a library's error says first, as `printable`; its kind where it says nothing."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return printable(lines[0][:300])


def printable_lines(text: str) -> str:
    """As `printable`, but what was on lines of its own stays there."""
    return text if text.isprintable() else "\n".join(map(printable, text.split("\n")))
