"""`metricforge push`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metricforge.cli.image_files import shown
from metricforge.cli.options import JSON, by_first_rank, debug, print_json
from metricforge.errors import UsageError

if TYPE_CHECKING:
    from metricforge.hub.upload import Upload


@click.command("push")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("repository", metavar="OWNER/NAME")
@click.option("--private", is_flag=True, help="A new repository is visible to its owner alone; "
              "one that exists and is public is refused.")  # fmt: skip
@click.option("--message", metavar="TEXT", default="", help="Message of the commit.")
@click.option("--licence", metavar="ID", default="", help="The licence as the hub abbreviates it, "
              "e.g. mit, apache-2.0 or cc-by-4.0.  [default: none is named]")  # fmt: skip
@click.option("--pictures", is_flag=True, help="Upload images of held-out classes as well, those "
              "of plots/answers.png.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Upload without asking, e.g. in a script.")
@JSON
@debug
@by_first_rank
def command(
    run: Path,
    repository: str,
    private: bool,
    message: str,
    licence: str,
    pictures: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Upload the model of RUN to a hub, as OWNER/NAME.

    The command prints what it would upload, and asks. Without a terminal it requires --yes. RUN may
    be the folder of a model, too. Each command that takes a RUN then takes hub:OWNER/NAME.

    The hub is that of huggingface_hub, of metricforge[hub]. It requires a token: log in with
    `hf auth login`, or set HF_TOKEN. HF_ENDPOINT names another hub of the same kind.
    """
    from metricforge.hub.upload import prepare, send

    upload = prepare(run, repository, private=private, licence=licence, pictures=pictures)
    for line in _lines(upload):
        click.echo(line, err=True)
    if not yes:
        _confirm()
    pushed = send(upload, message)
    if as_json:
        print_json(asdict(pushed))
        return
    click.echo(f"pushed  {shown(pushed.url)}, commit {shown(pushed.commit[:8])}")
    click.echo(f'next    metricforge.load("{pushed.address}")')


def _lines(upload: Upload) -> list[str]:
    """What is to be uploaded, and where."""
    sizes = upload.sizes
    width = max(map(len, sizes))
    who = "private" if upload.private else "public, if it is new"
    files = [f"        {name:{width}}  {size:>13,} bytes" for name, size in sizes.items()]
    return [
        f"to      {shown(upload.url)} ({who})",
        f"files   {len(sizes)}, {sum(sizes.values()):,} bytes",
        *files,
        f"note    model.json has the names of {upload.seen_classes:,} classes.",
        *(["note    answers.png shows images of held-out classes."] * ("answers.png" in sizes)),
    ]


def _confirm() -> None:
    """Ask at a terminal; UsageError without one."""
    if not sys.stdin.isatty():
        raise UsageError("push asks before it uploads, and there is no terminal: pass --yes.")
    if not click.confirm("Upload?", err=True):
        click.echo("Nothing is uploaded.", err=True)
        raise click.Abort
