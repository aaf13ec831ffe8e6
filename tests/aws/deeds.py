"""What every role of tests/aws/works is for, done by hand: a deed fails where its effect is missing. It has all that
its role may do in it, and needs no other role."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from uuid import uuid4

from headgate.aws.duties import working
from headgate.aws.envelope import Where
from headgate.aws.layout import RECEIVED_AT, STATUS, UNREAD, layout_of, line_of
from headgate.aws.stream import data_of
from headgate.cdk import outputs
from headgate.cdk.outputs import pascal
from headgate.declare.delivery import Queued
from headgate.declare.express import addressed
from headgate.message import STARTED
from headgate.testing.contract.index import message
from tests.aws.behind import arrival, event, failed
from tests.aws.workshop import LONG_AGO_S, Works

LARGE = "x" * 40_000
"""A text with which a body does not fit into a row."""

Deed = Callable[[Works], None]


def job(**fields: object) -> bytes:
    """A message of its own."""
    return json.dumps({"id": uuid4().hex, "company": uuid4().hex, **fields}).encode()


def id_of(body: bytes) -> str:
    return str(json.loads(body)["id"])


def sizes(works: Works, channel: str) -> list[bytes]:
    """A small message and, where the channel takes one, a large one."""
    return [job(), *([job(text=LARGE)] if takes_large(works, channel) else [])]


def takes_large(works: Works, channel: str) -> bool:
    return works.channel(channel).body_limit_bytes > len(LARGE)


# --------------------------------------------------------------------------------------------------------- at the gate


def take_in(works: Works, channel: str) -> None:
    for body in sizes(works, channel):
        for _ in range(2):
            assert works.post(channel, body).status in (201, 202)


def read_back(works: Works, channel: str) -> None:
    for body in sizes(works, channel):
        company = json.loads(body)["company"]
        works.accept(channel, body, fields=(("company", company),))
        assert works.get(f"/{channel}/{id_of(body)}").json()["body"] == json.loads(body)
        assert [item["key"] for item in works.get(f"/{channel}?company={company}").json()["items"]] == [id_of(body)]


def let_in(works: Works, channel: str) -> None:
    answer = works.post(channel, job())
    assert answer.status == 202
    assert works.receive(channel, answer.json()["id"]) is not None


def take_in_and_keep(works: Works, channel: str) -> None:
    take_in(works, channel)
    there = job()
    works.put_object(channel, name_of(there), there)  # by a try whose answer was lost
    assert works.post(channel, there).status == 201
    assert works.status(channel, id_of(there)) == "processed"


def name_of(body: bytes) -> str:
    told = json.loads(body)
    return f"{told['company']}/{told['id']}.json"


def take_in_and_start(works: Works, channel: str) -> None:
    take_in(works, channel)
    again = gone_wrong(works, channel)
    assert works.post(channel, again).status == 201
    assert works.status(channel, id_of(again)) == "processing"


def gone_wrong(works: Works, channel: str) -> bytes:
    """A message whose execution has failed, and which a person has put back."""
    body = job(fails=1)
    works.accept(channel, body)
    workflow = works.channel(channel).start.workflow_name  # type: ignore[union-attr]
    id_ = works.started(workflow, f"{channel}-{id_of(body)}", body.decode())
    works.note_start(works.begin(channel, id_of(body)), id_)
    works.end(channel, id_of(body), "failed")
    works.put_back(channel, id_of(body))
    return body


# -------------------------------------------------------------------------------------------------------------- queues


def forward(works: Works, channel: str) -> None:
    key, layout = uuid4().hex, layout_of(works.channel(channel))
    image = {name.name: {"S": key} for name in (layout.partition, layout.sort) if name is not None}
    image |= {STATUS: {"S": "accepted"}, RECEIVED_AT: {"S": "now"}, UNREAD: {"S": "x"}}
    change = {"eventName": "INSERT", "dynamodb": {"NewImage": image, "SequenceNumber": "1"}}
    assert failed(works.call(f"{pascal(channel)}Forwarder", {"Records": [change]})) == []
    assert works.receive(channel, key) is not None


def work_off(works: Works, channel: str) -> None:
    worker, there = f"{pascal(channel)}Worker", job()
    bodies = [*sizes(works, channel), there]
    for body in bodies:
        works.accept(channel, body)
    if works.channel(channel).archive is not None:
        works.put_object(channel, name_of(there), there)  # by an attempt of which nobody knows
    records = [works.send(channel, Where("", id_of(body)).written()) for body in bodies]
    assert failed(works.call(worker, {"Records": records})) == []
    for body in bodies:
        assert works.status(channel, id_of(body)) == "processed"
        if works.channel(channel).archive is not None:
            assert works.object(channel, name_of(body)) == body
    comes_again(works, channel, works.accept(channel, job(fails=1)).key)
    is_renewed(works, channel)
    if delivery(works, channel).order is not None:
        keep_order(works, channel)


def comes_again(works: Works, channel: str, key: str) -> None:
    """At once, and not when the queue's own time is up."""
    record = works.send(channel, Where("", key).written())
    assert failed(works.call(f"{pascal(channel)}Worker", {"Records": [record]})) == [record["messageId"]]
    assert works.receive(channel, key) is not None


