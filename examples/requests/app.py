"""POST /: any JSON, signed as AWS signs; kept as an object, and worked off by an Express workflow for each request."""

import os
from typing import Any

from headgate import App, Archive, Cors, Iam, Made, Problem, Receipt, Reply, Start
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
    accepted=processed,
    problem=told,
)
for name in ("dev", "prod"):
    app.stage(
        name,
        region="us-west-2",
        data_stack=f"TapStack{name}-data",
        service_stack=f"TapStack{name}",
        tags={
            "Environment": "Production",
            "Project": "TAP",
            "Repository": os.environ.get("REPOSITORY", "unknown"),
            "Author": os.environ.get("COMMIT_AUTHOR", "unknown"),
        },
        names={
            "archive:requests": f"tap-{name}-bucket",
            "table:requests": f"tap-{name}-requests",
            "ingest:requests": f"tap-{name}-processor",
            "workflow:statemachine": f"tap-{name}-statemachine",
            "api": f"tap-{name}-api",
        },
        outputs={
            "ApiEndpoint": "ApiUrl",
            "BucketName": "RequestsArchiveName",
            "TableName": "RequestsTableName",
            "StateMachineArn": "StatemachineWorkflowArn",
            "LambdaFunctionName": "RequestsIngestName",
        },
    )
