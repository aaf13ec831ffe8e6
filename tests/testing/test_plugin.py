"""The pytest plugin as users meet it."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest
from pydantic import BaseModel

from headgate import ApiKey, App, Archive, Header, Jwt, Public, Request, Secret, Signed
from headgate.errors import Misuse
from headgate.testing.inprocess import AppUnderTest

pytest_plugins = ["pytester"]

Serve = Callable[[App], AppUnderTest]

JWT = Jwt(secret=Secret("TEST_SECRET"), issuer="us", audience="you", scopes=("write",))


def test_what_was_sent_is_stored_and_found(headgate_app_from: Serve) -> None:
    app = App("shop")
    app.channel("/orders", key="id", indexes=["customer", "paid"], auth=ApiKey())
    served = headgate_app_from(app)
    for n in range(5):
        answer = served.send("/orders", {"id": n, "customer": "é" if n % 2 else "b", "paid": n == 3})
        assert (answer.status, answer.json()) == (201, {"id": str(n)})
        assert answer.headers["X-Request-ID"] == answer.headers["x-request-id"]
    assert [message.key for message in served.messages("orders")] == ["4", "3", "2", "1", "0"]
    assert [message.key for message in served.messages("/orders", customer="é")] == ["3", "1"]
    assert [message.key for message in served.messages("orders", customer="é", paid=False)] == ["1"]
    assert json.loads(served.messages("orders", paid=True)[0].body)["id"] == 3
    page = served.send("/orders?customer=%C3%A9&limit=1", method="GET").json()
    assert [item["key"] for item in page["items"]] == ["3"]
    assert served.send("/orders/4", method="GET").json()["body"]["customer"] == "b"
    assert served.send("/orders/4", method="HEAD").body == b""
    with pytest.raises(LookupError, match="nothing: not declared"):
        served.messages("orders", nothing=1)
    with pytest.raises(LookupError, match="the app has orders"):
        served.messages("bills")


def test_an_index_holds_what_was_sent_and_no_default_of_the_model(headgate_app_from: Serve) -> None:
    class Note(BaseModel):
        id: str
        topic: str = "none"

    app = App("shop")
    app.channel("/notes", Note, key="id", indexes=["topic"], auth=Public())
    served = headgate_app_from(app)
    served.send("/notes", {"id": "silent"})
    served.send("/notes", {"id": "told", "topic": "none"})
    assert [message.key for message in served.messages("notes", topic="none")] == ["told"]


def test_bodies_are_sent_as_they_are(headgate_app_from: Serve) -> None:
    app = App("shop")
    app.channel("/any", auth=Public(), read=True)
    served = headgate_app_from(app)
    id_ = served.send("/any", body='{"a" : 2.10}').json()["id"]
    assert served.messages("any")[0].key == id_
    assert served.messages("any")[0].body == b'{"a" : 2.10}'
    assert served.send("/any", body=b"\xff").status == 400
    assert served.send("/any", None).status == 201
    assert served.send("/any", body="").status == 400
    assert served.send("/any", {}, headers={"content-TYPE": "text/plain"}).status == 415


@pytest.mark.parametrize(
    "auth",
    [
        ApiKey(),
        JWT,
        Signed(Secret("TEST_SECRET")),
        Signed(Secret("TEST_SECRET"), style="stripe"),
        Signed((Secret("TEST_SECRET"), Secret("TEST_OLD")), style="github"),
    ],
    ids=["ApiKey", "Jwt", "standard", "stripe", "github"],
)
def test_credentials_are_filled_in_unless_one_says_otherwise(
    headgate_app_from: Serve, auth: ApiKey | Jwt | Signed
) -> None:
    app = App("shop")
    app.channel("/orders", auth=auth)
    served = headgate_app_from(app)
    assert served.send("/orders", {"a": "é"}).status == 201
    assert served.send("/orders", {"a": "é"}, auth=False).status == 401
    if not isinstance(auth, Signed):
        assert served.send("/orders", {}, token="nonsense").status == 401
        assert served.send("/orders", {}, headers={"authorization": "Bearer nonsense"}).status == 401
    served.clock.advance(timedelta(days=1).total_seconds())
    assert served.send("/orders", {"a": "é"}).status == 201


@pytest.mark.parametrize("auth", [ApiKey(), JWT], ids=["ApiKey", "Jwt"])
def test_senders_are_told_apart(headgate_app_from: Serve, auth: ApiKey | Jwt) -> None:
    app = App("shop")
    app.channel("/orders", auth=auth)
    served = headgate_app_from(app)
    key = {"Idempotency-Key": "1"}
    assert served.send("/orders", {"n": 1}, headers=key, as_="alice").status == 201
    assert served.send("/orders", {"n": 2}, headers=key, as_="bob").status == 201
    assert served.send("/orders", {"n": 1}, headers=key, as_="alice").headers["Idempotency-Replayed"] == "true"
    assert served.send("/orders/1", method="GET", as_="bob").json()["body"] == {"n": 2}
    assert served.send("/orders/1", method="GET", as_="carol").status == 404


def test_time_stands_still_until_it_is_moved(headgate_app_from: Serve) -> None:
    app = App("shop")
    app.channel("/orders", key="id", keep=timedelta(hours=24), auth=JWT)
    served = headgate_app_from(app)
    served.send("/orders", {"id": "1"})
    served.clock.advance(24 * 3600 - 1)
    assert served.send("/orders/1", method="GET").status == 200
    served.clock.advance(1)
    served.drain()
    assert served.messages("orders") == []
    assert served.send("/orders", {"id": "1", "other": True}).status == 201


def test_a_setting_from_the_environment_goes_first(headgate_app_from: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    app = App("shop")
    app.channel("/orders", auth=JWT)
    monkeypatch.setenv("TEST_SECRET", "too short")
    with pytest.raises(Misuse, match="32 bytes"):
        headgate_app_from(app)
    monkeypatch.setenv("TEST_SECRET", "x" * 32)
    assert headgate_app_from(app).send("/orders", {}).status == 201


def test_two_apps_at_a_time_do_not_meet(headgate_app_from: Serve) -> None:
    served = []
    for name in ("one", "two"):
        app = App(name)
        app.channel("/hook", key=Header("webhook-id"), auth=Signed(Secret("TEST_SECRET")))
        served.append(headgate_app_from(app))
    assert served[0].send("/hook", {"n": 1}, headers={"webhook-id": "msg_1"}).status == 201
    assert served[1].messages("hook") == []


APP = """
from headgate import App, Public
app = App({name!r})
app.channel("/{name}", key="id", auth=Public(), read=True)
"""

TEST = """
def test_the_app_answers(headgate_app):
    assert headgate_app.app.name == {name!r}
    assert headgate_app.send("/{name}", {{"id": "1"}}).status == 201
    assert [message.key for message in headgate_app.messages({name!r})] == ["1"]
