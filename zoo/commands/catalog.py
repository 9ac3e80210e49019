"""What there is: `zoo list`, `zoo show`, `zoo weights`, `zoo doctor`."""

from __future__ import annotations

import click

from zoo.commands.options import JSON


@click.command("list")
@JSON
def list_networks(as_json: bool) -> None:
    """The networks of the zoo."""
    from zoo import printing
    from zoo.catalog import CARDS

    printing.print_cards(CARDS, as_json)


@click.command()
@click.argument("network")
@JSON
def show(network: str, as_json: bool) -> None:
    """All that is known of one network and its weights."""
    from zoo import printing
    from zoo.catalog import find_card

    printing.print_card(find_card(network), as_json)


@click.group()
def weights() -> None:
    """Published weights: where they are, fetch them, check them."""


@weights.command("list")
@JSON
def weights_list(as_json: bool) -> None:
    """Every file of the manifest and where it was found."""
    from weights.store import list_files
    from zoo import printing

    printing.print_weights(list_files(), as_json)


@weights.command("fetch")
@click.argument("names", nargs=-1, required=True)
def weights_fetch(names: tuple[str, ...]) -> None:
    """Download files (or all weights of a network) and verify them."""
    from runtime.terminal import tell
    from runtime.text import printable
    from weights.store import fetch
    from zoo.catalog import CARDS

    by_network = {card.name: [w.file for w in card.weights] for card in CARDS}
    for name in names:
        for file in by_network.get(name, [name]):
            tell(printable(fetch(file).path))


@weights.command("check")
@JSON
def weights_check(as_json: bool) -> None:
    """Verify size and hash of every file that is there."""
    from weights.store import check
    from zoo import printing

    files = check()
    printing.print_weights(files, as_json)
    if any(file.status == "damaged" for file in files):
        raise SystemExit(1)


@click.command()
@JSON
def doctor(as_json: bool) -> None:
    """What this machine can build and run, and why not."""
    from zoo import printing
    from zoo.doctor import examine

    printing.print_doctor(examine(), as_json)
