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
from headgate import ApiKey, App, Cors, Env, Header, Jwt, Made, Public, Queued, RetryPolicy, Secret, Signed, Throttle

class Meta(BaseModel):
    company_id: str
    tags: list[str]

class Order(BaseModel):
    record_id: str = Field(alias="recordId")
    amount: float
    paid: bool | None
    meta: Meta | None
    lines: dict[str, int]

class Plain:
    id: str

class Lost(BaseModel):
    id: "Nope"

class Odd:
    @classmethod
    def __get_pydantic_core_schema__(cls, source, handler):
        raise KeyError("no schema for this")

def nobody(): ...
def pair(one, two): ...
async def later(one): ...

UNREAD = Queued(validate="worker")
LONG = "a literal secret of 32 bytes and more"

def jwt(**options):
    return Jwt(**({"secret": LONG, "issuer": "a", "audience": "b"} | options))

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
    ('"/orders", Order, key="record_id", auth=Public()', "'record_id'; it has amount, lines, meta, paid, recordId."),
    ('"/orders", Order, key="meta.company", auth=Public()', "no field 'company' in meta; it has company_id, tags."),
    ('"/orders", Order, key=1, auth=Public()', "`key=` must be a field name"),
    ('"/orders", Order, key=Made("a b"), auth=Public()', "'a b' cannot be the name of a key"),
    ('"/orders", Order, key=Made("status"), auth=Public()', "'status' is the name of something else in the table"),
    ('"/orders", Order, indexes=["colour"], auth=Public()', "Order has no field 'colour'"),
    ('"/orders", indexes=["a.n", "b.n"], auth=Public()', "could not tell them apart"),
    ('"/orders", indexes=["limit"], auth=Public()', "name of a query parameter"),
    ('"/orders", indexes=["a.status"], auth=Public()', "status is what headgate itself calls something"),
    ('"/orders", key="meta.scope", auth=Public()', "scope is what headgate itself calls something"),
    ('"/orders", key="a.id", indexes=["b.id"], auth=Public()', "the key is called id too"),
    ('"/orders", indexes=["id"], auth=Public()', "the key is called id too"),
    ('"/orders", key=Header(), indexes=["idempotency_key"], auth=Public()', "the key is called idempotency_key too"),
    ('"/orders", indexes=[f"n{n}" for n in range(17)], auth=Public()', "`indexes=` has 17 fields; 16 are the most."),
    ('"/orders", attributes=["a.scope"], auth=Public()', "scope is what headgate itself calls something"),
    ('"/orders", attributes=["a.n", "b.n"], auth=Public()', "another field of the table is called n too"),
    ('"/orders", indexes=["n"], attributes=["b.n"], auth=Public()', "another field of the table is called n too"),
    ('"/orders", attributes="n", auth=Public()', '("a", "b"), not str.'),
    ('"/orders", attributes={"n": 1}, auth=Public()', "`attributes=` must be names and what they tell"),
    ('"/orders", attributes={"": "n"}, auth=Public()', "an attribute needs a name"),
    ('"/orders", attributes={"status": "n"}, auth=Public()', "status is what headgate itself calls something"),
    ('"/orders", attributes={"at": "{now}"}, auth=Public()', "there is no {now}; say a field of the body, or"),
    ('"/orders", attributes={"at": "{object}"}, auth=Public()', "there is no object without `archive=`"),
    ('"/orders", attributes={"at": "{execution}"}, auth=Public()', "there is no execution without `workflow=`"),
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
    ('"/orders", Order, delivery="queue", auth=Public()', "say Direct(), Queued(...) or Stream(...)"),
    ('"/orders", delivery=Queued, auth=Public()', "`delivery=Queued` is a class; say Queued(...)."),
    ('"/orders", delivery=int, auth=Public()', "say Direct(), Queued(...) or Stream(...)"),
    ('"/orders", delivery=Queued(attempts=0), auth=Public()', "Queued `attempts=` must be 1 to 100"),
    ('"/orders", delivery=Queued(attempts="5"), auth=Public()', "Queued `attempts=` must be a whole number, not str"),
    ('"/orders", delivery=Queued(at_most=0), auth=Public()', "Queued `at_most=` must be 1 to 10000000"),
    ('"/orders", delivery=Queued(validate="later"), auth=Public()', "Queued `validate=` is 'later'"),
    ('"/orders", delivery=Queued(backoff=5), auth=Public()', "`backoff=` must be a RetryPolicy"),
    ('"/orders", delivery=Queued(backoff=RetryPolicy(first_s=-1)), auth=Public()', "0 <= first_s <= most_s"),
    ('"/orders", delivery=Queued(backoff=RetryPolicy(most_s=86_400)), auth=Public()', "<= 43200 (seconds"),
    ('"/orders", delivery=Queued(backoff=RetryPolicy(factor=0.5)), auth=Public()', "`factor=` must be 1 to 100"),
    ('"/orders", delivery=Queued(backoff=RetryPolicy(jitter=2)), auth=Public()', "`jitter=` must be 0 to 1"),
    ('"/orders", Order, delivery=Queued(order_by="colour"), auth=Public()', "Order has no field 'colour'"),
    ('"/orders", Order, delivery=Queued(order_by=1), auth=Public()', "Queued `order_by=` must be a field name"),
    ('"/orders", delivery=UNREAD, many=True, auth=Public()', "with `many=` each item has to be answered"),
    ('"/orders", delivery=UNREAD, accepted=print, auth=Public()', "has one fixed reply, 202 with the request id"),
    ('"/orders", delivery=UNREAD, key=Header(), auth=Public()', "takes its keys from the body"),
    ('"/orders", delivery=UNREAD, body_limit_bytes=1_000_000, auth=Public()', "not within 1 and 780000"),
    ('"/orders", delivery=Queued(), timeout_s=901, auth=Public()', "`timeout_s=` must be 0.001 to 900"),
    ('"/orders", delivery=Queued(), memory_mb=64, auth=Public()', "`memory_mb=` must be 128 to 10240"),
    ('"/orders", delivery=Queued(), concurrency=0, auth=Public()', "`concurrency=` must be 1 to 1000"),
    ('"/orders", delivery=Queued(), batch=11, auth=Public()', "`batch=` must be 1 to 10"),
    ('"/orders", delivery=Queued(), env={"A": 1}, auth=Public()', "`env=` must map names to text"),
    ('"/orders", delivery=Queued(), secrets=["A"], auth=Public()', "`secrets=` must be a list of Secret"),
    ('"/orders", Order, auth=Jwt(issuer="a", audience="b")', "exactly one of secret, public_key and jwks_url"),
    ('"/orders", Order, auth=jwt(issuer="")', "Jwt needs `issuer=`"),
    ('"/orders", Order, auth=jwt(leeway_s=61)', "`leeway_s=` must be 0 to 60"),
    ('"/orders", Order, auth=jwt(algorithms=("none",))', "none is not"),
    ('"/orders", Order, auth=Jwt(public_key="k", issuer="a", audience="b", algorithms=("HS256",))', "HS256 is not"),
    ('"/orders", Order, auth=Signed("s", style="mine")', "Signed `style=` is 'mine'"),
    ('"/orders", Order, auth=Signed("ORDERS_SECRET")', 'say Secret("NAME").'),
    ('"/orders", list[Order], key="record_id", auth=Public()', "for arrays say the item's model and many=True."),
    ('"/orders", list[Order], indexes=["amount"], auth=Public()', "the model is a list, which has no fields"),
    ('"/orders", int, indexes=["amount"], auth=Public()', "the model is an int, which has no fields"),
    ('"/orders", Order, indexes=["amount.net"], auth=Public()', "amount is a float, and nothing in it has"),
    ('"/orders", Order, auth=Signed("s", window_s=3600)', "`window_s=` must be 1 to 300"),
    ('"/orders", Order, colour="red", auth=Public()', "there is no channel option `colour=` in this version."),
    ('"/orders", Order, indices=["amount"], auth=Public()', "did you mean `indexes=`?"),
    ('"/orders", Order, handler=pair, auth=Public()', "there is no channel option `handler=`"),
    ('"/orders", Order, "record_id", auth=Public()', "only path and model are positional; name the rest"),
    ("model=Order, auth=Public()", "say the path first"),
    # The wrong type, where a value of the right one would be looked at more closely.
    ("5, auth=Public()", "a path starts with /"),
    ('"/orders", name=5, auth=Public()', "`name=` must be text, not int."),
    ('"/orders", description=5, auth=Public()', "`description=` must be text, not int."),
    ('"/orders", read="yes", auth=Public()', "`read=` must be True or False, not str."),
    ('"/orders", indexes=[5], auth=Public()', "`indexes=` must be a tuple of texts"),
    ('"/orders", indexes="customer", auth=Public()', '("a", "b"), not str.'),
    ('"/orders", body_limit_bytes="1", auth=Public()', "not within 1 and 3000000"),
    ('"/orders", stamp=5, auth=Public()', "`stamp=` must map"),
    ('"/orders", keep=60, auth=Public()', "as in timedelta(days=1)."),
    ('"/orders", throttle=5, auth=Public()', "must be a Throttle(rate_per_s, burst)"),
    ('"/orders", throttle=Throttle("5", 10), auth=Public()', "Throttle `rate_per_s=` must be a number, not str."),
    ('"/orders", throttle=Throttle(5, 10.5), auth=Public()', "Throttle `burst=` must be a whole number, not float."),
    ('"/orders", throttle=Throttle(float("inf"), 1), auth=Public()', "a rate above 0"),
    ('"/orders", cors="*", auth=Public()', "`cors=` must be Cors("),
    ('"/orders", cors=Cors("*"), auth=Public()', "Cors `origins=` must be a tuple of texts"),
    ('"/orders", cors=Cors(("*",), headers="X-A"), auth=Public()', "Cors `headers=` must be a tuple of texts"),
    ('"/orders", cors=Cors(("*",), headers=("X A",)), auth=Public()', "'X A' cannot be the name of a header"),
    ('"/orders", cors=Cors(("*",), max_age_s="5"), auth=Public()', "Cors `max_age_s=` must be a whole number"),
    ('"/orders", cors=Cors(("*",), max_age_s=-1), auth=Public()', "0 seconds or more"),
    ('"/orders", auth=jwt(leeway_s="60")', "Jwt `leeway_s=` must be a whole number, not str."),
    ('"/orders", auth=jwt(issuer=5)', "Jwt `issuer=` must be text, Secret("),
    ('"/orders", auth=jwt(audience=("b", "c"))', "Jwt `audience=` must be text, Secret("),
    ('"/orders", auth=jwt(secret=Secret(5))', "Jwt `secret=` must be text, Secret("),
    ('"/orders", auth=jwt(secret=Env(""))', "Jwt `secret=` must be text, Secret("),
    ('"/orders", auth=jwt(scopes="write")', "Jwt `scopes=` must be a tuple of texts"),
    ('"/orders", auth=jwt(algorithms="HS256")', "Jwt `algorithms=` must be a tuple of texts"),
    ('"/orders", auth=Signed(5)', "Signed `secret=` must be text, Secret("),
    ('"/orders", auth=Signed(("s", 5))', "or a tuple of them, not tuple of int, str."),
    ('"/orders", auth=Signed(())', "not tuple of nothing."),
    ('"/orders", auth=Signed(("s", ""))', "a secret that is not empty"),
    ('"/orders", auth=Signed("s", window_s=timedelta(5))', "Signed `window_s=` must be a whole number, not timedelta."),
    # What would be found out only when the app is served.
    ('"/orders", auth=Jwt(secret=LONG, issuer="a")', "Jwt needs `audience=`"),
    ('"/orders", auth=jwt(secret="short")', "shorter than 32 bytes"),
    ('"/orders", auth=jwt(secret=None, jwks_url="http://keys.example/")', "must start with https://"),
    ('"/orders", Lost, auth=Public()', "`Lost` refers to `Nope`, which is not defined."),
    ('"/orders", list[Lost], auth=Public()', "refers to `Nope`"),
    ('"/orders", "Order", auth=Public()', "the model is the text 'Order'; pass the class itself."),
    ('"/orders", Plain, auth=Public()', "`Plain` is not a pydantic model; derive it from BaseModel."),
    ('"/orders", Meta(company_id="a", tags=[]), auth=Public()', "pass the class Meta, not an instance."),
    ('"/orders", 5, auth=Public()', "`5` is not a pydantic model"),
    ('"/orders", Odd, auth=Public()', "this cannot be checked: KeyError: 'no schema for this'"),
    ('"/orders", Order, key="amount", auth=Public()', "a key is a string or an integer, and amount is a float."),
    ('"/orders", Order, key="paid", auth=Public()', "and paid is a bool."),
    ('"/orders", Order, key="meta", auth=Public()', "and meta is a Meta."),
    ('"/orders", Order, key="meta.tags", auth=Public()', "and meta.tags is a list."),
    ('"/orders", Order, indexes=["lines"], auth=Public()', "strings, numbers, true and false, and lines is a dict."),
    ('"/orders", Order, indexes=["meta"], auth=Public()', "and meta is a Meta."),
    ('"/orders", Order, key=Header("bad name: x"), auth=Public()', "'bad name: x' cannot be the name of a header"),
    ('"/orders", Order, key=Header(5), auth=Public()', "5 cannot be the name of a header"),
    ('"/orders", auth=nobody', "`auth=` must be a function of one argument, the request."),
    ('"/orders", auth=pair', "`auth=` must be a function of one argument, the request."),
    ('"/orders", accepted=nobody, auth=Public()', "one argument, the receipt, and not async."),
    ('"/orders", accepted=later, auth=Public()', "and not async."),
    ('"/orders", problem=pair, auth=Public()', "one argument, the problem, and not async."),
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


