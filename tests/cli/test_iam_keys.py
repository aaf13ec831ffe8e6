"""headgate keys, on channels that want AWS signatures"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.shell import run, running

APP = """
from headgate import ApiKey, App, Iam

app = App("shop")
app.channel("/requests", key="id", auth=Iam(region="eu-west-1"))
app.channel("/other", key="id", auth=Iam(region="eu-west-1"))
app.channel("/keyed", key="id", auth=ApiKey())
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def test_dev_makes_up_one_access_key_and_send_signs_with_it(shop: Path) -> None:
    with running(shop, "dev"):
        iam = json.loads(run(shop, "keys", "--json").out)["iam"]
        assert set(iam) == {"access_key_id", "secret_access_key", "region", "service"}
        assert (iam["region"], iam["service"]) == ("eu-west-1", "execute-api")
        for channel in ("requests", "other"):
            assert run(shop, "send", channel, '{"id": "1"}').code == 0
        assert run(shop, "send", "requests", "-n", "20").code == 0
        assert iam["access_key_id"] in run(shop, "keys").out
    kept = shop / ".headgate" / "credentials.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert json.loads(run(shop, "keys", "--json").out)["iam"] == iam


@pytest.mark.parametrize("beside", [True, False])
def test_an_access_key_is_made_in_the_form_that_the_tools_of_aws_read(shop: Path, beside: bool) -> None:
    if beside:
        with running(shop, "dev"):
            made = run(shop, "keys", "create", "requests", "--session", "12h")
    else:
        made = run(shop, "keys", "create", "requests", "--session", "12h")
    said = dict(line.split("=", 1) for line in made.out.splitlines())
    assert set(said) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
    listed = json.loads(run(shop, "keys", "list", "--json").out)
    assert said["AWS_ACCESS_KEY_ID"] in [row["id"] for row in listed]
    assert said["AWS_SECRET_ACCESS_KEY"] not in run(shop, "keys", "list").out
    assert run(shop, "keys", "revoke", said["AWS_ACCESS_KEY_ID"]).code == 0
    assert said["AWS_ACCESS_KEY_ID"] not in run(shop, "keys", "list").out


def test_an_api_key_does_not_expire(shop: Path) -> None:
    made = run(shop, "keys", "create", "keyed", "--session", "1h")
    assert (made.code, made.err) == (2, "/keyed takes API keys, which do not expire; leave --session out.\n")


def test_two_regions_in_one_app_are_refused(shop: Path) -> None:
    (shop / "app.py").write_text(
        APP.replace('"/other", key="id", auth=Iam(region="eu-west-1")', '"/other", auth=Iam()')
    )
    checked = run(shop, "check")
    assert checked.code == 2
    assert "an app is in one region" in checked.err


def test_without_botocore_an_iam_channel_is_refused(shop: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'botocore' else find(name, *rest)\n"
    )
    checked = run(shop, "check", env={"PYTHONPATH": os.pathsep.join([str(hidden)])})
    assert checked.code == 2
    assert "Iam needs botocore to check signatures; add it with `pip install 'headgate[iam]'`." in checked.err
