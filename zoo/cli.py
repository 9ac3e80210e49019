"""The command ``zoo``: its subcommands are in `zoo.commands`, one thin function each.

Exit codes: 0 done; 1 a check failed (a certificate, a hash); 2 the user must do
something (the three lines say what happened, why, and what to do). A bug keeps its
traceback.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from runtime.errors import ZooError
from zoo import __version__
from zoo.commands import catalog, detect, export, look, measure


class _Group(click.Group):
    """Turns a `ZooError` into three lines and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ZooError as error:
            from zoo.printing import print_error

            print_error(error)
            ctx.exit(2)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
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
    if verbose:
        import logging

        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", stream=sys.stderr)


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print shell completion: eval "$(zoo completion bash)"."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, "one of click's own"
    click.echo(kind(main, {}, "zoo", "_ZOO_COMPLETE").source())


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