@pytest.mark.parametrize(
    "declaration",
    [
        '"/a", auth=later',
        '"/a", auth=lambda request, *more: "me"',
        '"/a", auth=type("Mine", (), {"__call__": lambda self, request: "me"})()',
        '"/a", auth=Public(), accepted=dict, problem=print',
        '"/a", Order, key="recordId", indexes=["amount", "paid", "meta.company_id"], auth=Public()',
        '"/a", Order, key=Header("x-key"), many=True, auth=Public()',
        '"/a", Early, key="late.id", auth=Public()',
        '"/a", Wrapped, key="id", auth=Public()',
        '"/a", list[int] | None, auth=Public()',
        '"/a", auth=Jwt(secret=Secret("S"), issuer=Env("I"), audience="b", scopes=["write"])',
        '"/a", auth=Signed((Secret("NEW"), Secret("OLD")))',
        '"/a", auth=Public(), throttle=Throttle(0.5, 1), cors=Cors(("*",), headers=(), max_age_s=0)',
    ],
)
def test_what_can_be_honoured_is(tmp_path: Path, declaration: str) -> None:
    file = tmp_path / "app.py"
    file.write_text(
        HEAD
        + 'from pydantic import RootModel\n\nclass Early(BaseModel):\n    late: "Late"\n'
        + "class Wrapped(BaseModel):\n    id: RootModel[str]\n"
        + f"app.channel({declaration})\n\nclass Late(BaseModel):\n    id: str\n"
    )
    assert load_app(str(file)).channels[0].path == "/a"


