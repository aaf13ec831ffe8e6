"""Every limit headgate keeps: value, unit, source, and the day the source was read. docs/limits.md is made from this.

The local engine keeps the limits of the AWS one, so that what works on a laptop is not refused in the cloud.
"""

from __future__ import annotations

from typing import NamedTuple


class Limit(NamedTuple):
    """`value` in `unit`; `why` says what it protects and what happens beyond it."""

    name: str
    value: int
    unit: str
    why: str
    source: str
    read_on: str


_AWS_LAMBDA = "https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"
_AWS_APIGW = (
    "https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html"
)
_AWS_DYNAMODB = "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html"
_AWS_SQS = "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html"
_AWS_KINESIS = "https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html"
_OURS = "headgate"

DIRECT_BODY = Limit(
    "Direct channel body",
    3_000_000,
    "bytes",
    "a Lambda event has at most 6 MB, in which a body is an escaped JSON string, at worst twice its size, beside the "
    "headers; a larger `body_limit_bytes` is refused when the app loads",
    _AWS_LAMBDA,
    "2026-11-20",
)
UNREAD_BODY = Limit(
    "body let in unread",
    780_000,
    "bytes",
    'with `validate="worker"` the body goes through SQS, base64 in an envelope, and an SQS message has at most 1 MiB',
    _AWS_SQS,
    "2026-11-21",
)
BODY_DEFAULT = Limit(
    "default body",
    1024 * 1024,
    "bytes",
    "what a channel takes when it says nothing; larger is 413",
    _OURS,
    "2026-11-20",
)
KEY = Limit(
    "key",
    255,
    "bytes of UTF-8",
    "longer keys, and keys with control characters, are 400",
    _OURS,
    "2026-11-20",
)
INDEX_VALUE = Limit(
    "indexed value",
    1024,
    "bytes of UTF-8",
    "largest DynamoDB sort key; a longer one is 400",
    _AWS_DYNAMODB,
    "2026-11-20",
)
ITEM = Limit(
    "item of a table",
    400 * 1024,
    "bytes, names of attributes included",
    "a workflow that puts a larger one fails with DynamoDB.AmazonDynamoDBException",
    _AWS_DYNAMODB,
    "2026-11-21",
)
INDEXES = Limit(
    "indexes of a channel",
    16,
    "fields",
    "a DynamoDB table has at most 20 indexes, up to four of which are ours; more are refused when the app loads",
    _AWS_DYNAMODB,
    "2026-11-21",
)
DEPTH = Limit("JSON depth", 64, "levels", "deeper bodies are 400", _OURS, "2026-11-20")
BATCH_EACH = Limit("batch, item by item", 5_000, "items", "more are 413", _OURS, "2026-11-20")
BATCH_ALL = Limit(
    "batch, all or none", 100, "items", "one DynamoDB transaction; more are 413", _AWS_DYNAMODB, "2026-11-20"
)
FAULTS = Limit("faults in one reply", 100, "faults", "further ones are left out of the reply", _OURS, "2026-11-20")
BATCH_FAULTS = Limit(
    "faults in one batch reply",
    1_000,
    "faults",
    "items behind are told to be invalid without saying why",
    _OURS,
    "2026-11-21",
)
PAGE = Limit("page", 100, "messages", "largest `limit=` of a list; a larger one is 400", _OURS, "2026-11-20")
PAGE_BYTES = Limit(
    "page size",
    1024 * 1024,
    "bytes of bodies",
    "a page ends behind the message that reaches it, with a cursor; a Lambda reply has at most 6 MB, which are 4.5 MB "
    "in base64",
    _AWS_LAMBDA,
    "2026-11-21",
)
HEADERS = Limit("request headers", 10_240, "bytes", "API Gateway's total; larger is 431", _AWS_APIGW, "2026-11-20")
URL = Limit("request target", 8_192, "bytes", "longer is 414", _OURS, "2026-11-20")
TOKEN = Limit("credentials", 8_192, "bytes", "a longer token is 401 without being read", _OURS, "2026-11-20")
JWT_LEEWAY = Limit("JWT leeway", 60, "seconds", "largest clock difference that may be declared", _OURS, "2026-11-20")
WORKFLOW_BODY = Limit(
    "body that starts a workflow",
    250_000,
    "bytes",
    "the input of a Step Functions execution has at most 256 KiB, of which some is left for what stands beside the "
    "body; a larger `body_limit_bytes` is refused when the app loads",
    "https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html",
    "2026-11-21",
)
IAM_SKEW = Limit(
    "IAM clock skew",
    300,
    "seconds",
    "an AWS signature is good for so long before and after its time; else 403",
    "https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html",
    "2026-11-21",
)
HS256_SECRET = Limit(
    "HS256 secret",
    32,
    "bytes",
    "shortest secret; shorter is refused at start",
    "https://www.rfc-editor.org/rfc/rfc7518#section-3.2",
    "2026-11-20",
)
SIGNED_WINDOW = Limit(
    "signature window",
    300,
    "seconds",
    "how far a signed timestamp may be off, either way",
    "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
    "2026-11-20",
)
HEADER_TIME = Limit(
    "header time", 10, "seconds", "a sender that has not finished its headers gets 408", _OURS, "2026-11-20"
)
BODY_TIME = Limit(
    "body time", 29, "seconds", "a sender that has not finished its body gets 408", _AWS_APIGW, "2026-11-20"
)
API_TIME = Limit(
    "API Gateway's patience",
    29,
    "seconds",
    "a deployed function that has not answered by then gets its sender 503; a `timeout_s` beyond 30 is refused",
    _AWS_APIGW,
    "2026-11-21",
)
STACK_RESOURCES = Limit(
    "resources of one stack",
    500,
    "resources",
    "about 16 channels with lists; more are refused when stacks are made",
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html",
    "2026-11-21",
)
AUTHORIZERS = Limit(
    "authorizers of an API",
    10,
    "different auths that a function verifies: Jwt, ApiKey, one of your own",
    "channels that declare the same auth share one; more are refused when stacks are made",
    _AWS_APIGW,
    "2026-11-21",
)
ENVIRONMENT = Limit(
    "environment of a function",
    4_096,
    "bytes, names included",
    "a function with more is refused when stacks are made, as far as it is known then",
    _AWS_LAMBDA,
    "2026-11-21",
)
RULE_INPUT = Limit(
    "input of a schedule's rule",
    8_192,
    "characters",
    "a schedule with a longer `input=` is one of EventBridge's Scheduler",
    "https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_Target.html",
    "2026-11-21",
)
FUNCTION_MEMORY_LEAST = Limit(
    "function memory, least", 128, "MB", "a smaller `memory_mb` is refused", _AWS_LAMBDA, "2026-11-21"
)
FUNCTION_MEMORY_MOST = Limit(
    "function memory, most", 10_240, "MB", "a larger `memory_mb` is refused", _AWS_LAMBDA, "2026-11-21"
)
KEEP_ALIVE = Limit("idle connection", 60, "seconds", "an idle connection is closed", _OURS, "2026-11-20")
CONNECTIONS = Limit("connections", 2_000, "connections", "further ones get 503", _OURS, "2026-11-20")
PIPELINE = Limit(
    "pipelined requests", 128, "requests", "more waiting on one connection get 429 and are cut off", _OURS, "2026-11-21"
)
DISCARD = Limit(
    "unwanted body",
    16 * 1024 * 1024,
    "bytes",
    "so much of a body that was refused unread is thrown away before the connection is cut",
    _OURS,
    "2026-11-21",
)
TWIN_WAIT = Limit(
    "twin wait",
    2,
    "seconds",
    "a twin waits so long for the first one's answer, then gets 409 in_progress",
    _OURS,
    "2026-11-20",
)
QUEUE = Limit(
    "queue",
    10_000_000,
    "messages",
    "with so many of one channel waiting or in work, further ones get 503; `at_most=` declares less",
    _OURS,
    "2026-11-21",
)
ATTEMPTS = Limit(
    "attempts", 100, "attempts", "most that may be declared; what is seen of each is kept", _OURS, "2026-11-21"
)
RETRY_DELAY = Limit(
    "wait before another attempt", 43_200, "seconds", "longest visibility timeout of SQS", _AWS_SQS, "2026-11-21"
)
TIMELINE = Limit(
    "timeline",
    50,
    "moments of a message",
    "beyond it those after the first are left out, the oldest before the others",
    _OURS,
    "2026-11-21",
)
TRACEBACK = Limit("traceback of an attempt", 2_000, "characters", "its end is kept", _OURS, "2026-11-21")
DEAD_KEEP = Limit(
    "dead letter",
    14,
    "days",
    "dead letters stay at least so long, whatever `keep=` says; as long as SQS keeps anything",
    _AWS_SQS,
    "2026-11-21",
)
HANDLER_TIME = Limit(
    "handler time", 900, "seconds", "most that `timeout_s=` may say: a Lambda function's", _AWS_LAMBDA, "2026-11-21"
)
HANDLER_MEMORY_LEAST = Limit(
    "handler memory, least", 128, "MB", "least that `memory_mb=` may say", _AWS_LAMBDA, "2026-11-21"
)
HANDLER_MEMORY = Limit("handler memory", 10_240, "MB", "most that `memory_mb=` may say", _AWS_LAMBDA, "2026-11-21")
HANDLERS = Limit("handlers at a time", 1_000, "handlers", "most that `concurrency=` may say", _AWS_LAMBDA, "2026-11-21")
HANDLER_BATCH = Limit("messages a handler takes at a time", 10, "messages", "a batch of SQS", _AWS_SQS, "2026-11-21")
RECORDS_BATCH = Limit(
    "records a consumer takes at a time",
    1_000,
    "records",
    "what a process is handed should be done within its timeout; Lambda takes up to 10,000 of Kinesis",
    _OURS,
    "2026-11-21",
)
DRAIN = Limit(
    "drain",
    30,
    "seconds",
    "requests in flight are given so long when the server is told to stop",
    _OURS,
    "2026-11-20",
)
SILENCE = Limit(
    "silence of a front",
    30,
    "seconds",
    "of `serve --processes N`: one that does nothing for so long is ended, and another one started",
    _OURS,
    "2026-11-21",
)
LAMBDA_UNZIPPED = Limit(
    "Lambda function, unpacked",
    262_144_000,
    "bytes",
    "code and layer together; a layer that is larger is refused when it is packed",
    _AWS_LAMBDA,
    "2026-11-21",
)
SHARDS = Limit(
    "shards of a stream",
    1_000,
    "shards",
    "most that may be declared",
    _AWS_KINESIS,
    "2026-11-21",
)
PARTITION_KEY = Limit(
    "partition key",
    256,
    "bytes",
    "a message whose partition key is longer gets 400",
    _AWS_KINESIS,
    "2026-11-21",
)
RETENTION = Limit(
    "retention of a stream", 365, "days", "most that may be declared; at least one day", _AWS_KINESIS, "2026-11-21"
)
STREAM_BODY = Limit(
    "body in a stream",
    1_000_000,
    "bytes",
    "a record of Kinesis has at most 1 MiB, with its partition key and what headgate adds",
    _AWS_KINESIS,
    "2026-11-21",
)
OBJECT_NAME_PART = Limit(
    "part of an object's name",
    240,
    "bytes",
    "a longer one is cut and ends in its SHA-256; file systems take 255, and headgate needs a few for itself",
    _OURS,
    "2026-11-21",
)
OBJECT_NAME = Limit(
    "name of an object",
    1_024,
    "bytes",
    "a template that can make a longer one is refused when the app loads",
    "https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html",
    "2026-11-21",
)

