"""What can be declared but not deployed is told with its line, before any stack is made."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headgate import ApiKey, App, DeclarationError, Jwt, Public, Queued, Secret
from headgate.cdk.fit import check_fit


def tilde(app: App) -> None:
    app.channel("/~alice", name="alice", auth=Public())


def api(app: App) -> None:
    app.channel("/api", auth=Public())


def keys(app: App) -> None:
    app.channel("/keys", auth=ApiKey())


def twins(app: App) -> None:
    app.channel("/order-lines", auth=Public())
    app.channel("/order/lines", name="OrderLines", auth=Public())


def twin_secrets(app: App) -> None:
    for path, name in (("/a", "TOKEN_KEY"), ("/b", "Token-Key")):
        app.channel(path, auth=Jwt(secret=Secret(name), issuer="shop", audience="shop"))


def queued(app: App) -> None:
    @app.channel("/orders", auth=Public(), delivery=Queued())
    def fulfil(order: object) -> None: ...


def topic(app: App) -> None:
    app.channel("/orders", auth=Public())
    app.topic("alerts")


def workflow(app: App) -> None:
    app.channel("/orders", auth=Public())
    app.workflow("settle", {"StartAt": "End", "States": {"End": {"Type": "Succeed"}}})


@pytest.mark.parametrize(
    ("declare", "sentence"),
    [
        (tilde, "channel /~alice: API Gateway takes no ~ in a path."),
        (api, "channel /api: an output of the stacks is called ApiUrl already; say another `name=`."),
        (keys, "channel /keys: an output of the stacks is called KeysTableName already; say another `name=`."),
        (twins, "channel /order/lines: an output of the stacks is called OrderLines"),
        (twin_secrets, 'Secret("Token-Key"): an output of the stacks is called TokenKeySecretArn already'),
        (queued, "channel /orders: this version deploys Direct() channels only"),
        (workflow, "workflow settle: this version deploys no workflows"),
        (topic, "topic alerts: this version deploys no topics"),
    ],
)
def test_what_cannot_be_deployed_is_told_with_its_line(declare: Callable[[App], None], sentence: str) -> None:
    app = App("shop")
    declare(app)
    app.check()
    with pytest.raises(DeclarationError) as told:
        check_fit(app)
    assert sentence in str(told.value)
    assert "test_fit.py:" in str(told.value)


def test_what_cannot_be_declared_at_all_is_told_too() -> None:
    app = App("shop")
    app.channel("/orders", auth=Public(), body_limit_bytes=6_000_000)
    with pytest.raises(DeclarationError, match="not within 1 and 3000000, the most that its delivery can carry"):
        check_fit(app)