def test_a_secret_is_not_told(tmp_path: Path) -> None:
    code = 'app.channel("/a", auth=jwt(secret=b"hush"))\napp.channel("/b", auth=jwt(secret="hush"))\n'
    assert not any("hush" in sentence for _, sentence in faults_of(tmp_path, code))


def test_an_app_says_of_itself_what_is_wrong(tmp_path: Path) -> None:
    ((where, sentence),) = faults_of(tmp_path, 'app = App("shop", title=5)\napp.channel("/a", auth=Public())\n')
    assert where == f"{tmp_path / 'app.py'}:{LINE}"
    assert sentence == "app 'shop': `title=` must be text, not int."


def test_a_misspelt_name_of_an_app_is_told_with_the_right_one(tmp_path: Path) -> None:
    ((where, sentence),) = faults_of(tmp_path, 'app.chanel("/a")\n')
    assert where == f"{tmp_path / 'app.py'}:{LINE}"
    assert sentence == "AttributeError: an App has no `chanel`; did you mean `channel`?"


def test_two_unknown_options_are_told_together(tmp_path: Path) -> None:
    faults = faults_of(tmp_path, 'app.channel("/a", Order, "id", colour=1, size=2)\n')
    assert len(faults) == 3


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
    ("delivery", "handler", "told"),
    [
        ("Direct()", "def handle(order): ...", "a Direct channel has no handler"),
        ("Queued()", "def handle(): ...", "a handler takes the message, or the message and a Message"),
        ("Queued()", "def handle(one, two, three): ...", "a handler takes the message"),
        ("Queued()", "def handle(order):\n    yield order", "the handler `handle` yields"),
        ("Queued()", "async def handle(order):\n    yield order", "the handler `handle` yields"),
    ],
)
def test_a_handler_that_cannot_be_called_is_told_with_its_line(
    tmp_path: Path, delivery: str, handler: str, told: str
) -> None:
    code = f"from headgate import Direct\n@app.channel('/a', auth=Public(), delivery={delivery})\n{handler}\n"
    ((where, sentence),) = faults_of(tmp_path, code)
    assert where == f"{tmp_path / 'app.py'}:{LINE + 1}"
    assert told in sentence


