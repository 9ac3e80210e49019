"""The one way to the terminal, for every command and script of the project.

What is printed holds text from outside: file names, a sidecar's fields, the reason of an
HTTP server, a library's words. A terminal would obey escape sequences in it. So all
printing goes through here, and everything is made printable on the way; no caller has to
remember it. The colours are ours: markup of any other kind is shown as it is written.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
import warnings
from collections.abc import Iterable
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any

from runtime.text import printable, printable_lines

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment
    from rich.text import Text

#: What our own markup is made of, as in ``[bold red]``.
_COLOURS = {"bold", "dim", "red", "green", "yellow", "cyan"}
#: As rich finds tags.
_TAG = re.compile(r"(\\*)\[([a-z#/@][^[]*?)\]")


def tell(text: object, *, error: bool = False) -> None:
    """Print lines, on standard error where they are no result."""
    stream = sys.stderr if error else sys.stdout
    stream.write(printable_lines(str(text)) + "\n")
    stream.flush()


def make_console(*, error: bool = False, **options: Any) -> Console:
    """A console of rich's for tables, colours and bars.

    Args:
        error: on standard error.
        options: of `rich.console.Console`.
    """
    return _console_class()(stderr=error, highlight=False, emoji=False, **options)


def literal(text: object) -> str:
    """Text from outside within markup: on one line, its brackets no tags."""
    from rich.markup import escape

    return escape(printable(str(text)))


@cache
def _console_class() -> type[Console]:
    """Rich is imported by whoever prints: the runtime itself opens without it."""
    from rich.console import Console
    from rich.errors import MarkupError

    class PrintableConsole(Console):
        """Shows text from outside as text."""

        def render_str(self, text: str, **options: Any) -> Text:
            """As `Console.render_str`: before the layout, so that columns have their width."""
            shown = printable_lines(text)
            try:
                return super().render_str(_ours_alone(shown), **options)
            except MarkupError:  # a tag from outside closes one of ours
                return super().render_str(shown, **{**options, "markup": False})

        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterable[Segment]:
            """As `Console.render`: all that is printed comes through here."""
            for segment in super().render(renderable, options):
                if segment.control:
                    yield segment
                    continue
                style = segment.style
                if style is not None and style.link:
                    style = style.update_link(None)
                yield segment._replace(text=printable_lines(segment.text), style=style)

    return PrintableConsole


def _ours_alone(markup: str) -> str:
    """Markup in which tags of no colour of ours are text."""

    def shown(tag: re.Match[str]) -> str:
        backslashes, name = tag.groups()
        if len(backslashes) % 2 or set(name.removeprefix("/").split()) <= _COLOURS:
            return tag.group()
        return f"{backslashes}\\[{name}]"

    return _TAG.sub(shown, markup)


class _PrintableFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))


def guard_messages(*, verbose: bool = False) -> None:
    """Lead what Python itself prints the same way: log, warnings, a bug's traceback.

    Args:
        verbose: show the log.
    """
    if verbose:
        handler = logging.StreamHandler()
        handler.setFormatter(_PrintableFormatter("%(name)s: %(message)s"))
        logging.basicConfig(level=logging.INFO, handlers=[handler])
    warnings.formatwarning = _format_warning
    sys.excepthook = _tell_bug


def _format_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    return printable_lines(f"{filename}:{lineno}: {category.__name__}: {message}") + "\n"


def _tell_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    tell("".join(traceback.format_exception(kind, error, trace)).rstrip("\n"), error=True)
