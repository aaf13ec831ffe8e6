"""Topics: where people are told, by mail or at an address of their own."""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from headgate.cdk.removal import removal
from headgate.declare.settings import Env
from headgate.declare.topic import Email, Topic, Webhook


class NoticesKey(Construct):
    """What notices are encrypted with on their way, for all topics of an app. CloudWatch may use it, so that alarms
    are told: the key that AWS keeps for SNS would shut them out."""

    def __init__(self, scope: Construct, id: str, *, retains: bool) -> None:
        super().__init__(scope, id)
        self.key = kms.Key(
            self,
            "Key",
            description="Notices of an app",
            enable_key_rotation=True,
            removal_policy=removal(retains=retains),
        )
        self.key.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["kms:Decrypt", "kms:GenerateDataKey"],
                resources=["*"],  # in the policy of a key: this key
            )
        )


class NoticeTopic(Construct):
    """A topic with its subscribers; `settings` says what each `Env` of theirs is. Encrypted, TLS only; where it hears
    of alarms, those of the account may publish.

    A subscriber hears nothing before it has confirmed: by a link in a mail, or by answering what SNS posts first.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        topic: Topic,
        key: kms.IKey,
        settings: Mapping[str, str],
        name: str | None = None,
    ) -> None:
        super().__init__(scope, id)
        self.topic = sns.Topic(self, "Topic", topic_name=name, master_key=key, enforce_ssl=True)
        if topic.alarms:
            # With a policy of its own, a topic is no longer open to whatever is of its account.
            self.topic.add_to_resource_policy(
                iam.PolicyStatement(
                    sid="AlarmsOfTheAccount",
                    principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                    actions=["sns:Publish"],
                    resources=[self.topic.topic_arn],
                    conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
                )
            )
        for subscriber in topic.subscribers:
            match subscriber:
                case Email(address):
                    self.topic.add_subscription(subscriptions.EmailSubscription(address))
                case Webhook(url=Env() as env):
                    self.topic.add_subscription(subscriptions.UrlSubscription(settings[env.name]))
                case Webhook(url=str() as url):
                    self.topic.add_subscription(subscriptions.UrlSubscription(url))
