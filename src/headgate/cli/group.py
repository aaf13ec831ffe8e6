"""Commands that have commands of their own."""

from __future__ import annotations

import click

_WHOLE = 1000  # characters; more than a first sentence has


class Group(click.Group):
    """Lists each of its commands with the whole first sentence of its help, and knows what a misspelt one may mean."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.summary(ctx, name)) for name in self.list_commands(ctx)])

    def summary(self, ctx: click.Context, name: str) -> str:
        """What is said of a command where it is listed."""
        command = self.get_command(ctx, name)
        return "" if command is None else command.get_short_help_str(_WHOLE)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not ctx.resilient_parsing:
            from difflib import get_close_matches

            meant = "".join(f" Did you mean {near!r}?" for near in get_close_matches(name, self.list_commands(ctx), 1))
            ctx.fail(f"No such command {name!r}.{meant}")
        return super().resolve_command(ctx, args)
