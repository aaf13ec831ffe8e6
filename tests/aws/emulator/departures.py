"""Where the emulator departs from AWS: the one table. Each line names the page of AWS that says otherwise.

What has a `patch` is mended in the strict emulator, and tests/aws/test_departures.py shows both: stock misses it,
strict does not. What has none is missed by both; `covered` says where it is looked at instead.
"""

from __future__ import annotations

from typing import NamedTuple

_DOCS = "https://docs.aws.amazon.com"


class Departure(NamedTuple):
    """`patch` is the module below `patches` that mends it."""

    name: str
    emulator: str
    aws: str
    page: str
    patch: str = ""
    covered: str = ""


DEPARTURES = (
    Departure(
        "zips run under AWS's own runtime client",
        "Python functions are imported by a script of the emulator, with all of its own site-packages in reach",
        "the runtime interface client runs them; a zip sees its layers and the runtime's own packages",
        f"{_DOCS}/lambda/latest/dg/python-package.html#python-package-searchpath",
        patch="runtime",
    ),
    Departure(
        "headers arrive as they were sent",
        "names are lower-cased, and repeated headers are joined by commas",
        "names keep their case; `headers` has the last value, `multiValueHeaders` all of them",
        f"{_DOCS}/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html"
        "#api-gateway-simple-proxy-for-lambda-input-format",
        patch="requests",
    ),
    Departure(
        "a path arrives as it was sent",
        "it is decoded, so that `a%2Fb` is two parts of it",
        "only parameters are decoded, the path is not",
        f"{_DOCS}/apigateway/latest/developerguide/api-gateway-known-issues.html",
        patch="paths",
    ),
    Departure(
        "of a repeated query parameter the last value counts",
        "`queryStringParameters` has the first value",
        "it has the last one; `multiValueQueryStringParameters` has all of them",
        f"{_DOCS}/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html"
        "#api-gateway-simple-proxy-for-lambda-input-format",
        patch="requests",
    ),
    Departure(
        "a body without a media type is JSON, and so binary under */*",
        "a request without Content-Type is handed over as text, and an answer without Accept stays base64",
        "a missing media type counts as application/json, which */* takes in",
        f"{_DOCS}/apigateway/latest/developerguide/api-gateway-payload-encodings-workflow.html",
        patch="media",
    ),
    Departure(
        "a method is throttled under the path its stage names",
        "`/~1orders` in MethodSettings is taken as it stands, and never found",
        "`~1` stands for a slash",
        f"{_DOCS}/AWSCloudFormation/latest/UserGuide/aws-properties-apigateway-stage-methodsetting.html",
        patch="throttling",
    ),
    Departure(
        "the attribute that says when an item expires is set by the template",
        "TimeToLiveSpecification is dropped",
        "the table has it, and DescribeTimeToLive says so",
        f"{_DOCS}/AWSCloudFormation/latest/TemplateReference/aws-resource-dynamodb-table.html",
        patch="expiry",
    ),
    Departure(
        "what has expired may be there for days",
        "expired items are gone within a minute",
        "they are deleted within a few days, and until then are read, found and counted",
        f"{_DOCS}/amazondynamodb/latest/developerguide/TTL.html",
        patch="expiry",
    ),
    Departure(
        "a bucket has the tags of its template",
        "they are dropped, and CDK's function that empties buckets finds none",
        "the bucket has them",
        f"{_DOCS}/AWSCloudFormation/latest/TemplateReference/aws-resource-s3-bucket.html",
        patch="buckets",
    ),
    Departure(
        "a reference to a secret is its ARN",
        "`Ref` is the secret's name",
        "`Ref` is its ARN, which policies and GetSecretValue go by",
        f"{_DOCS}/AWSCloudFormation/latest/TemplateReference/aws-resource-secretsmanager-secret.html"
        "#aws-resource-secretsmanager-secret-return-values",
        patch="secrets",
    ),
    Departure(
        "a function is invoked by whom its policy names",
        "API Gateway invokes any function, as integration and as authorizer",
        "without a resource policy that lets it, the caller gets 500",
        f"{_DOCS}/lambda/latest/dg/access-control-resource-based.html",
        patch="invoking",
    ),
    Departure(
        "an exception of a function stays inside",
        "the caller reads its type and its text",
        "502 with `Internal server error`, in the shape of the API's gateway response",
        f"{_DOCS}/apigateway/latest/developerguide/handle-errors-in-lambda-integration.html",
        patch="failures",
    ),
    Departure(
        "a gateway response tells what the authorizer said",
        "`$context.authorizer.<name>` stays as it stands, and so do the other variables of the request",
        "an authorizer that denies may hand a context over, and the response may show it",
        f"{_DOCS}/apigateway/latest/developerguide/api-gateway-mapping-template-reference.html"
        "#context-variable-reference",
        patch="denials",
    ),
    Departure(
        "a signature of IAM covers every header x-amz-*",
        "a method with AWS_IAM takes a header x-amz-* that was added to the request after it was signed",
        "host and all headers x-amz-* have to be signed",
        f"{_DOCS}/IAM/latest/UserGuide/reference_sigv-create-signed-request.html",
        patch="signatures",
    ),
    Departure(
        "the header WWW-Authenticate of a function's reply is renamed",
        "it arrives as the function sent it",
        "it arrives as x-amzn-Remapped-WWW-Authenticate",
        f"{_DOCS}/apigateway/latest/developerguide/api-gateway-known-issues.html",
        patch="renaming",
    ),
    Departure(
        "a method that sends to SQS knows its request",
        "templates know neither the request's id nor its time, and binary bodies are text that was guessed at; nobody "
        "asks what the integration's role may do",
        "they know the whole context; a binary body is base64 with CONVERT_TO_TEXT; the role has to be allowed to send",
        f"{_DOCS}/apigateway/latest/developerguide/api-gateway-mapping-template-reference.html",
        patch="arrivals",
    ),
    Departure(
        "a batch of SQS is permitted as a message is",
        "SendMessageBatch wants a permission that AWS does not know",
        "sqs:SendMessage permits it",
        f"{_DOCS}/service-authorization/latest/reference/list_amazonsqs.html",
        patch="batching",
    ),
    Departure(
        "records of a stream that are reported as failed come again",
        "they are dropped, and so is the limit of retries, the bisecting and the destination for failures",
        "the batch starts anew from the lowest of them, until the retries are used up",
        f"{_DOCS}/lambda/latest/dg/services-kinesis-batchfailurereporting.html",
        patch="feeding",
    ),
    Departure(
        "an answer that names no message of its batch fails all of it",
        "what it says is passed over, and all messages are deleted",
        "the batch comes again",
        f"{_DOCS}/lambda/latest/dg/services-sqs-errorhandling.html",
        patch="answering",
    ),
    Departure(
        "a queue and a stream are read with the role of the function",
        "they are read whatever the role may do",
        "a mapping whose role lacks an action does nothing",
        f"{_DOCS}/lambda/latest/dg/with-sqs.html",
        patch="feeding",
    ),
    Departure(
        "a task of a machine is done with the role of the machine",
        "Step Functions calls functions, topics and buckets whatever the role may do",
        "without the permission the state fails, with the name of the service's error",
        f"{_DOCS}/step-functions/latest/dg/procedure-create-iam-role.html",
        patch="acting",
    ),
    Departure(
        "who publishes to an encrypted topic uses its key",
        "the key is dropped from the template, and nobody is asked what may be done with it",
        "without kms:GenerateDataKey and kms:Decrypt nothing is published",
        f"{_DOCS}/sns/latest/dg/sns-key-management.html",
        patch="acting",
    ),
    Departure(
        "a rule starts a machine with its role",
        "EventBridge and its Scheduler start machines whatever the role of the target may do",
        "without states:StartExecution nothing is started",
        f"{_DOCS}/eventbridge/latest/userguide/eb-use-identity-based.html",
        patch="acting",
    ),
    Departure(
        "a rule calls a function whose policy names the rule",
        "EventBridge calls any function",
        "without a resource policy that lets it, the function is not called",
        f"{_DOCS}/eventbridge/latest/userguide/eb-use-resource-based.html",
        patch="acting",
    ),
    Departure(
        "an alarm tells a topic whose policy lets CloudWatch publish",
        "alarms tell any topic",
        "where a policy has taken the place of the topic's first one, it has to name CloudWatch",
        f"{_DOCS}/sns/latest/dg/sns-access-policy-use-cases.html",
        patch="acting",
    ),
    Departure(
        "Step Functions puts objects",
        "the integration with PutObject of S3 is not there",
        "every operation of the SDK can be a task",
        f"{_DOCS}/step-functions/latest/dg/supported-services-awssdk.html",
        patch="integrating",
    ),
    Departure(
        "records are read with the permission for their stream",
        "GetRecords wants a permission for all streams",
        "the iterator says which stream is meant",
        f"{_DOCS}/service-authorization/latest/reference/list_amazonkinesisdatastreams.html",
        patch="iterating",
    ),
    Departure(
        "logs, queues and the API are metrics",
        "what a function logs in the embedded format, what metric filters find, the age of the oldest message and the "
        "5XX of a method are counted nowhere",
        "each is a metric, with its dimensions",
        f"{_DOCS}/AmazonCloudWatch/latest/monitoring/aws-services-cloudwatch-metrics.html",
        patch="measuring",
    ),
    Departure(
        "executions that end badly are metrics",
        "they are counted nowhere",
        "ExecutionsFailed, ExecutionsTimedOut and ExecutionsAborted count them, by their state machine",
        f"{_DOCS}/step-functions/latest/dg/procedure-cw-metrics.html",
        patch="measuring",
    ),
    Departure(
        "Express executions are nobody's to ask for",
        "they are as those of Standard machines: a name is taken once, they can be described, and events tell of them",
        "names may repeat, their ARNs are `express`, and neither DescribeExecution nor EventBridge knows of them",
        f"{_DOCS}/step-functions/latest/dg/choosing-workflow-type.html",
        patch="expressing",
    ),
    Departure(
        "alarms look at their own metric",
        "dimensions count for nothing, and an alarm is never over when nothing more comes",
        "a metric is one with all its dimensions; missing data is treated as the alarm says, once the evaluation range "
        "has too few values",
        f"{_DOCS}/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html",
        patch="alarming",
    ),
    Departure(
        "alarms of metric math",
        "a template with one is refused",
        "the expression is evaluated, period by period",
        f"{_DOCS}/AmazonCloudWatch/latest/monitoring/using-metric-math.html",
        patch="alarming",
    ),
    Departure(
        "of a metric the newest value is the first",
        "GetMetricData tells the oldest one first, whatever ScanBy says",
        "ScanBy is heeded, and by default the newest one is the first",
        f"{_DOCS}/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html",
        patch="scanning",
    ),
    Departure(
        "Lambda tells how old the records of a stream are",
        "IteratorAge is a metric of nothing",
        "the age of the last record of each batch, when it is handed over",
        f"{_DOCS}/lambda/latest/dg/monitoring-metrics-types.html",
        patch="feeding",
    ),
    Departure(
        "a start of an execution may be repeated",
        "the second start of that name is refused, also with the same input and while it runs",
        "it is answered as the first one was",
        f"{_DOCS}/step-functions/latest/apireference/API_StartExecution.html",
        patch="executions",
    ),
    Departure(
        "a machine's time limit ends its executions",
        "TimeoutSeconds of a machine counts for nothing",
        "the execution is TIMED_OUT",
        f"{_DOCS}/step-functions/latest/dg/statemachine-structure.html",
        patch="executions",
    ),
    Departure(
        "an execution that failed is redriven",
        "RedriveExecution is no action",
        "it goes on from the state it failed in (of a Map or a Parallel from the items and branches that failed; the "
        "strict emulator starts these anew)",
        f"{_DOCS}/step-functions/latest/dg/redrive-executions.html",
        patch="executions",
    ),
    Departure(
        "the history of an execution",
        "tasks that are functions have the events of integrations, and events do not name the one before them",
        "LambdaFunctionScheduled and its like; previousEventId",
        f"{_DOCS}/step-functions/latest/apireference/API_HistoryEvent.html",
        covered="recorded executions: tests/local/executions/test_recorded.py",
    ),
    Departure(
        "property values are checked",
        "26 of 29 templates that AWS refuses are accepted",
        "a value out of range fails the deployment",
        f"{_DOCS}/AWSCloudFormation/latest/TemplateReference/aws-template-resource-type-ref.html",
        covered="cfn-lint, cdk-nag and the template's own assertions",
    ),
    Departure(
        "arm64",
        "zips run on the machine's own architecture and a Python minor that is at hand",
        "zips run on the architecture and the runtime the template names",
        f"{_DOCS}/lambda/latest/dg/foundation-arch.html",
        covered="tests of the packaging",
    ),
    Departure(
        "memory and size of a function's answer",
        "neither the function's memory nor the 6 MB of an answer are limits",
        "a function beyond its memory is killed; a larger answer is an error",
        f"{_DOCS}/lambda/latest/dg/gettingstarted-limits.html",
        covered="limits.py refuses what could not be carried",
    ),
    Departure(
        "a deployment is a snapshot",
        "a changed method is live at once",
        "a stage serves the deployment it names",
        f"{_DOCS}/apigateway/latest/developerguide/how-to-deploy-api.html",
        covered="the template's own assertions",
    ),
    Departure(
        "access logs",
        "the stage's access log stays empty",
        "each request is a line in it",
        f"{_DOCS}/apigateway/latest/developerguide/set-up-logging.html",
        covered="the template's own assertions",
    ),
    Departure(
        "API Gateway needs a role to write logs with",
        "a stage with logs is made without one",
        "the account has to have one in that region, or the stage is refused",
        f"{_DOCS}/apigateway/latest/developerguide/set-up-logging.html",
        covered="`headgate deploy` asks for the role before it begins: tests/aws/test_deploying.py",
    ),
    Departure(
        "an export that is in use cannot be removed",
        "it is removed",
        "the stack that exports it is refused",
        f"{_DOCS}/AWSCloudFormation/latest/UserGuide/using-cfn-stack-exports.html",
        covered="no stack of ours imports an export: tests/aws/test_deploying.py",
    ),
    Departure(
        "eventual consistency",
        "an index shows an item at once",
        "a global secondary index follows within fractions of a second, reads of it are never consistent",
        f"{_DOCS}/amazondynamodb/latest/developerguide/GSI.html",
        covered="decisions are made by conditional writes on the table, never by reading an index",
    ),
)


def patches() -> list[str]:
    """The modules that mend the emulator, each once."""
    return list(dict.fromkeys(departure.patch for departure in DEPARTURES if departure.patch))
