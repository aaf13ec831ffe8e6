"""What Task states get from outside: the shapes and the errors of AWS, whoever carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from headgate.local.executions import Workflow
from headgate.local.executions.services import Service, TaskFailed
from tests.local.executions.site import Site, end, machine


def carried_out(
    folder: Path, resource: str, parameters: Mapping[str, Any], service: Service
) -> tuple[str, Any, str | None]:
    """The outcome of one Task."""
    document = machine(
        A={"Type": "Task", "Resource": f"arn:aws:states:::{resource}", "Parameters": parameters, "End": True}
    )
    site = Site(folder, {"it": Workflow(document)}, services={resource: service})
    try:
        return end(site, document)
    finally:
        site.close()


ASKED: list[tuple[str, Any, Any]] = [
    ("sns:publish", {"TopicArn": "arn:aws:sns:local:000000000000:t", "Message": "m"}, {"MessageId": "1"}),
    ("sqs:sendMessage", {"QueueUrl": "q", "MessageBody": {"a": 1}}, {"MessageId": "1", "MD5OfMessageBody": "x"}),
    ("dynamodb:putItem", {"TableName": "t", "Item": {"id": {"S": "1"}}}, {}),
    ("dynamodb:updateItem", {"TableName": "t", "Key": {"id": {"S": "1"}}}, {}),
    ("dynamodb:getItem", {"TableName": "t", "Key": {"id": {"S": "1"}}}, {"Item": {"id": {"S": "1"}}}),
]


@pytest.mark.parametrize(("resource", "parameters", "response"), ASKED)
def test_a_service_is_asked_with_the_parameters_and_answers_with_metadata(
    tmp_path: Path, resource: str, parameters: Any, response: Any
) -> None:
    asked: list[Any] = []

    def service(given: Mapping[str, Any], token: str) -> Any:
        asked.append(given)
        return response

    status, output, _ = carried_out(tmp_path, resource, parameters, service)
    assert (status, asked) == ("SUCCEEDED", [parameters])
    assert {key: value for key, value in output.items() if not key.startswith("Sdk")} == response
    assert output["SdkHttpMetadata"]["HttpStatusCode"] == 200
    assert len(output["SdkResponseMetadata"]["RequestId"]) == 36


def test_an_integration_of_the_sdk_answers_without_metadata(tmp_path: Path) -> None:
    parameters = {"Bucket": "b", "Key": "k", "Body": "x"}
    put = carried_out(tmp_path, "aws-sdk:s3:putObject", parameters, lambda given, token: {"ETag": "e"})
    assert put == ("SUCCEEDED", {"ETag": "e"}, None)


def test_an_error_of_a_service_keeps_its_name_and_cause(tmp_path: Path) -> None:
    def refuse(given: Mapping[str, Any], token: str) -> Any:
        raise TaskFailed("SNS.NotFoundException", "Topic does not exist")

    assert carried_out(tmp_path, *ASKED[0][:2], refuse) == ("FAILED", "SNS.NotFoundException", "Topic does not exist")


def test_a_mistake_of_a_service_is_told_without_its_text(tmp_path: Path) -> None:
    def mistake(given: Mapping[str, Any], token: str) -> Any:
        raise ValueError("a secret")

    status, error, cause = carried_out(tmp_path, *ASKED[0][:2], mistake)
    assert (status, error, cause) == ("FAILED", "States.TaskFailed", "It could not be carried out: ValueError")


@pytest.mark.parametrize(
    ("payload", "event"), [({"a": 1}, {"a": 1}), (None, {}), ('{"a": 1}', {"a": 1}), ("0", 0), ([1], [1])]
)
def test_a_payload_that_is_a_text_is_the_events_json(tmp_path: Path, payload: Any, event: Any) -> None:
    parameters = {"FunctionName": "arn:aws:lambda:local:000000000000:function:f:live", "Payload": payload}
    document = machine(
        A={"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Parameters": parameters, "End": True}
    )
    asked: list[Any] = []

    def invoke(name: str, event: Any, token: str) -> Any:
        asked.append((name, event))
        return event

    site = Site(tmp_path, {"it": Workflow(document)}, invoke)
    status, output, _ = end(site, document)
    site.close()
    assert (status, asked, output["Payload"]) == ("SUCCEEDED", [("f", event)], event)


def test_a_payload_that_is_no_json_is_refused_as_lambda_does(tmp_path: Path) -> None:
    parameters = {"FunctionName": "f", "Payload": "{"}
    document = machine(
        A={"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Parameters": parameters, "End": True}
    )
    site = Site(tmp_path, {"it": Workflow(document)})
    assert end(site, document)[1] == "Lambda.InvalidRequestContentException"
    site.close()