def test_a_channel_has_one_handler(tmp_path: Path) -> None:
    code = "orders = app.channel('/a', auth=Public(), delivery=Queued())\n"
    code += "@orders\ndef one(order): ...\n@orders\nasync def two(order, message): ...\n"
    ((where, sentence),) = faults_of(tmp_path, code)
    assert where == f"{tmp_path / 'app.py'}:{LINE + 3}"
    assert f"it has a handler already ({tmp_path / 'app.py'}:{LINE + 1})" in sentence


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("app.alarm()", "alarms"),
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
        ("raise ValueError('one\\ntwo')", 0, "ValueError: one"),
        ("raise ValueError", 0, "ValueError"),
        ("import sys\nsys.exit(3)", 1, "this ends Python, and with it headgate"),
        ("Throttle(rate=5)", 0, "unexpected keyword argument 'rate'; Throttle takes rate_per_s=, burst="),
        ("Queued(retries=3)", 0, "; Queued takes attempts="),
        ("class Mine:\n    def __init__(self): pass\nMine(1)", 2, "but 2 were given"),
    ],
)
def test_what_goes_wrong_in_the_users_code_is_one_sentence(tmp_path: Path, code: str, line: int, told: str) -> None:
    ((where, sentence),) = faults_of(tmp_path, code + "\n")
    assert where in {f"{tmp_path / 'app.py'}:{LINE + at}" for at in (0, line)}
    assert told in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("others", [".venv/lib/python3/site-packages", "../{name}-neighbour"])