def is_renewed(works: Works, channel: str) -> None:
    """Has a new message, since SQS is about to give up the one that there is, and somebody else is at it."""
    key = works.accept(channel, job()).key
    works.begin(channel, key)
    record = works.send(channel, Where("", key).written())
    record["attributes"]["ApproximateReceiveCount"] = str(
        working(works.channel(channel), delivery(works, channel)).receives
    )
    assert failed(works.call(f"{pascal(channel)}Worker", {"Records": [record]})) == []
    works.take_out(channel, record)
    assert works.receive(channel, key) is not None


def keep_order(works: Works, channel: str) -> None:
    """What is before a message in its line is worked off first."""
    order = uuid4().hex
    keys = [works.accept(channel, job(), order=order).key for _ in range(2)]
    record = works.send(channel, Where("", keys[-1], f"9999-12-31T23:59:59.999Z_{'f' * 32}").written())
    record["attributes"]["MessageGroupId"] = line_of(order)
    assert failed(works.call(f"{pascal(channel)}Worker", {"Records": [record]})) == []
    assert {works.status(channel, key) for key in keys} == {"processed"}


def delivery(works: Works, channel: str) -> Queued:
    found = works.channel(channel).queue
    assert found is not None
    return found


def look_and_work_off(works: Works, channel: str) -> None:
    worker, ids = f"{pascal(channel)}Worker", iter(lambda: uuid4().hex, "")
    bodies = sizes(works, channel)
    records = [works.send(channel, arrival(next(ids), body)) for body in bodies]
    assert failed(works.call(worker, {"Records": records})) == []
    keyed = works.channel(channel).key is not None
    for body, record in zip(bodies, records, strict=True):
        assert works.status(channel, id_of(body) if keyed else json.loads(record["body"])["id"]) == "processed"
    if works.channel(channel).archive is not None:
        work_off(works, channel)
    bad = uuid4().hex
    assert failed(works.call(worker, {"Records": [works.send(channel, arrival(bad, b'{"id": '))]})) == []
    assert works.status(channel, bad) == "rejected"
    mended = job()
    works.edit(channel, bad, mended)
    works.put_back(channel, bad)
    if not keyed:
        comes_again(works, channel, bad)
        is_renewed(works, channel)
        return
    record = works.send(channel, Where("", bad).written())
    assert failed(works.call(worker, {"Records": [record]})) == []
    assert works.status(channel, id_of(mended)) == "accepted"
    assert works.receive(channel, id_of(mended)) is not None


def bury(works: Works, channel: str) -> None:
    bodies = sizes(works, channel)
    for body in bodies:
        works.accept(channel, body)
    told = event(*(Where("", id_of(body)).written() for body in bodies))
    assert failed(works.call(f"{pascal(channel)}Buried", told)) == []
    assert {works.status(channel, id_of(body)) for body in bodies} == {"failed"}


def bury_unread(works: Works, channel: str) -> None:
    bury(works, channel)
    keyed = works.channel(channel).key is not None
    for body in sizes(works, channel):
        id_ = uuid4().hex
        assert failed(works.call(f"{pascal(channel)}Buried", event(arrival(id_, body)))) == []
        assert works.status(channel, id_of(body) if keyed else id_) == "failed"


def sweep_up(works: Works, channel: str) -> None:
    body = job()
    works.accept(channel, body, ago_s=LONG_AGO_S)
    works.age(channel)
    assert works.call(f"{pascal(channel)}Sweep", {})["swept"] >= 1
    assert works.receive(channel, id_of(body)) is not None


# ------------------------------------------------------------------------------------------------------------- streams


