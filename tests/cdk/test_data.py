"""The stack of what is stored: tables as the layout says, a closed bucket, secrets; and what each stage makes of it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from headgate import App, Public
from headgate.aws.layout import EXPIRES_AT, Attribute, layout_of
from headgate.declare.stage import Stage
from headgate.testing.app import app as conformance_app
from tests.cdk.stacks import Node, Synthesized, Template, synthesize

TABLE, BUCKET, SECRET = "AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::SecretsManager::Secret"


def table_of(template: Template, channel: str) -> Node:
    """The table that the output of a channel names."""
    output = template.body["Outputs"][f"{channel.capitalize()}TableName"]
    found: Node = template.body["Resources"][output["Value"]["Ref"]]["Properties"]
    return found


def schema(*keys: Attribute | None) -> list[Node]:
    kinds = zip((key for key in keys if key is not None), ("HASH", "RANGE"), strict=False)
    return [{"AttributeName": key.name, "KeyType": kind} for key, kind in kinds]


@pytest.mark.parametrize("channel", conformance_app.channels, ids=lambda channel: channel.name)
def test_a_table_is_as_the_layout_says(conformance: Synthesized, channel: object) -> None:
    layout = layout_of(channel)  # type: ignore[arg-type]
    table = table_of(conformance.data, layout.channel)
    assert table["KeySchema"] == schema(layout.partition, layout.sort)
    assert {index["IndexName"]: index["KeySchema"] for index in table["GlobalSecondaryIndexes"]} == {
        index.name: schema(index.partition, index.sort) for index in layout.indexes
    }
    parts = [
        layout.partition,
        layout.sort,
        *(part for index in layout.indexes for part in (index.partition, index.sort)),
    ]
    assert {it["AttributeName"]: it["AttributeType"] for it in table["AttributeDefinitions"]} == {
        part.name: part.kind for part in parts if part is not None
    }


def test_indexes_hold_keys_alone_so_that_a_body_is_written_once(conformance: Synthesized) -> None:
    for table in conformance.data.properties(TABLE):
        for index in table.get("GlobalSecondaryIndexes", []):
            assert index["Projection"] == {"ProjectionType": "KEYS_ONLY"}


def test_messages_expire_and_nobody_pays_for_idle_tables(conformance: Synthesized) -> None:
    for channel in conformance_app.channels:
        table = table_of(conformance.data, channel.name)
        assert table["TimeToLiveSpecification"] == {"AttributeName": EXPIRES_AT, "Enabled": True}
    assert {table["BillingMode"] for table in conformance.data.properties(TABLE)} == {"PAY_PER_REQUEST"}


def test_api_keys_have_a_table_where_a_channel_takes_them(conformance: Synthesized, orders: Synthesized) -> None:
    name = conformance.data.body["Outputs"]["KeysTableName"]["Value"]["Ref"]
    keys = conformance.data.body["Resources"][name]["Properties"]
    assert keys["KeySchema"] == [{"AttributeName": "id", "KeyType": "HASH"}]
    assert "KeysTableName" not in orders.data.body["Outputs"]


def test_a_stage_that_retains_keeps_everything_and_can_go_back_in_time(orders: Synthesized) -> None:
    for kind in (TABLE, BUCKET, SECRET):
        # What a deployment made that failed is not in the way of the next; but a table that is protected cannot go.
        policy = "Retain" if kind == TABLE else "RetainExceptOnCreate"
        for resource in orders.data.all(kind).values():
            assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == (policy, "Retain")
    for table in orders.data.properties(TABLE):
        assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert table["DeletionProtectionEnabled"] is True
    assert not orders.data.all("Custom::S3AutoDeleteObjects")


def test_dev_leaves_nothing_behind(message: Synthesized) -> None:
    for kind in (TABLE, BUCKET, SECRET):
        for resource in message.data.all(kind).values():
            assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Delete"
    assert all(not table["DeletionProtectionEnabled"] for table in message.data.properties(TABLE))
    assert len(message.data.all("Custom::S3AutoDeleteObjects")) == 1
    (emptying,) = message.data.properties("AWS::Lambda::Function")
    (its_role,) = message.data.properties("AWS::IAM::Role")
    assert emptying["LoggingConfig"]["LogGroup"]["Ref"] in message.data.all("AWS::Logs::LogGroup")
    assert "CreateLogGroup" not in str(its_role)
    assert "ManagedPolicyArns" not in its_role
    for template in message.templates():
        kept = {name for name, it in template.body["Resources"].items() if "Retain" in it.get("DeletionPolicy", "")}
        assert not kept


def test_every_bucket_is_encrypted_closed_and_speaks_tls_alone(orders: Synthesized) -> None:
    buckets = orders.data.properties(BUCKET)
    policies = orders.data.properties("AWS::S3::BucketPolicy")
    assert len(buckets) == len(policies) == 2  # for bodies, and for what the workflow keeps
    for bucket in buckets:
        assert all(bucket["PublicAccessBlockConfiguration"].values())
        assert len(bucket["PublicAccessBlockConfiguration"]) == 4
        (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
        assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    for policy in policies:
        (refusal,) = policy["PolicyDocument"]["Statement"]
        assert refusal["Effect"] == "Deny"
        assert refusal["Principal"] == {"AWS": "*"}
        assert refusal["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_large_bodies_go_a_day_after_their_messages_and_others_stay(conformance: Synthesized) -> None:
    (bucket,) = conformance.data.properties(BUCKET)
    rules = {rule["Id"]: rule for rule in bucket["LifecycleConfiguration"]["Rules"]}
    assert rules.keys() == {"brief", "unfinished-uploads"}
    assert (rules["brief"]["Prefix"], rules["brief"]["ExpirationInDays"]) == ("brief/1d/", 2)
    assert "ExpirationInDays" not in rules["unfinished-uploads"]


def test_days_are_rounded_up() -> None:
    from headgate.cdk.bodies import keep_days

    app = App("a")
    kept = {timedelta(days=1): 1, timedelta(hours=25): 2, timedelta(seconds=1): 1, None: None}
    for keep, days in kept.items():
        assert keep_days(app.channel("/a", auth=Public(), keep=keep)) == days


def test_a_secret_is_made_up_and_long_enough_for_a_token(orders: Synthesized) -> None:
    (secret,) = orders.data.properties(SECRET)
    assert secret["GenerateSecretString"] == {"ExcludePunctuation": True, "PasswordLength": 48}
    assert "SecretString" not in secret
    assert orders.data.body["Outputs"]["OrdersJwtSecretSecretArn"]["Value"] == {
        "Ref": next(iter(orders.data.all(SECRET)))
    }


def test_nothing_has_a_physical_name(message: Synthesized, orders: Synthesized, conformance: Synthesized) -> None:
    names = {
        TABLE: "TableName",
        BUCKET: "BucketName",
        SECRET: "Name",
        "AWS::Lambda::Function": "FunctionName",
        "AWS::Lambda::LayerVersion": "LayerName",
        "AWS::Logs::LogGroup": "LogGroupName",
        "AWS::IAM::Role": "RoleName",
    }
    for made in (message, orders, conformance):
        for template in made.templates():
            for kind, name in names.items():
                # One that is made of another's, as of a log of a workflow, CloudFormation makes up with that.
                assert not [it[name] for it in template.properties(kind) if isinstance(it.get(name, {}), str)]


def test_outputs_are_exported_under_the_name_of_their_stack(orders: Synthesized) -> None:
    for template in orders.templates():
        for name, output in template.body["Outputs"].items():
            assert output["Export"] == {"Name": f"{template.name}-{name}"}


def test_a_stage_says_where_to_go_and_what_its_stacks_are_called(tmp_path: Path) -> None:
    app = App("shop")
    app.channel("/orders", auth=Public())
    stage = Stage("prod", region="us-west-2", account="111122223333", data_stack="ShopData", service_stack="Shop")
    made = synthesize(tmp_path, app, stage)
    assert (made.data.name, made.service.name) == ("ShopData", "Shop")
    artifacts = json.loads((made.folder / "manifest.json").read_text())["artifacts"]
    assert artifacts["Shop"]["environment"] == artifacts["ShopData"]["environment"] == "aws://111122223333/us-west-2"
    assert artifacts["Shop"]["dependencies"] == ["ShopData", "Shop.assets"]


def test_without_a_place_of_its_own_a_stage_goes_wherever_the_credentials_lead(message: Synthesized) -> None:
    artifacts = json.loads((message.folder / "manifest.json").read_text())["artifacts"]
    assert artifacts["message-dev-data"]["environment"] == "aws://unknown-account/unknown-region"


def test_everything_carries_the_tags_of_the_app_and_the_stage(tmp_path: Path) -> None:
    app = App("shop")
    app.channel("/orders", auth=Public())
    made = synthesize(tmp_path, app, Stage("test", tags={"team": "orders"}))
    wanted = {"headgate:app": "shop", "headgate:stage": "test", "team": "orders"}
    for template in made.templates():
        for resource in template.body["Resources"].values():
            tags = resource.get("Properties", {}).get("Tags")
            assert tags is None or wanted.items() <= {it["Key"]: it["Value"] for it in tags}.items()
    for kind in (TABLE, BUCKET, "AWS::Lambda::Function", "AWS::ApiGateway::RestApi", "AWS::Logs::LogGroup"):
        assert all("Tags" in it for template in made.templates() for it in template.properties(kind))