def test_the_users_own_line_is_told_and_not_that_of_a_library(tmp_path: Path, others: str) -> None:
    library = (tmp_path / others.format(name=tmp_path.name)).resolve()
    library.mkdir(parents=True)
    module = f"breaking_{len(others)}"
    (library / f"{module}.py").write_text("def now():\n    raise RuntimeError('no')\n")
    code = f"import sys\nsys.path.insert(0, {str(library)!r})\nimport {module}\n{module}.now()\n"
    ((where, _),) = faults_of(tmp_path, code)
    assert where == f"{tmp_path / 'app.py'}:{LINE + 3}"


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
        ("x = 1", "app.py has no App"),
        ("from headgate import App\na = App('a')\nb = App('b')", "several Apps (a, b)"),
    ],
)
def test_a_file_without_one_app_is_a_misuse(tmp_path: Path, code: str, told: str) -> None:
    (tmp_path / "app.py").write_text(code)
    with pytest.raises(Misuse, match=told.replace("(", r"\(").replace(")", r"\)")):
        load_app(str(tmp_path))


def test_a_module_that_is_not_there_is_a_misuse() -> None:
    with pytest.raises(Misuse, match=r"There is no module nowhere, neither here nor installed; say --app PATH\."):
        load_app("nowhere.apps:app")


def test_a_folder_without_an_app_is_a_misuse(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match=r"There is no app\.py"):
        load_app(str(tmp_path))