def consume(works: Works, channel: str) -> None:
    (handler,) = works.channel(channel).handlers
    function = f"{pascal(channel)}{pascal(handler.name)}Consumer"
    bodies = [job(hopeless=True), job(hopeless=True, text=LARGE)]
    records = [pushed(channel, body) for body in [*bodies, job()]]
    assert failed(works.call(function, {"Records": records})) == []
    for body in bodies:
        assert works.status(channel, id_of(body), handler.name) == "failed"
        works.edit(channel, id_of(body), json.dumps({**json.loads(body), "hopeless": False}).encode(), handler.name)
        works.put_back(channel, id_of(body), handler.name)
    works.call(function, {})
    assert {works.status(channel, id_of(body), handler.name) for body in bodies} == {"processed"}


def pushed(channel: str, body: bytes) -> dict[str, Any]:
    """A record, as Lambda hands it over."""
    return {
        "eventID": f"shardId-000000000000:{next(_SEQUENCES)}",
        "kinesis": {
            "data": base64.b64encode(data(channel, body)).decode(),
            "sequenceNumber": str(next(_SEQUENCES)),
            "partitionKey": "1",
            "approximateArrivalTimestamp": 1_767_225_600.0,
        },
    }


def data(channel: str, body: bytes) -> bytes:
    """A message as a record holds it, with the id that is in it."""
    return data_of(message(id_of(body), body.decode(), channel=channel)._replace(received_ms=round(1000 * time.time())))


def _sequences() -> Iterator[int]:
    number = 10**55
    while True:
        number += 1
        yield number


_SEQUENCES = _sequences()


def bury_records(works: Works, channel: str) -> None:
    (handler,) = works.channel(channel).handlers
    bodies = [job(), job(text=LARGE)]
    told = works.kinesis.put_records(
        StreamName=works.told(outputs.stream_name(channel)),
        Records=[{"Data": data(channel, body), "PartitionKey": "1"} for body in bodies],
    )["Records"]
    batch = {
        "shardId": told[0]["ShardId"],
        "startSequenceNumber": told[0]["SequenceNumber"],
        "endSequenceNumber": told[-1]["SequenceNumber"],
    }
    given_up = event(json.dumps({"KinesisBatchInfo": batch}))
    assert failed(works.call(f"{pascal(channel)}{pascal(handler.name)}Buried", given_up)) == []
    assert {works.status(channel, id_of(body), handler.name) for body in bodies} == {"failed"}


def append(works: Works, channel: str) -> None:
    """Messages that have rows and no records."""
    bodies = sizes(works, channel)
    for body in bodies:
        works.accept(channel, body, ago_s=LONG_AGO_S)
    assert works.call(f"{pascal(channel)}Sweep", {})["swept"] >= len(bodies)
    assert {works.status(channel, id_of(body)) for body in bodies} == {"processed"}


# ------------------------------------------------------------------------------------------- what has to follow at once


def finish_keeping(works: Works, channel: str) -> None:
    bodies = [*sizes(works, channel), job()]
    works.put_object(channel, name_of(bodies[-1]), bodies[-1])
    for body in bodies:
        works.accept(channel, body, ago_s=LONG_AGO_S)
    works.call(f"{pascal(channel)}Sweep", {})
    for body in bodies:
        assert works.status(channel, id_of(body)) == "processed"
        assert works.object(channel, name_of(body)) == body


def finish_starting(works: Works, channel: str) -> None:
    bodies = sizes(works, channel)
    for body in bodies:
        works.accept(channel, body, ago_s=LONG_AGO_S)
    works.call(f"{pascal(channel)}Sweep", {})
    for body in bodies:
        assert STARTED in whats(works, channel, id_of(body))


def finish_standard(works: Works, channel: str) -> None:
    finish_starting(works, channel)
    over, again = job(), gone_wrong(works, channel)
    works.accept(channel, over)
    workflow = works.channel(channel).start.workflow_name  # type: ignore[union-attr]
    works.note_start(works.begin(channel, id_of(over)), works.started(workflow, uuid4().hex, over.decode()))
    for body in (over, again):
        works.make_due(channel, id_of(body))
    works.call(f"{pascal(channel)}Sweep", {})
    assert works.status(channel, id_of(over)) == "processed"
    assert works.status(channel, id_of(again)) == "processing"


