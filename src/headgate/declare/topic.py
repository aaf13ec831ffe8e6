"""Topics: where people are told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from headgate.declare.auth import url_fault
from headgate.declare.settings import Env, Secret, Setting
from headgate.declare.shape import FLAG, SETTING, given, misfits
from headgate.errors import DeclarationFault

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_WEBHOOK = {"url": SETTING, "secret": SETTING}
_TOPIC = {"alarms": FLAG}


@dataclass(frozen=True, slots=True)
class Webhook:
    """Notices are posted to `url` as JSON, signed as Standard Webhooks are, with `secret` (`whsec_` and base64, or any
    other text). On AWS the URL is subscribed to the SNS topic, which signs in its own way."""

    url: Setting
    secret: Setting

    def sentences(self) -> Iterator[str]:
        """What of it cannot be honoured."""
        if wrong := list(misfits("Webhook ", given(self, _WEBHOOK), _WEBHOOK)):
            yield from wrong
            return
        if isinstance(self.url, Secret):
            yield 'Webhook: its url is text or Env("NAME"); nobody could make up a secret one.'
        if isinstance(self.url, str) and (fault := url_fault(self.url)):
            yield f"Webhook: its url {fault}"
        if not self.secret:
            yield "Webhook needs a secret that is not empty."


@dataclass(frozen=True, slots=True)
class Email:
    """Notices go to an address, by SNS. The local engine sends no mail: it logs notices, and posts them to webhooks."""

    address: str

    def sentences(self) -> Iterator[str]:
        """What of it cannot be honoured."""
        if not isinstance(self.address, str) or not _EMAIL.fullmatch(self.address):
            yield f"Email: {self.address!r} is not an address."


Subscriber = Webhook | Email


class Topic:
    """Where people are told; made by `App.topic`.

    - `name`: 1 to 64 letters, digits, _ and -
    - `subscribers`: `Webhook(url, secret)`, `Email(address)`; every notice is also a line of the log
    - `alarms`: whether the alarms that follow from the declaration are told here; True
    """

    def __init__(self, where: str, name: str, subscribers: tuple[Subscriber, ...], *, alarms: bool) -> None:
        self.where = where
        self.name = name
        self.subscribers = subscribers
        self.alarms = alarms

    def __repr__(self) -> str:
        return f"<topic {self.name}>"

    def settings(self) -> Iterator[Secret | Env]:
        """Every setting that its subscribers refer to."""
        for subscriber in self.subscribers:
            if isinstance(subscriber, Webhook):
                for value in (subscriber.url, subscriber.secret):
                    if isinstance(value, Secret | Env):
                        yield value

    def faults(self) -> Iterator[DeclarationFault]:
        """Everything about this topic alone that cannot be honoured."""
        for sentence in self._sentences():
            yield DeclarationFault(self.where, f"topic {self.name!r}: {sentence}")

    def _sentences(self) -> Iterator[str]:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            yield "a name is 1 to 64 letters, digits, _ and -."
        yield from misfits("", given(self, _TOPIC), _TOPIC)
        for subscriber in self.subscribers:
            if isinstance(subscriber, Webhook | Email):
                yield from subscriber.sentences()
            else:
                yield "a subscriber is a Webhook(url, secret) or an Email(address)."
