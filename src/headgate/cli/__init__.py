"""The command line. Commands are loaded when they are called, so that `headgate --help` costs next to nothing."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple, NoReturn

import click

from headgate import __version__
from headgate.cli.group import Group
from headgate.cli.place import Place, placed, visible
from headgate.errors import DeclarationError, HeadgateError, Misuse

DEBUG_VARIABLE = "HEADGATE_DEBUG"


class Entry(NamedTuple):
    """Where a command is defined, under its own name, and what it is for."""

    module: str
    help: str


COMMANDS = {
    "init": Entry("init", "Write a new project: app.py, a test, a README."),
    "check": Entry("check", "Say what the app declares, and what is wrong with it."),
    "dev": Entry("dev", "Serve the app while you write it: reloads on save."),
    "serve": Entry("serve", "Serve the app."),
    "send": Entry("send", "Send a message, or many made-up ones."),
    "token": Entry("token", "Print a token that opens a channel under dev."),
    "keys": Entry("keys", "Show, create and revoke credentials."),
    "messages": Entry("messages", "List, show and delete stored messages."),
    "runs": Entry("runs", "List, show, redrive and stop executions of workflows."),
    "schedule": Entry("schedule", "Show when schedules fire, or fire one now."),
    "export": Entry("export", "Print a workflow for other tools: asl, mermaid."),
    "stream": Entry("stream", "Read the records of a stream; say how far its consumers are."),
    "replay": Entry("replay", "Let a consumer of a stream read records once more."),
    "dead": Entry("dead", "List, show, redrive, edit and discard dead letters."),
    "alarms": Entry("alarms", "List the alarms of the app, and how they are."),
    "backup": Entry("backup", "Copy the store into a file, also while serving."),
    "restore": Entry("restore", "Put a backup in the place of the store."),
    "synth": Entry("synth", "Write the app's CloudFormation templates."),
    "diff": Entry("diff", "Say what a deployment would change."),
    "deploy": Entry("deploy", "Deploy the app to your AWS account."),
    "destroy": Entry("destroy", "Remove the deployed app; says first what will be lost."),
    "outputs": Entry("outputs", "Say where the deployed app is."),
    "doctor": Entry("doctor", "Say whether this machine, and your AWS account, can deploy."),
}


class Commands(Group):
    """A group that imports a command's module when the command is called, not when it is listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"headgate.cli.{COMMANDS[cmd_name].module}"), cmd_name)
        return command

    def summary(self, ctx: click.Context, name: str) -> str:  # noqa: ARG002
        return COMMANDS[name].help


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="headgate", message="%(prog)s %(version)s")
@placed
def headgate(place: Place) -> None:
    """Take in messages over HTTP: validated, on disk before the reply, stored once.

    \b
    Start with:
      headgate init shop && cd shop
      headgate dev
    """


def main() -> NoReturn:
    """The `headgate` command."""
    told(lambda: headgate.main(prog_name="headgate", standalone_mode=False))


def told(work: Callable[[], int | None]) -> NoReturn:
    """Do `work`, then exit. Here and nowhere else an error becomes a sentence on stderr and an exit code.

    0 done · 1 it did not work out · 2 asked for what cannot be done · 70 a mistake of ours · 130 Ctrl-C
    """
    try:
        code = work() or 0
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough. Nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except (KeyboardInterrupt, click.Abort):
        code = 130
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE, "0") not in ("", "0"):
            raise
        text, code = sentence(error)
        click.echo(visible(text, also="\n\t"), err=True)  # it may name what a sender chose
    sys.exit(code)


def sentence(error: Exception) -> tuple[str, int]:
    """What is said about an error, and the exit code."""
    match error:
        case click.UsageError(ctx=context) if context is not None:
            return f"{error.format_message()}\n{context.get_usage()}", error.exit_code
        case click.ClickException():
            return error.format_message(), error.exit_code
        case DeclarationError() | Misuse():
            return str(error), 2
        case HeadgateError():
            return str(error), 1
        case OSError(errno=errno.ENOSPC):
            return f"There is no room left on the disk{f' of {error.filename}' if error.filename else ''}.", 1
        case OSError() if error.strerror:
            return f"{error.strerror}: {error.filename}" if error.filename else error.strerror, 1
        case _ if type(error).__module__ == "sqlite3":
            return f"The store cannot be used ({error}){_way_out_of(error)}", 1
        case _:
            return (
                f"headgate made a mistake: {type(error).__name__}. "
                f"Run it again with {DEBUG_VARIABLE}=1 for details, and please report them.",
                70,
            )


def _way_out_of(error: Exception) -> str:
    """How a sentence about an error of SQLite ends. A good store that may not be read is not to be replaced."""
    from sqlite3 import SQLITE_CANTOPEN, SQLITE_CORRUPT, SQLITE_NOTADB, SQLITE_READONLY

    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest of it tells apart in which way this went wrong
    if code in (SQLITE_CORRUPT, SQLITE_NOTADB):
        return ": it is damaged; `headgate restore FILE --force` puts a backup in its place."
    if code in (SQLITE_CANTOPEN, SQLITE_READONLY):
        return ": see to it that you may read and write the state folder and what is in it."
    return "."