def whats(works: Works, channel: str, key: str) -> list[str]:
    row = works.row(channel, key)
    return [] if row is None else [moment.what for moment in row.timeline]


def hear_of_end(works: Works, channel: str) -> None:
    body = job()
    works.accept(channel, body)
    id_ = works.execution(works.channel(channel).start.workflow_name, uuid4().hex)  # type: ignore[union-attr]
    works.note_start(works.begin(channel, id_of(body)), id_)
    told = {"source": "aws.states", "detail": {"executionArn": id_, "status": "SUCCEEDED", "stopDate": 2**42}}
    assert works.call(f"{pascal(channel)}Ended", told) == {"written": True}
    assert works.status(channel, id_of(body)) == "processed"


def be_claimed_and_ended(works: Works, channel: str) -> None:
    body = job()
    works.accept(channel, body)
    works.begin(channel, id_of(body))
    whose = {"channel": channel, "scope": "", "key": id_of(body)}
    id_ = f"arn:aws:states:eu-west-1:111122223333:express:quick:{uuid4()}:1"
    for what, told in (("claim", {"claimed": True}), ("SUCCEEDED", {"written": True})):
        asked = {"headgate": {"what": what, "execution": id_, "message": whose}}
        assert works.call(f"{pascal(channel)}Ended", asked) == told
    assert works.status(channel, id_of(body)) == "processed"


# ----------------------------------------------------------------------------------------------------------- workflows


def do_task(works: Works) -> None:
    assert works.call("SettleTask", {"id": "1"}) == {"id": "1", "settled": True}


def run_standard(works: Works) -> None:
    name = uuid4().hex
    id_ = works.started("settling", name, json.dumps({"id": name}))
    assert works.over(id_) == "SUCCEEDED"
    assert works.object("results", f"{name}.json") is not None


def run_express(works: Works) -> None:
    body = job()
    works.accept("requests", body)
    works.begin("requests", id_of(body))
    ended = works.lambda_.get_function_configuration(FunctionName=works.functions["RequestsEnded"])["FunctionArn"]
    machine = works.told(outputs.workflow_arn("quick"))
    works.machines.start_execution(
        stateMachineArn=machine, input=addressed(body.decode(), ended, "requests", "", id_of(body))
    )
    assert works.comes_soon(lambda: works.status("requests", id_of(body)) == "processed")


def be_started_by_a_rule(works: Works) -> None:
    works.remove_object("results", "hourly.json")
    rule = works.told(outputs.schedule_name("hourly")).rpartition("|")[2]
    pattern = json.dumps({"source": ["hand"]})  # in place of the time
    works.events.put_rule(Name=rule, EventPattern=pattern, State="ENABLED")
    works.events.put_events(Entries=[{"Source": "hand", "DetailType": "now", "Detail": "{}"}])
    assert works.comes_soon(lambda: works.object("results", "hourly.json") is not None)


def be_started_by_the_scheduler(works: Works) -> None:
    id_ = uuid4().hex
    (target,) = (it["Target"] for it in works.schedules())
    works.scheduler.create_schedule(
        Name=id_, ScheduleExpression="at(2020-01-01T00:00:00)", FlexibleTimeWindow={"Mode": "OFF"},
        Target={**target, "Input": json.dumps({"id": id_})},
    )  # fmt: skip
    assert works.comes_soon(lambda: works.object("results", f"{id_}.json") is not None)


# ------------------------------------------------------------------------------------------------- driven by AWS itself


def go_its_way(works: Works) -> None:
    """Messages of every kind, through every channel, to their ends."""
    open_ = []
    for channel in ("jobs", "unread", "small"):
        for fate in ({}, {"fails": 1}, {"hopeless": True}):
            body = job(**fate)
            assert works.post(channel, body).status == 202
            open_.append((channel, id_of(body), "", "failed" if "hopeless" in fate else "processed"))
    for channel in ("kept", "orders", "requests"):
        body = job()
        assert works.post(channel, body).status == 201
        open_.append((channel, id_of(body), "", "processed"))
    bare = works.post("bare", b'{"n": 1}').json()["id"]
    bad = works.post("unread", b'{"id": 1}').json()["id"]
    open_ += [("bare", bare, "", "processed"), ("unread", bad, "", "rejected")]
    event = works.post("events", job(hopeless=True)).json()["id"]
    visit = job(hopeless=True)
    works.post("visits", visit)
    open_ += [("events", event, "consumed", "failed"), ("visits", id_of(visit), "greeted", "failed")]
    assert works.comes_to_be(lambda: all(works.status(*one[:3]) == one[3] for one in open_))


