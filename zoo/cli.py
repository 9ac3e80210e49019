"""The command ``zoo``: its subcommands are in `zoo.commands`, one thin function each.

Exit codes: 0 done; 1 a check failed (a certificate, a hash); 2 the user must do
something (the three lines say what happened, why, and what to do). A bug keeps its
traceback.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Any

import click

from runtime.errors import ZooError
from runtime.terminal import guard_messages, tell
from zoo import __version__
from zoo.commands import catalog, detect, export, look, measure


class _Group(click.Group):
    """Turns a `ZooError` into three lines and exit code 2."""

    def __call__(self, args: Sequence[str] | None = None, **options: Any) -> Any:
        """See `click.Command.main`; what click itself says of an argument goes by `tell`."""
        try:
            code = self.main(args, standalone_mode=False, **options)
        except click.ClickException as error:
            words = io.StringIO()
            error.show(words)
            tell(words.getvalue().rstrip("\n"), error=True)
            sys.exit(error.exit_code)
        sys.exit(code)

    def invoke(self, ctx: click.Context) -> Any:
        """See `click.Group.invoke`."""
        try:
            return super().invoke(ctx)
        except ZooError as error:
            from zoo.printing import print_error

            print_error(error)
            ctx.exit(2)
        except KeyboardInterrupt:
            tell("interrupted", error=True)
            ctx.exit(130)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="zoo")
@click.option("--verbose", "-v", is_flag=True, help="Log what is done and why.")
def main(verbose: bool) -> None:
    """Face-forgery detectors: to ONNX and a verified FP16 TensorRT engine, and run.

    \b
    zoo list                                  what there is
    zoo export meso4 --fp16                   make and verify an engine
    zoo detect face.jpg --engine meso4.onnx   judge a face
    """
    guard_messages(verbose=verbose)


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print shell completion: eval "$(zoo completion bash)"."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, "one of click's own"
    tell(kind(main, {}, "zoo", "_ZOO_COMPLETE").source())


for command in (
    catalog.list_networks,
    catalog.show,
    catalog.weights,
    catalog.doctor,
    export.export,
    export.verify,
    detect.detect,
    look.explain,
    look.demo,
    measure.evaluate,
    measure.bench,
):
    main.add_command(command)


if __name__ == "__main__":
    main()
