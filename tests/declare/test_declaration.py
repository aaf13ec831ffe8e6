"""What cannot be honoured is said when the app loads: all of it at once, each with file and line and what to do."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from headgate.declare.load import load_app
from headgate.errors import DeclarationError, Misuse

HEAD = """\
from datetime import timedelta
from pydantic import BaseModel, Field
from headgate import ApiKey, App, Cors, Header, Jwt, Public, Secret, Signed, Throttle

class Meta(BaseModel):
    company_id: str

class Order(BaseModel):
    record_id: str = Field(alias="recordId")
    amount: float
    meta: Meta

app = App("shop")
"""
LINE = HEAD.count("\n") + 1

MISTAKES = [
    ('"/orders", Order', "say who may post"),
    ('"/orders", Order, auth=ApiKey', "`auth=ApiKey` is a class; say ApiKey(...)."),
    ('"/orders", Order, auth="me"', "neither an auth declaration nor a function"),
    ('"orders", Order, auth=Public()', "a path starts with /"),
    ('"/orders/", Order, auth=Public()', "none at the end"),
    ('"/-/mine", Order, auth=Public()', "headgate's own"),
    ('"/orders", Order, auth=Public(), name="a b"', "the name 'a b'"),
    ('"/orders", Order, key="record_id", auth=Public()', "no field 'record_id'; it has amount, meta, recordId."),
    ('"/orders", Order, key="meta.company", auth=Public()', "Meta has no field 'company' in meta; it has company_id."),
    ('"/orders", Order, key=1, auth=Public()', "`key=` must be a field name"),
    ('"/orders", Order, indexes=["colour"], auth=Public()', "Order has no field 'colour'"),
    ('"/orders", indexes=["a.id", "b.id"], auth=Public()', "could not tell them apart"),
    ('"/orders", indexes=["limit"], auth=Public()', "name of a query parameter"),
    ('"/orders", lambda: 1, auth=Public()', "is a function; the second argument is the model"),
    ('"/orders", Order, many="some", auth=Public()', "`many=` is 'some'"),
    ('"/orders", Order, keep=60, auth=Public()', "`keep=` must be a timedelta"),
    ('"/orders", Order, keep=timedelta(0), auth=Public()', "`keep=` must be a timedelta"),
    ('"/orders", Order, throttle=Throttle(0, 1), auth=Public()', "a rate above 0"),
    ('"/orders", Order, cors=Cors(("example.com",)), auth=Public()', "origins without a path"),
    ('"/orders", Order, body_limit_bytes=10_000_000, auth=Public()', "not within 1 and 3000000"),
    ('"/orders", Order, scope="principal", auth=Public()', "a Public channel has none"),
    ('"/orders", Order, accepted=1, auth=Public()', "`accepted=` must be a function"),
    ('"/orders", Order, many=True, accepted=print, auth=Public()', "a batch answers item by item"),
    ('"/orders", Order, problem=1, auth=Public()', "`problem=` must be a function"),
    ('"/orders", Order, delivery="queue", auth=Public()', "this version knows Direct() only"),
    ('"/orders", Order, auth=Jwt(issuer="a", audience="b")', "exactly one of secret, public_key and jwks_url"),
    ('"/orders", Order, auth=Jwt(secret="s", issuer="", audience="b")', "Jwt needs `issuer=`"),
    ('"/orders", Order, auth=Jwt(secret="s", issuer="a", audience="b", leeway_s=61)', "`leeway_s=` must be 0 to 60"),
    ('"/orders", Order, auth=Jwt(secret="s", issuer="a", audience="b", algorithms=("none",))', "none is not"),
    ('"/orders", Order, auth=Jwt(public_key="k", issuer="a", audience="b", algorithms=("HS256",))', "HS256 is not"),
    ('"/orders", Order, auth=Signed("s", style="mine")', "Signed `style=` is 'mine'"),
    ('"/orders", Order, auth=Signed("s", window_s=3600)', "`window_s=` must be 1 to 300"),
    ('"/orders", Order, colour="red", auth=Public()', "there is no channel option `colour=`"),
]  # fmt: skip


def faults_of(folder: Path, code: str) -> list[tuple[str, str]]:
    """What is said about an app: pairs of where and what."""
    file = folder / "app.py"
    file.write_text(HEAD + textwrap.dedent(code))
    with pytest.raises(DeclarationError) as caught:
        load_app(str(file))
    return [(fault.where, fault.sentence) for fault in caught.value.faults]


@pytest.mark.parametrize(("declaration", "told"), MISTAKES, ids=[told[:40] for _, told in MISTAKES])
def test_a_mistake_is_told_with_its_line(tmp_path: Path, declaration: str, told: str) -> None:
    ((where, sentence),) = faults_of(tmp_path, f"app.channel({declaration})\n")
    assert where == f"{tmp_path / 'app.py'}:{LINE}"
    assert told in sentence


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    faults = faults_of(
        tmp_path,
        """\
        app.channel("/a", Order, keep=1)
        app.channel("/b", Order, auth=Public())
        app.channel("/b", Order, auth=Public(), name="other")
        app.channel("/c", Order, auth=Public(), name="b")
        """,
    )
    assert [where.rpartition(":")[2] for where, _ in faults] == [str(LINE + at) for at in (0, 0, 2, 3)]
    assert "the path is taken" in faults[2][1]
    assert "the name 'b' is taken" in faults[3][1]


def test_a_channel_below_one_that_is_read_is_refused(tmp_path: Path) -> None:
    ((_, sentence),) = faults_of(tmp_path, 'app.channel("/a", auth=ApiKey())\napp.channel("/a/b", auth=Public())\n')
    assert "/a/b overlaps with the messages that are read under /a/{key}" in sentence


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("from headgate import Queued", "queues"),
        ("from headgate import Stream", "streams"),
        ("from headgate import Iam", "IAM signatures"),
        ("from headgate import Permanent", "handlers"),
        ('alerts = app.topic("alerts")', "topics"),
        ("app.workflow()", "workflows"),
        ('app.schedule("rate(5 minutes)")', "schedules"),
        ('@app.channel("/a", auth=Public())\ndef handle(order): ...', "queues"),
    ],
)
def test_what_comes_later_is_refused_and_not_pretended(tmp_path: Path, code: str, what: str) -> None:
    ((where, sentence),) = faults_of(tmp_path, code + "\n")
    assert where == f"{tmp_path / 'app.py'}:{LINE}"
    assert what in sentence


@pytest.mark.parametrize(
    ("code", "line", "told"),
    [
        ("app = App('x'", 1, "not valid Python"),
        ("import nothing_like_that", 0, "No module named"),
        ("def f():\n    raise RuntimeError('no')\nf()", 1, "RuntimeError: no"),
    ],
)
def test_what_goes_wrong_in_the_users_code_is_one_sentence(tmp_path: Path, code: str, line: int, told: str) -> None:
    ((where, sentence),) = faults_of(tmp_path, code + "\n")
    assert where in {f"{tmp_path / 'app.py'}:{LINE + at}" for at in (0, line)}
    assert told in sentence


def test_a_stamp_that_nobody_reads_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text(HEAD + 'app.channel("/a", auth=Public(), stamp={"at": 1})\n')
    (warning,) = load_app(str(file)).warnings()
    assert warning.where == f"{file}:{LINE}"
    assert "nothing reads `stamp=`" in warning.sentence


def test_an_app_of_several_files_is_one_app(tmp_path: Path) -> None:
    (tmp_path / "billing_channels.py").write_text(
        'from headgate import App, Public\nbilling = App("billing")\nbilling.channel("/bills", auth=Public())\n'
    )
    file = tmp_path / "app.py"
    file.write_text(
        HEAD + "from billing_channels import billing\napp.include(billing)\n" + 'app.channel("/a", auth=Public())\n'
    )
    assert [channel.path for channel in load_app(str(tmp_path)).channels] == ["/bills", "/a"]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("x = 1", "has no App"),
        ("from headgate import App\na = App('a')\nb = App('b')", "several Apps (a, b)"),
    ],
)
def test_a_file_without_one_app_is_a_misuse(tmp_path: Path, code: str, told: str) -> None:
    (tmp_path / "app.py").write_text(code)
    with pytest.raises(Misuse, match=told.replace("(", r"\(").replace(")", r"\)")):
        load_app(str(tmp_path))


def test_a_folder_without_an_app_is_a_misuse(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match=r"There is no app\.py"):
        load_app(str(tmp_path))