_AWS_STEP_FUNCTIONS = "https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html"
WORKFLOW_DATA = Limit(
    "input or output of a state",
    262_144,
    "bytes of UTF-8",
    "more fails the state with States.DataLimitExceeded; a larger input of an execution is refused at the start",
    _AWS_STEP_FUNCTIONS,
    "2026-11-21",
)
WORKFLOW_MAP_DATA = Limit(
    "inputs of all iterations of a Map state",
    67_108_864,
    "bytes of UTF-8",
    "more, which ItemSelector can make of few, fails the state with States.DataLimitExceeded; AWS counts no sum",
    _OURS,
    "2026-11-21",
)
WORKFLOW_EVENTS = Limit(
    "history of an execution",
    25_000,
    "events",
    "an execution that comes there fails, so that a workflow that goes round for ever ends",
    _AWS_STEP_FUNCTIONS,
    "2026-11-21",
)
WORKFLOW_KEPT = Limit(
    "executions that ended",
    90,
    "days",
    "for so long they are kept, with their history, and their name is taken",
    _AWS_STEP_FUNCTIONS,
    "2026-11-21",
)
WORKFLOW_REDRIVE = Limit(
    "redrive",
    14,
    "days",
    "an execution that ended longer ago is started anew instead",
    "https://docs.aws.amazon.com/step-functions/latest/dg/redrive-executions.html",
    "2026-11-21",
)
EXPRESS_SECONDS = Limit(
    "Express execution",
    300,
    "seconds",
    "one that takes longer is TIMED_OUT",
    _AWS_STEP_FUNCTIONS,
    "2026-11-21",
)
JSONATA_SECONDS = Limit(
    "JSONata expression",
    5,
    "seconds of a processor",
    "one that takes longer fails with States.QueryEvaluationError, as does one that nests deeper than 100 levels",
    _OURS,
    "2026-11-21",
)
JSONATA_DATA = Limit(
    "value of a JSONata expression",
    6_990_256,
    "bytes",
    "larger values, on the way too, fail with States.QueryEvaluationError",
    _OURS,
    "2026-11-21",
)


def all_limits() -> list[Limit]:
    """Every limit of this module, in the order it is written."""
    return [value for value in globals().values() if isinstance(value, Limit)]
