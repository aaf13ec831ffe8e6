"""What can be declared but not deployed is told with its line, before any stack is made."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from headgate import ApiKey, App, Archive, Cors, DeclarationError, Header, Jwt, Public, Queued, Secret, Signed, Stream
from headgate.cdk.fit import check_fit
from headgate.declare.stage import Stage


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


def signed(app: App) -> None:
    app.channel("/hooks", auth=Signed(Secret("HOOK")), delivery=Queued(validate="worker"))


def ordered(app: App) -> None:
    app.channel("/orders", auth=Public(), delivery=Queued(validate="worker", order_by="customer"))


def origins(app: App) -> None:
    cors = Cors(("https://a.example", "https://b.example"))
    app.channel("/orders", auth=Public(), cors=cors, delivery=Queued(validate="worker"))


def bounded(app: App) -> None:
    app.channel("/orders", auth=Public(), delivery=Queued(at_most=100))


def old(app: App) -> None:
    app.channel("/clicks", auth=Public(), delivery=Stream(most_age=timedelta(days=8)))


def by_the_minute(app: App) -> None:
    app.channel("/clicks", auth=Public(), delivery=Stream(retention=timedelta(hours=36, minutes=30)))


def guarded(app: App) -> None:
    for number in range(11):
        app.channel(f"/orders{number}", auth=Jwt(secret=Secret(f"S{number}"), issuer="shop", audience="shop"))


def deduped(app: App) -> None:
    app.channel("/clicks", key="id", scope="principal", auth=ApiKey(), delivery=Stream(dedupe=True))


def deduped_by_header(app: App) -> None:
    app.channel("/clicks", key=Header("Idempotency-Key"), auth=Public(), delivery=Stream(dedupe=True))


def twin_consumers(app: App) -> None:
    clicks = app.channel("/clicks", auth=Public(), delivery=Stream())

    @clicks
    def count_all(click: object) -> None: ...

    app.channel("/clicks-count-all", name="clicks-Count-All", auth=Public(), delivery=Queued())


def with_state(state: dict[str, object]) -> Callable[[App], None]:
    def workflow(app: App) -> None:
        app.channel("/orders", auth=Public())
        document = {"Type": "Map", "ItemProcessor": {"StartAt": "one", "States": {"one": {**state, "End": True}}}}
        app.workflow("settle", {"StartAt": "all", "States": {"all": {**document, "End": True}}})

    return workflow


someone_elses = with_state(
    {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:s3:putObject", "Parameters": {"Bucket": "b", "Key": "k"}}
)
function = with_state({"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:1:function:x"})


@pytest.mark.parametrize(
    ("declare", "sentence"),
    [
        (tilde, "channel /~alice: API Gateway takes no ~ in a path."),
        (api, "channel /api: an output of the stacks is called ApiUrl already; say another `name=`."),
        (keys, "channel /keys: an output of the stacks is called KeysTableName already; say another `name=`."),
        (twins, "channel /order/lines: an output of the stacks is called OrderLines"),
        (twin_secrets, 'Secret("Token-Key"): an output of the stacks is called TokenKeySecretArn already'),
        (signed, "channel /hooks: nobody verifies a signature on the way straight into a queue"),
        (ordered, "channel /orders: API Gateway cannot read the field of `order_by=`"),
        (origins, "channel /orders: API Gateway can name one origin"),
        (bounded, "channel /orders: nothing counts what waits in SQS at the gate"),
        (old, "channel /clicks: Lambda knows no longer Stream `most_age=` than 7 days"),
        (by_the_minute, "channel /clicks: Kinesis keeps records for whole hours; Stream `retention=` is 1 day, 12:30"),
        (guarded, "11 different auths take an authorizer each, and an API of API Gateway has at most 10"),
        (
            deduped,
            'channel /clicks: Stream `dedupe=` is not deployed with `scope="principal"`; say a `key=` from the body',
        ),
        (deduped_by_header, "channel /clicks: Stream `dedupe=` is not deployed with a key from a header; say a `key=`"),
        (twin_consumers, "an output of the stacks is called ClicksCountAllDeadLettersArn already"),
        (someone_elses, "workflow settle: state 'one': say Bucket as ${archive:NAME}"),
        (function, "workflow settle: state 'one': arn:aws:lambda:us-east-1:1:function:x is not deployed"),
    ],
)
def test_what_cannot_be_deployed_is_told_with_its_line(declare: Callable[[App], None], sentence: str) -> None:
    app = App("shop")
    declare(app)
    app.check()
    with pytest.raises(DeclarationError) as told:
        check_fit(app, Stage("dev"))
    assert sentence in str(told.value)
    assert "test_fit.py:" in str(told.value)


def test_what_cannot_be_declared_at_all_is_told_too() -> None:
    app = App("shop")
    app.channel("/orders", auth=Public(), body_limit_bytes=6_000_000)
    with pytest.raises(DeclarationError, match="not within 1 and 3000000, the most that its delivery can carry"):
        check_fit(app, Stage("dev"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"names": {"queue:orders": "q"}},
            "`names=` has 'queue:orders'; the app has api, archive:lines, ingest:lines, ingest:orders, queue:lines",
        ),
        ({"names": {"table:orders": "shop orders"}}, "calls table:orders 'shop orders'; AWS takes 3 to 255 letters"),
        ({"names": {"ingest:orders": "x" * 65}}, "AWS takes 1 to 64 letters, digits, _ and -."),
        ({"names": {"queue:lines": "lines"}}, "AWS takes for a queue with `order_by=` 1 to 75 letters"),
        ({"names": {"archive:lines": "Lines"}}, "AWS takes 3 to 63 small letters, digits, . and -"),
        ({"outputs": {"Endpoint": "Url"}}, "`outputs=` names 'Url'; the stacks have ApiId, ApiUrl"),
        ({"outputs": {"ApiUrl": "OrdersUrl"}}, "`outputs=`: the stacks have an output ApiUrl already."),
    ],
)
def test_a_stage_names_what_there_is(options: dict[str, Any], sentence: str) -> None:
    app = App("shop")
    app.channel("/orders", auth=Public())
    app.channel("/lines", key="id", auth=Public(), delivery=Queued(order_by="n"), archive=Archive("{id}.json"))
    with pytest.raises(DeclarationError, match="stage prod") as told:
        check_fit(app, app.stage("prod", **options))
    assert sentence in str(told.value)