"""


def test_a_project_of_several_apps_is_tested_without_a_warning(pytester: pytest.Pytester) -> None:
    for folder in ("", "billing/", "shipping/tests/"):
        name = folder.partition("/")[0] or "root"
        (pytester.path / folder).mkdir(parents=True, exist_ok=True)
        (pytester.path / folder / f"test_{name}.py").write_text(TEST.format(name=name))
        (pytester.path / folder.removesuffix("tests/") / "app.py").write_text(APP.format(name=name))
    (pytester.path / "test_marked.py").write_text(
        "import pytest\n\n@pytest.mark.headgate(app='billing')" + TEST.format(name="billing")
    )
    (pytester.path / "test_bare.py").write_text("def test_that_needs_nothing():\n    pass\n")
    done = pytester.runpytest_subprocess("-W", "error", "--strict-markers", "--strict-config")
    done.assert_outcomes(passed=5)


def test_the_ini_option_says_which_app(pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml('[tool.pytest.ini_options]\nheadgate_app = "service/main.py"\n')
    pytester.mkdir("service").joinpath("main.py").write_text(APP.format(name="service"))
    pytester.makepyfile(TEST.format(name="service"))
    pytester.runpytest_subprocess("-W", "error").assert_outcomes(passed=1)


def test_without_an_app_the_error_says_what_to_do(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TEST.format(name="nothing"))
    done = pytester.runpytest_subprocess()
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*there is no app.py between*headgate_app = PATH*"])


def test_who_does_not_use_the_plugin_does_not_pay_for_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "import sys\n\n"
        "def test_that_needs_nothing():\n"
        "    heavy = {'pydantic', 'uvicorn', 'starlette', 'jwt', 'sqlite3', 'headgate.errors'}\n"
        "    assert not heavy & set(sys.modules)\n"
    )
    pytester.runpytest_subprocess("-p", "no:hypothesispytest", "-p", "no:schemathesis").assert_outcomes(passed=1)
    without = pytester.runpytest_subprocess("-p", "no:headgate", "-p", "no:hypothesispytest", "-p", "no:schemathesis")
    without.assert_outcomes(passed=1)


def test_the_plugin_can_be_imported_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import headgate.testing.plugin"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_app_that_is_closed_says_so_to_whoever_sends(headgate_app_from: Serve) -> None:
    at_the_door, open_ = threading.Event(), threading.Event()

    def waits(_: Request) -> str:
        at_the_door.set()
        open_.wait(60)
        return "someone"

    app = App("closed")
    app.channel("/door", auth=waits)
    served = headgate_app_from(app)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(served.send, "/door", {})
        assert at_the_door.wait(60)
        served.close()
        assert waiting.result().status == 503
    with pytest.raises(RuntimeError, match="was closed"):
        served.send("/door", {})
    served.close()
    open_.set()


def test_an_app_that_is_closed_leaves_no_task_behind(
    headgate_app_from: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """Not those either that a gate asks for when what it waits for fails."""
    app = App("closed")
    app.channel("/kept", key="id", auth=Public(), archive=Archive("{id}.json"), read=True)
    for round in range(20):
        served = headgate_app_from(app)
        with ThreadPoolExecutor(4) as pool:
            sent = [pool.submit(served.send, "/kept", {"id": f"{round}-{n}"}) for n in range(4)]
            served.close()
            for one in sent:
                with suppress(RuntimeError):
                    one.result()
    gc.collect()
    assert "was destroyed" not in caplog.text
