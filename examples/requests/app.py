"""POST /: any JSON, signed as AWS signs; kept as an object, and worked off by an Express workflow for each request."""

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
app.stage("dev", region="us-west-2")
app.stage("prod", region="us-west-2")
