"""Topics in SNS, which delivers to the subscribers and tries again by itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from headgate.aws.clients import Clients, Declined
from headgate.engine import Notice, Topics
from headgate.errors import Unavailable
from headgate.http import RETRY_AFTER_S

_SUBJECT = 99
"""A subject is ASCII on one line, of fewer than 100 characters."""
_ATTRIBUTES = 10
"""As many reach subscribers that ask for raw messages."""


class SnsTopics(Topics):
    """`arns` by the names of topics. What machines read is the whole notice, as JSON, under `lambda`, `sqs`, `http` and
    `https`; what people read is its text."""

    def __init__(self, arns: Mapping[str, str], clients: Clients) -> None:
        self._arns = arns
        self._clients = clients

    def publish(self, topic: str, notice: Notice) -> str:
        whole = json.dumps({**notice._asdict(), "attributes": dict(notice.attributes)}, ensure_ascii=False)
        text = {"default": notice.text, **dict.fromkeys(("lambda", "sqs", "http", "https"), whole)}
        attributes = [(name, value) for name, value in notice.attributes.items() if value][:_ATTRIBUTES]
        answer = self._call(
            TopicArn=self._arns[topic],
            Subject=_subject(notice.subject),
            Message=json.dumps(text),
            MessageStructure="json",
            MessageAttributes={name: {"DataType": "String", "StringValue": value} for name, value in attributes},
        )
        return str(answer["MessageId"])

    def _call(self, **parameters: Any) -> dict[str, Any]:
        try:
            return self._clients.call("sns", "publish", **parameters)
        except Declined:
            raise Unavailable(retry_after_s=RETRY_AFTER_S) from None


def _subject(text: str) -> str:
    plain = " ".join(text.encode("ascii", "replace").decode().split())
    printable = "".join(one for one in plain if one.isprintable())
    return printable[:_SUBJECT] or "headgate"
