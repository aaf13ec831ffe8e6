"""Several messages in one request: each is answered for itself, or, with `many="all"`, all or none are stored."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator, Sequence
from json.encoder import encode_basestring
from operator import itemgetter
from typing import Any

from headgate import limits
from headgate.declare.channel import Channel
from headgate.declare.stores import Field
from headgate.declare.task import Start
from headgate.engine import Outcome
from headgate.errors import Answerable, Broken, Conflict, FieldFault, Invalid, TooLarge, Unavailable
from headgate.events import Accepted, Faulted, Refused
from headgate.gate.effects import Effect
from headgate.gate.finish import stored
from headgate.gate.judge import Envelope, judge, judge_all
from headgate.gate.observe import Observer, site
from headgate.gate.plan import Plan
from headgate.gate.start import batch_input
from headgate.http import RETRY_AFTER_S, Reply, Request
from headgate.message import Item, Message, at_path, load_many, scalar_text

Steps = Generator[Effect, Any, Reply]


def accept_many(plan: Plan, envelope: Envelope, body: bytes, observer: Observer) -> Steps:
    """Store the messages of an array, and answer each for itself; with `many="all"`, all or none."""
    channel = plan.channel
    items = load_many(body, channel.most_items)
    verdicts: Sequence[dict[str, object] | Message] = judge_all(plan, envelope, body, items) or [
        _judged(plan, envelope, item, place, observer) for place, item in enumerate(items)
    ]
    messages = [verdict for verdict in verdicts if isinstance(verdict, Message)]
    if channel.whole and len(messages) < len(items):
        raise _whole_refused([verdict for verdict in verdicts if isinstance(verdict, dict)])
    if channel.start is not None and channel.start.per_batch:
        _check_together(channel.start, messages)
    outcomes = (yield from stored(plan, messages)) if messages else []
    return _answer(channel, envelope.request, verdicts, outcomes, observer)


def _check_together(start: Start, messages: Sequence[Message]) -> None:
    """Raise TooLarge where the messages are more than one execution can be handed."""
    most = limits.WORKFLOW_DATA.value
    if len(batch_input(start, messages).encode()) > most:
        raise TooLarge(f"The messages of a request start one workflow together, which takes at most {most} bytes.")


def _judged(
    plan: Plan, envelope: Envelope, item: Item | FieldFault, place: int, observer: Observer
) -> Message | dict[str, object]:
    """The item as a message, or the verdict that says why it is none."""
    if isinstance(item, FieldFault):
        return _invalid(place, None, [item._replace(pointer=f"/{place}")])
    try:
        return judge(plan, envelope, item, place)
    except Invalid as error:
        key = scalar_text(at_path(item.tree, plan.channel.key.path)) if isinstance(plan.channel.key, Field) else None
        return _invalid(place, key, list(error.faults))
    except (Exception, SystemExit) as error:
        if plan.channel.whole:
            raise
        # The model broke on this one item: that is ours, and the other items are none the worse for it.
        observer.told(Faulted(plan.channel.name, Broken.reason, Broken.status, envelope.request_id, site(error)))
        return {"index": place, "key": None, "status": "unavailable", "errors": []}


def _invalid(place: int, key: str | None, faults: list[FieldFault]) -> dict[str, object]:
    return {"index": place, "key": key, "status": "invalid", "errors": [fault._asdict() for fault in faults]}


def _whole_refused(bad: list[dict[str, object]]) -> Invalid:
    faults = [FieldFault(**fault) for verdict in bad for fault in verdict["errors"]]  # type: ignore[attr-defined]
    return Invalid("Nothing was stored: every message of this request has to be valid.", faults=tuple(faults))


def _answer(
    channel: Channel,
    request: Request,
    verdicts: Sequence[dict[str, object] | Message],
    outcomes: list[Outcome],
    observer: Observer,
) -> Reply:
    remaining = iter(outcomes)
    bad = [verdict for verdict in verdicts if isinstance(verdict, dict)]
    _keep_to(limits.BATCH_FAULTS.value, bad)
    items = [
        _encoded(verdict) if isinstance(verdict, dict) else _item(place, verdict, next(remaining))
        for place, verdict in enumerate(verdicts)
    ]
    counts: Counter[str] = Counter(map(itemgetter(0), outcomes))
    counts["unavailable"] = len(outcomes) - sum(counts[kind] for kind in _ANSWERED)
    counts.update(str(verdict["status"]) for verdict in bad)
    if channel.whole and counts["stored"] + counts["replayed"] < len(verdicts):
        raise _whole_failed(verdicts, outcomes)
    observer.told(Accepted(channel.name, counts["stored"], counts["replayed"]))
    refused = [(reason, status) for reason, status in _ITEM_STATUS.items() if counts[reason]]
    for reason, status in refused:
        observer.told(Refused(channel.name, reason, status, request.id, counts[reason], request.client))
    return Reply(
        channel.taken if counts["stored"] + counts["replayed"] else refused[0][1],
        b'{"items":[%b]}' % ",".join(items).encode(),
        (("Retry-After", str(RETRY_AFTER_S)),) if counts["unavailable"] else (),
    )


def _keep_to(budget: int, bad: list[dict[str, Any]]) -> None:
    """Leave out the faults that are beyond what one reply tells."""
    for verdict in bad:
        verdict["errors"] = verdict["errors"][:budget]
        budget -= len(verdict["errors"])


_ANSWERED = ("stored", "replayed", "conflict")

# The status of a batch of which nothing was stored: what may still succeed comes first.
_ITEM_STATUS = {"unavailable": 503, "conflict": 409, "invalid": 400}


def _item(place: int, message: Message, outcome: Outcome) -> str:
    match outcome.kind:
        case "stored" | "replayed" as kind:
            return f'{{"index":{place},"key":{encode_basestring(message.key)},"status":"{kind}","errors":[]}}'
        case "conflict":
            fault = FieldFault(f"/{place}", Conflict.sentence, "conflict")
            return _encoded({"index": place, "key": message.key, "status": "conflict", "errors": [fault._asdict()]})
        case _:
            return _encoded({"index": place, "key": message.key, "status": "unavailable", "errors": []})


def _encoded(verdict: dict[str, object]) -> str:
    return json.dumps(verdict, ensure_ascii=False, separators=(",", ":"))


def _whole_failed(verdicts: Sequence[dict[str, object] | Message], outcomes: list[Outcome]) -> Answerable:
    faults = [
        FieldFault(f"/{place}", f"The key {encode_basestring(verdict.key)} is taken by another body", "conflict")
        for place, (verdict, outcome) in enumerate(zip(verdicts, outcomes, strict=True))
        if isinstance(verdict, Message) and outcome.kind == "conflict"
    ]
    if not faults:
        return Unavailable(retry_after_s=RETRY_AFTER_S)
    return Conflict("Nothing was stored: another message holds a key of this request.", faults=tuple(faults))
