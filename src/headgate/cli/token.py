"""headgate token"""

from __future__ import annotations

import re

import click

from headgate.cli.place import Place, placed, stage_option
from headgate.errors import Misuse

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class Span(click.ParamType[int]):
    """`90s`, `30m`, `12h` or `7d`, as seconds."""

    name = "span"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        parts = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", str(value), re.ASCII)
        if parts is None:
            self.fail(f"{value!r} is not a span of time; say 90s, 30m, 12h or 7d.", param, ctx)
        return int(parts[1]) * _UNITS_S[parts[2]]


@click.command
@click.argument("channel")
@click.option("--sub", default="test-user", show_default=True, help="JWT: who it is for; the principal.")
@click.option(
    "--expires", type=Span(), default="12h", show_default=True, metavar="SPAN", help="JWT: how long it is good."
)
@click.option(
    "--scope", "scopes", multiple=True, help="JWT: a scope, more than once for several.  [default: the declared ones]"
)
@stage_option
@placed
def token(place: Place, channel: str, sub: str, expires: int, scopes: tuple[str, ...]) -> None:
    """Print a token that opens CHANNEL (a name or path), alone on stdout.

    For a JWT channel with a secret it is signed here; for an API-key channel it is the key that dev made up. With
    --stage the secret is read from Secrets Manager.

    \b
    Example:
      curl -H "Authorization: Bearer $(headgate token orders)" --json @order.json localhost:8000/orders
    """
    from headgate.declare.auth import ApiKey, Iam, Jwt, Public, Signed

    found = place.channel(channel)
    match found.auth:
        case Jwt(secret=None):
            raise Misuse(f"{found.path} trusts tokens of another issuer; get one there, we do not have its key.")
        case Jwt() as auth:
            scope = {"scope": " ".join(scopes)} if scopes else {}
            print(place.credentials(found).token(found, auth, sub, expires, **scope))
        case ApiKey():
            print(place.credentials(found).api_keys[found.name])
        case Public():
            raise Misuse(f"{found.path} is Public: post without a token.")
        case Signed() | Iam():
            raise Misuse(f"{found.path} wants every request signed, not a token; `headgate send` signs.")
        case _:
            raise Misuse(f"{found.path} asks a function of yours who may post; only you know what it wants.")
