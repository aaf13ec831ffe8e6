"""What a sender can rely on where messages and the clock start workflows, asked over HTTP of any address that serves
headgate.testing.flows.

    class TestMyFlows(FlowScenarios):
        @pytest.fixture
        def site(self) -> Site:
            return Site("https://intake.example", {}, {"alice": ""})
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from headgate.testing.flows import HIDDEN
from headgate.testing.scenarios import Site, is_problem, is_replay, new_key
from headgate.testing.work_scenarios import moments, settled

_FIRES_S = 300
"""A schedule of every minute has fired by then, whenever it was switched on."""
_LOOK_AGAIN_S = 1.0


def parcel(**fields: object) -> dict[str, object]:
    """A message that starts a workflow."""
    return {"id": new_key(), **fields}


class FlowScenarios:
    """Adopt by subclassing and giving the fixture `site`."""

    @pytest.fixture
    def site(self) -> Site:
        raise NotImplementedError("give a fixture `site` in the class that adopts these scenarios")

    @pytest.mark.parametrize("channel", ["parcels", "swift"])
    def test_a_message_is_processed_when_its_workflow_has_succeeded(self, site: Site, channel: str) -> None:
        sent = parcel()
        made = site.post(channel, sent)
        assert made.status == 201
        told = settled(site, channel, sent["id"])
        assert (told["status"], told["body"], told["error"]) == ("processed", sent, None)
        assert moments(site, channel, sent["id"])[-2:] == ["started", "processed"]
        again = site.post(channel, sent)
        assert (again.status, again.body, is_replay(again)) == (201, made.body, True)

    def test_the_reply_names_the_execution_as_declared(self, site: Site) -> None:
        sent = parcel()
        standard = site.post("parcels", sent).json()["execution"]
        assert standard.startswith("arn:aws:states:")
        assert standard.rpartition(":")[2] == f"parcels-{sent['id']}"
        express = site.post("swift", sent).json()["execution"]
        assert express.split(":")[7] == f"swift-{sent['id']}"

    @pytest.mark.parametrize("channel", ["parcels", "failing"])
    def test_a_message_has_failed_when_its_workflow_has(self, site: Site, channel: str) -> None:
        sent = parcel(fails=True)
        site.post(channel, sent)
        told = settled(site, channel, sent["id"])
        assert told["status"] == "failed"
        assert "Unlucky" in told["error"]
        assert HIDDEN not in told["error"]
        assert moments(site, channel, sent["id"])[-2:] == ["started", "failed"]

    def test_another_body_under_a_key_starts_nothing(self, site: Site) -> None:
        sent = parcel()
        site.post("parcels", sent)
        is_problem(site.post("parcels", {**sent, "amount": 5}), 409, "conflict")
        assert settled(site, "parcels", sent["id"])["body"] == sent
        assert moments(site, "parcels", sent["id"]).count("started") == 1

    @pytest.mark.parametrize("fails", [False, True])
    def test_the_end_of_a_batch_is_that_of_each_of_its_messages(self, site: Site, fails: bool) -> None:
        sent = [parcel(), {"id": new_key(), "amount": -1}, parcel(fails=fails), parcel()]
        answer = site.post("lots", sent)
        assert [item["status"] for item in answer.json()["items"]] == ["stored", "invalid", "stored", "stored"]
        status = "failed" if fails else "processed"
        for one in (sent[0], sent[2], sent[3]):
            assert settled(site, "lots", one["id"])["status"] == status
            assert moments(site, "lots", one["id"])[-2:] == ["started", status]
        again = site.post("lots", sent)
        assert [item["status"] for item in again.json()["items"]] == ["replayed", "invalid", "replayed", "replayed"]

    def test_a_workflow_keeps_items_and_sends_to_a_channel(self, site: Site) -> None:
        sent = parcel(amount=7)
        site.post("kept", sent)
        assert settled(site, "kept", sent["id"])["status"] == "processed"
        letter = f"letter-{sent['id']}"
        assert _arrived(site, "letters", letter) == {"id": letter, "amount": 8}

    @pytest.mark.parametrize("clock", ["rate", "cron"])
    def test_a_schedule_fires_each_minute(self, site: Site, clock: str) -> None:
        until_s = time.monotonic() + _FIRES_S
        while not (found := site.read("ticks", f"?clock={clock}").json()["items"]):
            assert time.monotonic() < until_s, f"the schedule of the kind {clock} has not fired"
            time.sleep(_LOOK_AGAIN_S)
        assert found[0]["body"]["clock"] == clock


def _arrived(site: Site, channel: str, key: str) -> Any:
    """The body of a message that a workflow has sent, once it is worked off."""
    until_s = time.monotonic() + _FIRES_S
    while site.read(channel, f"/{key}").status == 404:
        assert time.monotonic() < until_s, f"{channel} {key} has not arrived"
        time.sleep(_LOOK_AGAIN_S / 5)
    told = settled(site, channel, key)
    assert told["status"] == "processed", told
    return told["body"]
