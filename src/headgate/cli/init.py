"""headgate init"""

from __future__ import annotations

import re
import shlex
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import click

from headgate.errors import Misuse

TEMPLATES = ("minimal", "webhook", "batch")
_COMMON = "common"
_NAME = "PROJECT"  # stands in the templates for the project's name
_CDK = "AWS_CDK"  # and this for the version of the CDK CLI


@click.command
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path))
@click.option("--template", type=click.Choice(TEMPLATES), default="minimal", show_default=True)
def init(folder: Path, template: str) -> None:
    """Write a new project into DIR: app.py, a test, a README, what the CDK wants. Never overwrites.

    The templates: minimal (one channel, API keys), webhook (Standard Webhooks), batch (arrays of orders, JWT).

    \b
    Example:
      headgate init shop --template batch
    """
    from headgate.cdk.toolkit import pinned

    name = project_name(folder)
    contents = {
        path: text.replace(_NAME, name).replace(_CDK, pinned())
        for source in (_COMMON, template)
        for path, text in _files(source).items()
    }
    taken = [str(folder / path) for path in contents if (folder / path).exists()]
    if taken:
        raise Misuse(
            f"These exist already, and init never overwrites: {', '.join(taken)}. "
            "Say another folder: headgate init DIR."
        )
    for path, text in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
        click.echo(f"wrote {folder / path}")
    click.echo("Now type:")
    if folder.resolve() != Path.cwd():
        click.echo(f"  cd {shlex.quote(str(folder))}")
    click.echo("  headgate dev")


def project_name(folder: Path) -> str:
    """A name for the app, from the folder's: letters, digits and hyphens, a letter first."""
    words = re.findall(r"[A-Za-z0-9]+", folder.resolve().name)
    name = "-".join(words)[:63].rstrip("-").lower()
    return name if name[:1].isalpha() else f"app-{name}"[:63].rstrip("-")


def _files(template: str) -> dict[str, str]:
    """The files of a template by their path; they end in .txt there, so that no tool takes them for ours."""
    return dict(_walk(files("headgate.cli").joinpath("templates", template), ""))


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found += _walk(entry, f"{prefix}{entry.name}/")
        else:
            found.append((prefix + entry.name.removesuffix(".txt"), entry.read_text(encoding="utf-8")))
    return found