def arrive(works: Works) -> None:
    """Something new in everything that functions are fed from: queues, dead letter queues, streams and tables."""
    for mapping in works.mappings:
        source = mapping["EventSourceArn"]
        name = source.rpartition(":")[2]
        if ":sqs:" in source:
            works.put(works.sqs.get_queue_url(QueueName=name)["QueueUrl"], Where("", uuid4().hex).written())
        elif ":kinesis:" in source:
            works.kinesis.put_record(StreamName=name.partition("/")[2], Data=b"{}", PartitionKey="1")
    for channel in works.app.channels:
        if channel.queue is not None:
            works.accept(channel.name, job())


SEND_AWAY = "sqs:SendMessage"
"""What Lambda does with the role of a consumer where it gives up."""


def is_buried(works: Works, channel: str, *, may_send: bool = True) -> bool:
    """Whether there is a dead letter of a record at which the function of a consumer failed again and again; where
    Lambda may not send it away, once it has tried."""
    (handler,) = works.channel(channel).handlers
    consumer = f"{pascal(channel)}{pascal(handler.name)}"
    body, stream = job(hopeless=True), works.told(outputs.stream_name(channel))
    role = works.deployed.role_of(works.functions[f"{consumer}Consumer"])
    taken = {"dynamodb:PutItem", *([] if may_send else [SEND_AWAY])}
    lacking = [(role, it) for it in works.deployed.granted(role) if it[0] in taken]
    with works.deployed.without(*lacking):
        works.kinesis.put_record(StreamName=stream, Data=data(channel, body), PartitionKey="1")
        if may_send:
            return works.comes_to_be(lambda: works.status(channel, id_of(body), handler.name) == "failed")
        assert works.comes_to_be(lambda: works.is_refused(role, SEND_AWAY))
        works.settle(f"{consumer}Consumer", f"{consumer}Buried")
        return works.status(channel, id_of(body), handler.name) == "failed"


DEEDS: dict[str, Deed] = {
    "JobsIngest": partial(take_in, channel="jobs"),
    "JobsQuery": partial(read_back, channel="jobs"),
    "JobsForwarder": partial(forward, channel="jobs"),
    "JobsWorker": partial(work_off, channel="jobs"),
    "JobsBuried": partial(bury, channel="jobs"),
    "JobsSweep": partial(sweep_up, channel="jobs"),
    "SmallIngest": partial(take_in, channel="small"),
    "SmallForwarder": partial(forward, channel="small"),
    "SmallWorker": partial(work_off, channel="small"),
    "SmallBuried": partial(bury, channel="small"),
    "SmallSweep": partial(sweep_up, channel="small"),
    **{
        f"{pascal(channel)}{duty}": partial(deed, channel=channel)
        for channel in ("unread", "bare")
        for duty, deed in {
            "Arrivals": let_in, "Forwarder": forward, "Worker": look_and_work_off, "Buried": bury_unread,
            "Sweep": sweep_up,
        }.items()
    },
    "EventsIngest": partial(take_in, channel="events"),
    "EventsConsumedConsumer": partial(consume, channel="events"),
    "EventsConsumedBuried": partial(bury_records, channel="events"),
    "VisitsIngest": partial(take_in, channel="visits"),
    "VisitsSweep": partial(append, channel="visits"),
    "VisitsGreetedConsumer": partial(consume, channel="visits"),
    "VisitsGreetedBuried": partial(bury_records, channel="visits"),
    "KeptIngest": partial(take_in_and_keep, channel="kept"),
    "KeptSweep": partial(finish_keeping, channel="kept"),
    "OrdersIngest": partial(take_in_and_start, channel="orders"),
    "OrdersSweep": partial(finish_standard, channel="orders"),
    "OrdersEnded": partial(hear_of_end, channel="orders"),
    "RequestsIngest": partial(take_in, channel="requests"),
    "RequestsSweep": partial(finish_starting, channel="requests"),
    "RequestsEnded": partial(be_claimed_and_ended, channel="requests"),
    "SettleTask": do_task,
    "SettlingWorkflow": run_standard,
    "QuickWorkflow": run_express,
    "HourlySchedule": be_started_by_a_rule,
    "MorningsSchedule": be_started_by_the_scheduler,
}  # fmt: skip
"""By what their roles are called."""
