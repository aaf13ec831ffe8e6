"""POST /: any JSON, signed as AWS signs; kept as an object, and worked off by an Express workflow for each request."""

import os
from typing import Any

from headgate import App, Archive, Cors, Iam, Made, Problem, Receipt, Reply, Start, stage
from headgate import workflow as w


def processed(receipt: Receipt) -> Reply:
    """The published success."""
    told = {
        "message": "Request processed successfully",
        "request_id": receipt.key,
        "execution_arn": receipt.execution,
    }
    return Reply(200, told)


def told(problem: Problem) -> dict[str, Any]:
    """The published error, for whatever is wrong."""
    if problem.status == 500:
        return {"error": "Internal server error", "message": problem.message}
    return {"error": problem.title, "message": problem.message}


signing = ("X-Amz-Content-Sha256", "X-Amz-Date", "X-Amz-Security-Token")  # what a browser that signs sends along

app = App("requests", runtime="python3.12")
statemachine = app.workflow(
    "statemachine",
    w.give({"status": "processed"}, name="ProcessRequest"),
    express=True,
    timeout_s=300,
)
app.channel(
    "/",
    name="requests",
    key=Made("request_id"),
    auth=Iam(region="us-west-2"),
    cors=Cors(("*",), headers=("Authorization", "Content-Type", "Idempotency-Key", *signing)),
    archive=Archive("requests/{id}.json"),
    workflow=Start(
        statemachine,
        name="execution-{id}",
        input={"request_id": "{id}", "payload": "{body}"},
    ),
    attributes={
        "timestamp": "{received_at}",
        "s3_key": "{object}",
        "step_function_execution_arn": "{execution}",
    },
    accepted=processed,
    problem=told,
)
suffix = stage()
app.stage(
    suffix,
    account=os.environ.get("CDK_DEFAULT_ACCOUNT"),
    region="us-west-2",
    stack=f"TapStack{suffix}",
    tags={
        "Environment": "Production",
        "Project": "TAP",
        "Repository": os.environ.get("REPOSITORY", "unknown"),
        "Author": os.environ.get("COMMIT_AUTHOR", "unknown"),
    },
    names={
        "archive:requests": f"tap-{suffix}-bucket",
        "table:requests": f"tap-{suffix}-requests",
        "ingest:requests": f"tap-{suffix}-processor",
        "workflow:statemachine": f"tap-{suffix}-statemachine",
        "api": f"tap-{suffix}-api",
    },
    variables={
        "BUCKET_NAME": "archive:requests",
        "TABLE_NAME": "table:requests",
        "STATE_MACHINE_ARN": "workflow:statemachine",
    },
    outputs={
        "ApiEndpoint": "ApiUrl",
        "BucketName": "RequestsArchiveName",
        "TableName": "RequestsTableName",
        "StateMachineArn": "StatemachineWorkflowArn",
        "LambdaFunctionName": "RequestsIngestName",
    },
)
