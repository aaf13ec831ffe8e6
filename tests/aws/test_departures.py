"""Where the emulator departs from AWS, and that the strict one does not: each line of the table, on both.

A stock emulator that no longer misses what the table says is as red as a strict one that does.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from headgate.clock import SystemClock
from headgate.testing.credentials import aws_signature
from tests.aws.emulator import process
from tests.aws.emulator.departures import DEPARTURES
from tests.aws.emulator.process import Emulator
from tests.aws.emulator.specimen import TTL_ATTRIBUTE, share_template, template
from tests.aws.tables import make_machine

pytestmark = pytest.mark.xdist_group("departures")

_STACK = "specimen"
_OUTPUTS = (
    "Table", "Bucket", "Secret", "Letters", "Barred", "Dead", "Log", "Alarm", "Batches", "Machine", "Started", "Sends",
    "Posts", "Keyless", "Putting", "Reads", "Picky", "Heard",
    "Mumbled",
)  # fmt: skip
_LONG_S = 300.0
_PATIENCE_S = {"strict": _LONG_S, "stock": 5.0}  # of stock it is expected that nothing comes
_MEANWHILE_S = 2.0


@dataclass(frozen=True)
class Specimen:
    """A stack made to be looked at, deployed without the CDK."""

    emulator: Emulator
    url: str
    table: str
    bucket: str
    secret: str
    letters: str
    barred: str
    dead: str
    log: str
    alarm: str
    batches: str
    machine: str
    started: str
    sends: str
    posts: str
    keyless: str
    putting: str
    reads: str
    picky: str
    heard: str
    mumbled: str

    def until_s(self) -> float:
        """How long this emulator is waited for, if it is from now."""
        return time.monotonic() + _PATIENCE_S[self.emulator.mode]

    def has_metric(self, namespace: str, name: str, **dimensions: str) -> bool:
        """Whether there is one with these dimensions, and no others."""
        metrics = self.emulator.client("cloudwatch").list_metrics(Namespace=namespace, MetricName=name)["Metrics"]
        return any({it["Name"]: it["Value"] for it in metric["Dimensions"]} == dimensions for metric in metrics)

    def send(
        self,
        path: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        method: str = "POST",
    ) -> tuple[int, bytes]:
        """One request with exactly these headers, and Host and Content-Length."""
        status, _, answer = self.answer(path, headers, body, method)
        return status, answer

    def answer(
        self, path: str, headers: Sequence[tuple[str, str]], body: bytes, method: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        """The same, with the headers of the answer, by their names in lower case."""
        place = urlsplit(self.url)
        connection = http.client.HTTPConnection(place.netloc, timeout=300)
        connection.putrequest(method, place.path + path, skip_accept_encoding=True)
        for name, value in [*headers, ("Content-Length", str(len(body)))]:
            connection.putheader(name, value)
        connection.endheaders(body)
        reply = connection.getresponse()
        told = {name.lower(): value for name, value in reply.getheaders()}
        answer = reply.status, told, reply.read()
        connection.close()
        return answer

    def signature(self, path: str) -> list[tuple[str, str]]:
        """The headers that sign an empty post, by an access key of the root user."""
        key = {
            "access_key_id": self.emulator.env["AWS_ACCESS_KEY_ID"],
            "secret_access_key": self.emulator.env["AWS_SECRET_ACCESS_KEY"],
            "region": process.REGION,
            "service": "execute-api",
        }
        return [*aws_signature(key, "POST", self.url + path, b"", SystemClock()).items()]

    def event(self, path: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"") -> Any:
        """The event the function got."""
        status, answer = self.send(path, headers, body)
        assert status == 200, answer
        return json.loads(answer)


def _deployed(emulator: Emulator) -> Specimen:
    stacks = emulator.client("cloudformation")
    stacks.create_stack(StackName=_STACK, TemplateBody=json.dumps(template()), Capabilities=["CAPABILITY_IAM"])
    stacks.get_waiter("stack_create_complete").wait(StackName=_STACK, WaiterConfig={"Delay": 0.2, "MaxAttempts": 1500})
    outputs = {
        output["OutputKey"]: output["OutputValue"]
        for output in stacks.describe_stacks(StackName=_STACK)["Stacks"][0]["Outputs"]
    }
    own = (outputs[name] for name in _OUTPUTS)
    return Specimen(emulator, emulator.plain_url(outputs["Url"]), *own)


@pytest.fixture(scope="module", params=["stock", "strict"])
def specimen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Specimen]:
    emulator = process.start(tmp_path_factory.mktemp(request.param) / "emulator", os.getpid(), request.param)
    try:
        yield _deployed(emulator)
    finally:
        process.stop(emulator)


def own_runtime(specimen: Specimen) -> None:
    seen = specimen.event("/echo")["seen"]
    assert seen["client"] == "awslambdaric"
    assert not seen["pydantic"]


def headers_as_sent(specimen: Specimen) -> None:
    event = specimen.event("/echo", [("X-One", "a, b"), ("X-One", "c")])
    assert event["headers"]["X-One"] == "c"
    assert event["multiValueHeaders"]["X-One"] == ["a, b", "c"]


def paths_as_sent(specimen: Specimen) -> None:
    assert specimen.event("/echo/a%2Fb%20c")["path"] == "/echo/a%2Fb%20c"


def last_parameter(specimen: Specimen) -> None:
    event = specimen.event("/echo?a=1&a=2")
    assert event["queryStringParameters"] == {"a": "2"}
    assert event["multiValueQueryStringParameters"] == {"a": ["1", "2"]}


def no_media_type(specimen: Specimen) -> None:
    event = specimen.event("/echo", body=b"\xff\x00")
    assert event["isBase64Encoded"]
    assert base64.b64decode(event["body"]) == b"\xff\x00"


def throttled_method(specimen: Specimen) -> None:
    def some() -> set[int]:
        with ThreadPoolExecutor(8) as threads:
            return set(threads.map(lambda _: specimen.send("/narrow")[0], range(8)))

    _eventually(specimen, lambda: 429 in some())


def expiry_set(specimen: Specimen) -> None:
    told = specimen.emulator.client("dynamodb").describe_time_to_live(TableName=specimen.table)
    assert told["TimeToLiveDescription"].get("AttributeName") == TTL_ATTRIBUTE


def tagged_buckets(specimen: Specimen) -> None:
    buckets = specimen.emulator.client("s3")
    try:
        tags = buckets.get_bucket_tagging(Bucket=specimen.bucket)["TagSet"]
    except buckets.exceptions.ClientError:
        tags = []
    assert tags == [{"Key": "of", "Value": "the template"}]


def referred_secrets(specimen: Specimen) -> None:
    assert specimen.secret.startswith("arn:aws:secretsmanager:")
    secrets = specimen.emulator.client("secretsmanager")
    assert secrets.get_secret_value(SecretId=specimen.secret)["SecretString"] == "4711"


def unasked_functions(specimen: Specimen) -> None:
    status, answer = specimen.send("/unasked")
    assert status == 500, answer
    status, answer = specimen.send("/misguarded", [("Authorization", "allow")])
    assert status == 500, answer


def hidden_exceptions(specimen: Specimen) -> None:
    status, answer = specimen.send("/echo?raise=1")
    assert (status, json.loads(answer)) == (502, {"shaped": "Internal server error"})


def told_denials(specimen: Specimen) -> None:
    for _ in range(2):  # the second one comes from the cache
        status, answer = specimen.send("/guarded", [("Authorization", "deny")])
        assert (status, json.loads(answer)) == (403, {"why": "because"})


def signed_headers(specimen: Specimen) -> None:
    assert specimen.send("/signed", specimen.signature("/signed"))[0] == 200
    added_later = [*specimen.signature("/signed"), ("X-Amz-Meta", "unsigned")]
    assert specimen.send("/signed", added_later)[0] == 403


def renamed_header(specimen: Specimen) -> None:
    _, headers, _ = specimen.answer("/echo", [], b"", "POST")
    assert "www-authenticate" not in headers
    assert headers["x-amzn-remapped-www-authenticate"] == "Bearer"


def letters_as_sent(specimen: Specimen) -> None:
    status, answer = specimen.send("/letters", [("Content-Type", "application/json")], b"\xff{&+%")
    assert status == 202
    queue = specimen.emulator.client("sqs")
    (letter,) = queue.receive_message(QueueUrl=specimen.letters)["Messages"]
    queue.delete_message(QueueUrl=specimen.letters, ReceiptHandle=letter["ReceiptHandle"])
    id_, at_ms, body = letter["Body"].split(" ")
    assert id_ == json.loads(answer)["id"]
    assert at_ms.isdigit()
    assert base64.b64decode(body) == b"\xff{&+%"


def failed_records(specimen: Specimen) -> None:
    records = [{"Data": data, "PartitionKey": "one"} for data in (b"good", b"bad", b"good")]
    told = specimen.emulator.client("kinesis").put_records(StreamName=specimen.log, Records=records)["Records"]
    queue = specimen.emulator.client("sqs")
    letters: list[Any] = []

    def has_come() -> bool:
        letters.extend(_received(queue, specimen.dead))
        return bool(letters)

    _eventually(specimen, has_come)
    (letter,) = letters
    given_up = json.loads(letter["Body"])["KinesisBatchInfo"]
    assert given_up["startSequenceNumber"] == told[1]["SequenceNumber"]


def permitted_batch(specimen: Specimen) -> None:
    asked = json.dumps({"queue": specimen.letters}).encode()
    told = specimen.emulator.client("lambda").invoke(FunctionName=specimen.batches, Payload=asked)
    assert json.loads(told["Payload"].read()) == 1
    specimen.emulator.client("sqs").purge_queue(QueueUrl=specimen.letters)


def mumbled_failures(specimen: Specimen) -> None:
    queue = specimen.emulator.client("sqs")
    queue.send_message(QueueUrl=specimen.mumbled, MessageBody="x")
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

    def is_gone() -> bool:
        told = queue.get_queue_attributes(QueueUrl=specimen.mumbled, AttributeNames=names)["Attributes"]
        return sum(int(told[name]) for name in names) == 0

    _never(specimen, is_gone)


def barred_queue(specimen: Specimen) -> None:
    queue = specimen.emulator.client("sqs")
    queue.send_message(QueueUrl=specimen.barred, MessageBody="x")

    def is_taken() -> bool:
        told = queue.get_queue_attributes(QueueUrl=specimen.barred, AttributeNames=["ApproximateNumberOfMessages"])
        return bool(told["Attributes"]["ApproximateNumberOfMessages"] != "1")

    _never(specimen, is_taken)


def idle_machine(specimen: Specimen) -> None:
    assert ended(specimen, specimen.machine) == ("FAILED", "Lambda.AWSLambdaException")


def keyless_machine(specimen: Specimen) -> None:
    assert ended(specimen, specimen.keyless) == ("FAILED", "SNS.KmsAccessDeniedException")


def ended(specimen: Specimen, machine: str) -> tuple[str, str | None]:
    """How an execution of a machine ends, and with which error."""
    machines = specimen.emulator.client("stepfunctions")
    id_ = machines.start_execution(stateMachineArn=machine)["executionArn"]
    until_s = specimen.until_s()
    while (told := machines.describe_execution(executionArn=id_))["status"] == "RUNNING":
        assert time.monotonic() < until_s
        time.sleep(0.05)
    return told["status"], told.get("error")


def unheard_alarm(specimen: Specimen) -> None:
    metrics = specimen.emulator.client("cloudwatch")
    metrics.set_alarm_state(AlarmName=specimen.alarm, StateValue="ALARM", StateReason="by hand")
    queue = specimen.emulator.client("sqs")
    _never(specimen, lambda: bool(_received(queue, specimen.heard)))


def put_object(specimen: Specimen) -> None:
    assert ended(specimen, specimen.putting) == ("SUCCEEDED", None)
    found = specimen.emulator.client("s3").get_object(Bucket=specimen.bucket, Key="put.json")
    assert json.loads(found["Body"].read()) == {}


def redriven(specimen: Specimen) -> None:
    machines = specimen.emulator.client("stepfunctions")
    ended(specimen, specimen.machine)
    id_ = machines.list_executions(stateMachineArn=specimen.machine)["executions"][0]["executionArn"]
    assert machines.describe_execution(executionArn=id_)["redriveCount"] == 0
    machines.redrive_execution(executionArn=id_)
    assert machines.describe_execution(executionArn=id_)["redriveCount"] == 1
    history = machines.get_execution_history(executionArn=id_)["events"]
    assert "ExecutionRedriven" in [event["type"] for event in history]


def records_of_a_stream(specimen: Specimen) -> None:
    asked = json.dumps({"stream": specimen.log}).encode()
    told = specimen.emulator.client("lambda").invoke(FunctionName=specimen.reads, Payload=asked)
    assert "FunctionError" not in told, told["Payload"].read()


def idle_rule(specimen: Specimen) -> None:
    happen(specimen, "starts")
    machines = specimen.emulator.client("stepfunctions")
    _never(specimen, lambda: bool(machines.list_executions(stateMachineArn=specimen.started)["executions"]))


def uncalled_function(specimen: Specimen) -> None:
    asked = json.dumps({"queue": specimen.posts}).encode()
    told = specimen.emulator.client("lambda").invoke(FunctionName=specimen.sends, Payload=asked)  # a call of our own
    assert "FunctionError" not in told, told["Payload"].read()
    happen(specimen, "calls")
    queue = specimen.emulator.client("sqs")

    def is_called() -> bool:
        sent = queue.get_queue_attributes(QueueUrl=specimen.posts, AttributeNames=["ApproximateNumberOfMessages"])
        return bool(sent["Attributes"]["ApproximateNumberOfMessages"] != "1")

    _never(specimen, is_called)


def happen(specimen: Specimen, detail: str) -> None:
    event = {"Source": "specimen", "DetailType": detail, "Detail": "{}"}
    specimen.emulator.client("events").put_events(Entries=[event])


def alarm_of_its_own(specimen: Specimen) -> None:
    metrics = specimen.emulator.client("cloudwatch")
    other = {"MetricName": "bad", "Value": 5, "Dimensions": [{"Name": "of", "Value": "another"}]}
    metrics.put_metric_data(Namespace="specimen", MetricData=[other])

    comes_to(specimen, specimen.alarm, "OK")


def newest_first(specimen: Specimen) -> None:
    metrics, now = specimen.emulator.client("cloudwatch"), datetime.now(UTC)
    for value, minutes in ((1, 5), (2, 3)):
        at = now - timedelta(minutes=minutes)
        metrics.put_metric_data(Namespace="ages", MetricData=[{"MetricName": "age", "Value": value, "Timestamp": at}])
    query = {"Id": "age", "MetricStat": {"Metric": {"Namespace": "ages", "MetricName": "age"}, "Period": 60,
                                         "Stat": "Sum"}}  # fmt: skip
    told = metrics.get_metric_data(
        MetricDataQueries=[query], StartTime=now - timedelta(minutes=30), EndTime=now, ScanBy="TimestampDescending"
    )
    assert told["MetricDataResults"][0]["Values"] == [2, 1]


def counted_answers(specimen: Specimen) -> None:
    specimen.send("/echo?raise=1")
    assert specimen.has_metric("AWS/ApiGateway", "5XXError", ApiName="specimen")


def counted_executions(specimen: Specimen) -> None:
    arn = make_machine(specimen.emulator, {"StartAt": "ends", "States": {"ends": {"Type": "Fail"}}})
    assert ended(specimen, arn)[0] == "FAILED"
    _eventually(specimen, lambda: specimen.has_metric("AWS/States", "ExecutionsFailed", StateMachineArn=arn))


def told_age(specimen: Specimen) -> None:
    record = {"Data": b"good", "PartitionKey": "one"}
    specimen.emulator.client("kinesis").put_records(StreamName=specimen.log, Records=[record])
    until_s = specimen.until_s()
    while not specimen.has_metric("AWS/Lambda", "IteratorAge", FunctionName=specimen.picky):
        assert time.monotonic() < until_s
        time.sleep(0.1)


def alarm_of_math(specimen: Specimen) -> None:
    stacks, metrics = specimen.emulator.client("cloudformation"), specimen.emulator.client("cloudwatch")
    stacks.create_stack(StackName="share", TemplateBody=json.dumps(share_template()))
    until_s = specimen.until_s()
    while (status := stacks.describe_stacks(StackName="share")["Stacks"][0]["StackStatus"]) == "CREATE_IN_PROGRESS":
        assert time.monotonic() < until_s
        time.sleep(0.1)
    assert status == "CREATE_COMPLETE"
    comes_to(specimen, "share", "OK")

    def tell() -> None:  # until it is seen, since a minute is soon over
        for name, values in {"bad": [1], "looked": [1, 1, 1]}.items():
            data = [{"MetricName": name, "Value": value} for value in values]
            metrics.put_metric_data(Namespace="share", MetricData=data)

    comes_to(specimen, "share", "ALARM", tell)
    comes_to(specimen, "share", "OK")


def unknown_executions(specimen: Specimen) -> None:
    steps = specimen.emulator.client("stepfunctions")
    document = json.dumps({"StartAt": "a", "States": {"a": {"Type": "Pass", "End": True}}})
    role = specimen.emulator.client("iam").list_roles()["Roles"][0]["Arn"]
    made = steps.create_state_machine(name="specimen", definition=document, roleArn=role, type="EXPRESS")
    first, second = (
        steps.start_execution(stateMachineArn=made["stateMachineArn"], name="same", input=text)["executionArn"]
        for text in ("1", "2")
    )
    assert first != second
    assert ":express:specimen:same:" in first
    with pytest.raises(steps.exceptions.InvalidArn):
        steps.describe_execution(executionArn=first)


def comes_to(specimen: Specimen, alarm: str, wanted: str, tell: Callable[[], object] = int) -> None:
    """An alarm has a state, or soon will have; it is told something each time that it is looked at."""
    metrics = specimen.emulator.client("cloudwatch")
    until_s = specimen.until_s()
    while metrics.describe_alarms(AlarmNames=[alarm])["MetricAlarms"][0]["StateValue"] != wanted:
        assert time.monotonic() < until_s, f"{alarm} does not come to be {wanted}"
        tell()
        time.sleep(0.1)


def repeated_start(specimen: Specimen) -> None:
    states, arn = specimen.emulator.client("stepfunctions"), make_machine(specimen.emulator, _NAP)
    first = states.start_execution(stateMachineArn=arn, name="one", input='{"a": 1}')
    try:
        again = states.start_execution(stateMachineArn=arn, name="one", input='{"a":1}')
    except states.exceptions.ExecutionAlreadyExists:
        again = {}
    assert first["executionArn"] == again["executionArn"]


def machine_limit(specimen: Specimen) -> None:
    states, arn = (
        specimen.emulator.client("stepfunctions"),
        make_machine(specimen.emulator, _SHORT),
    )
    execution = states.start_execution(stateMachineArn=arn)["executionArn"]
    _eventually(specimen, lambda: states.describe_execution(executionArn=execution)["status"] == "TIMED_OUT")


_NAP = {"StartAt": "nap", "States": {"nap": {"Type": "Wait", "Seconds": 100_000, "End": True}}}


_SHORT = {**_NAP, "TimeoutSeconds": 1}


def _eventually(specimen: Specimen, look: Callable[[], object]) -> None:
    until_s = specimen.until_s()
    while not look():
        assert time.monotonic() < until_s
        time.sleep(0.1)


def _never(specimen: Specimen, is_so: Callable[[], bool]) -> None:
    """Of stock it is expected that it is so at last, and that is waited for; strict is looked at for a while."""
    until_s = time.monotonic() + (_MEANWHILE_S if specimen.emulator.mode == "strict" else _LONG_S)
    while time.monotonic() < until_s:
        assert not is_so()
        time.sleep(0.1)


def _received(queue: Any, url: str) -> list[Any]:
    """What there is in a queue."""
    found: list[Any] = queue.receive_message(QueueUrl=url).get("Messages", [])
    return found


PROBES: dict[str, Callable[[Specimen], None]] = {
    "zips run under AWS's own runtime client": own_runtime,
    "headers arrive as they were sent": headers_as_sent,
    "a path arrives as it was sent": paths_as_sent,
    "of a repeated query parameter the last value counts": last_parameter,
    "a body without a media type is JSON, and so binary under */*": no_media_type,
    "a method is throttled under the path its stage names": throttled_method,
    "the attribute that says when an item expires is set by the template": expiry_set,
    "a bucket has the tags of its template": tagged_buckets,
    "a reference to a secret is its ARN": referred_secrets,
    "a function is invoked by whom its policy names": unasked_functions,
    "an exception of a function stays inside": hidden_exceptions,
    "a gateway response tells what the authorizer said": told_denials,
    "a signature of IAM covers every header x-amz-*": signed_headers,
    "the header WWW-Authenticate of a function's reply is renamed": renamed_header,
    "a method that sends to SQS knows its request": letters_as_sent,
    "a batch of SQS is permitted as a message is": permitted_batch,
    "records of a stream that are reported as failed come again": failed_records,
    "an answer that names no message of its batch fails all of it": mumbled_failures,
    "a queue and a stream are read with the role of the function": barred_queue,
    "logs, queues and the API are metrics": counted_answers,
    "executions that end badly are metrics": counted_executions,
    "of a metric the newest value is the first": newest_first,
    "Lambda tells how old the records of a stream are": told_age,
    "Express executions are nobody's to ask for": unknown_executions,
    "a task of a machine is done with the role of the machine": idle_machine,
    "who publishes to an encrypted topic uses its key": keyless_machine,
    "a rule starts a machine with its role": idle_rule,
    "a rule calls a function whose policy names the rule": uncalled_function,
    "an alarm tells a topic whose policy lets CloudWatch publish": unheard_alarm,
    "Step Functions puts objects": put_object,
    "an execution that failed is redriven": redriven,
    "records are read with the permission for their stream": records_of_a_stream,
    "a start of an execution may be repeated": repeated_start,
    "a machine's time limit ends its executions": machine_limit,
    "alarms look at their own metric": alarm_of_its_own,
    "alarms of metric math": alarm_of_math,
}
TOO_SLOW = {  # the stock emulator takes a minute to show it
    "what has expired may be there for days",
}


@pytest.mark.parametrize("name", PROBES)
def test_stock_misses_what_the_table_says_and_strict_does_not(specimen: Specimen, name: str) -> None:
    probe = PROBES[name]
    if specimen.emulator.mode == "strict":
        probe(specimen)
    else:
        with pytest.raises((AssertionError, KeyError, UnicodeDecodeError, ClientError)):
            probe(specimen)


def test_both_emulators_do_what_the_table_does_not_name(specimen: Specimen) -> None:
    assert specimen.send("/echo")[0] == 200
    assert specimen.send("/nothing")[0] == 403
    assert specimen.send("/guarded", [("Authorization", "allow")])[0] == 200
    assert specimen.send("/guarded", [("Authorization", "unknown")])[0] == 401
    assert specimen.send("/guarded")[0] == 401
    assert specimen.send("/signed")[0] == 403
    assert specimen.send("/signed", [("Authorization", "Bearer x")])[0] == 403


def test_every_line_of_the_table_is_probed_or_says_where_it_is_looked_at() -> None:
    for departure in DEPARTURES:
        assert bool(departure.patch) != bool(departure.covered), departure
        assert departure.page.startswith("https://docs.aws.amazon.com/")
    assert {departure.name for departure in DEPARTURES if departure.patch} == PROBES.keys() | TOO_SLOW
