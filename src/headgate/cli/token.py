"""headgate token"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import click

from headgate.cli.place import Place, placed
from headgate.clock import SystemClock
from headgate.errors import Misuse

if TYPE_CHECKING:
    from headgate.declare.auth import Jwt
    from headgate.declare.channel import Channel
    from headgate.declare.settings import Setting

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
@placed
def token(place: Place, channel: str, sub: str, expires: int, scopes: tuple[str, ...]) -> None:
    """Print a token that opens CHANNEL (a name or path), alone on stdout.

    For a JWT channel with a secret it is signed here; for an API-key channel it is the key that dev made up.

    \b
    Example:
      curl -H "Authorization: Bearer $(headgate token orders)" --json @order.json localhost:8000/orders
    """
    from headgate.declare.auth import ApiKey, Jwt, Public, Signed

    found = place.channel(channel)
    match found.auth:
        case Jwt(secret=secret) as auth if secret is not None:
            print(signed_token(place, auth, secret, sub, expires, scopes or auth.scopes))
        case Jwt():
            raise Misuse(f"{found.path} trusts tokens of another issuer; get one there, we do not have its key.")
        case ApiKey():
            print(_development_key(place, found))
        case Public():
            raise Misuse(f"{found.path} is Public: post without a token.")
        case Signed():
            raise Misuse(f"{found.path} wants every body signed, not a token; `headgate send` signs.")
        case _:
            raise Misuse(f"{found.path} asks a function of yours who may post; only you know what it wants.")


def signed_token(place: Place, auth: Jwt, secret: Setting, sub: str, expires_s: int, scopes: tuple[str, ...]) -> str:
    """An HS256 token that `auth` takes."""
    import jwt

    now_s = SystemClock().now_ms() // 1000
    claims = {
        "iss": setting_value(place, auth.issuer),
        "aud": setting_value(place, auth.audience),
        "sub": sub,
        "iat": now_s,
        "exp": now_s + expires_s,
    }
    if scopes:
        claims["scope"] = " ".join(scopes)
    return jwt.encode(claims, setting_value(place, secret), algorithm="HS256")


def setting_value(place: Place, setting: Setting) -> str:
    """What a running server takes for a setting: the environment first, then what dev made up."""
    from headgate.declare.settings import Env

    if isinstance(setting, str):
        return setting
    value: str | None = os.environ.get(setting.name)
    if not value:
        value = setting.default if isinstance(setting, Env) else place.state.credentials()["secrets"].get(setting.name)
    if not value:
        raise Misuse(f"{setting.name} is not known: set it, or start `headgate dev` once, which makes one up.")
    return value


def _development_key(place: Place, channel: Channel) -> str:
    key: str | None = place.state.credentials()["api_keys"].get(channel.name)
    if key is None:
        raise Misuse(
            f"There is no development key for {channel.path} yet: start `headgate dev` once, which makes one up, "
            f"or make one with `headgate keys create {channel.name}`."
        )
    return key
