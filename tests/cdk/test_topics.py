"""Topics: who is told, and that nobody listens in."""

from __future__ import annotations

from tests.cdk.stacks import Synthesized

TOPIC = "AWS::SNS::Topic"


def test_each_topic_is_encrypted_with_the_key_of_the_app(works: Synthesized) -> None:
    (key,) = works.data.all("AWS::KMS::Key")
    for topic in works.data.properties(TOPIC):
        assert topic["KmsMasterKeyId"] == {"Fn::GetAtt": [key, "Arn"]}


def test_the_key_turns_and_lets_alarms_through(works: Synthesized) -> None:
    (key,) = works.data.properties("AWS::KMS::Key")
    assert key["EnableKeyRotation"]
    alarms = key["KeyPolicy"]["Statement"][-1]
    assert alarms["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert alarms["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]


def test_subscribers_are_those_that_are_declared(works: Synthesized) -> None:
    found = {(it["Protocol"], it["Endpoint"]) for it in works.data.properties("AWS::SNS::Subscription")}
    assert found == {("email", "ops@example.com"), ("https", "https://hook.example")}


def test_topics_are_reached_over_tls_alone(works: Synthesized) -> None:
    policies = works.data.properties("AWS::SNS::TopicPolicy")
    assert len(policies) == len(works.data.all(TOPIC)) == 2
    for policy in policies:
        denied = policy["PolicyDocument"]["Statement"][0]
        assert denied["Effect"] == "Deny"
        assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_alarms_of_the_account_may_tell_a_topic_that_hears_of_them(works: Synthesized) -> None:
    """https://docs.aws.amazon.com/sns/latest/dg/sns-access-policy-use-cases.html"""
    allowed = {
        policy["Topics"][0]["Ref"]: policy["PolicyDocument"]["Statement"][1:]
        for policy in works.data.properties("AWS::SNS::TopicPolicy")
    }
    alerts, sales = (next(name for name in allowed if name.startswith(topic)) for topic in ("Alerts", "Sales"))
    assert allowed[alerts] == [
        {
            "Sid": "AlarmsOfTheAccount",
            "Effect": "Allow",
            "Action": "sns:Publish",
            "Principal": {"Service": "cloudwatch.amazonaws.com"},
            "Resource": {"Ref": alerts},
            "Condition": {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}},
        }
    ]
    assert allowed[sales] == []


def test_the_secret_of_a_webhook_is_none_of_the_stacks(works: Synthesized) -> None:
    assert [it["Description"] for it in works.data.properties("AWS::SecretsManager::Secret")] == [
        'Secret("PARTNER_TOKEN") of the app'
    ]
