"""One stack of everything, put together by hand: each part is a construct of headgate's that can be used alone."""

from __future__ import annotations

from dataclasses import replace

from aws_cdk import Stack
from constructs import Construct

from headgate.cdk import outputs
from headgate.cdk.archive import ArchiveBucket
from headgate.cdk.bodies import BodiesBucket
from headgate.cdk.channel import ChannelFunctions
from headgate.cdk.data import Stored, tell
from headgate.cdk.environment import Surroundings
from headgate.cdk.executions import StateMachine
from headgate.cdk.functions import Functions
from headgate.cdk.index import IndexTable
from headgate.cdk.ingress import Handlers, Ingress
from headgate.cdk.policy import Starts
from headgate.cdk.program import Prepared


class TapStack(Stack):
    """A bucket and a table for the requests, an Express workflow that each of them starts, and an API that takes them
    from whoever signs."""

    def __init__(self, scope: Construct, id: str, *, prepared: Prepared, **options: object) -> None:
        super().__init__(scope, id, **options)  # type: ignore[arg-type] # Stack's own options
        app, stage = prepared.app, prepared.stage
        (channel,), (workflow,) = app.channels, app.workflows
        names, kept = stage.names, stage.retains

        bucket = ArchiveBucket(self, "Bucket", name=names["archive:requests"], retains=kept)
        table = IndexTable(self, "Table", channel=channel, name=names["table:requests"], retains=kept)
        bodies = BodiesBucket(self, "Bodies", channels=[channel], retains=kept)  # of those that no row can hold
        stored = Stored({"requests": table.table}, bodies.bucket, archives={"requests": bucket.bucket})

        functions = Functions(self, "Functions", package=prepared.package, stage=stage)
        told = Surroundings(app, prepared.reference, stage.name, env={}, arns={})
        made = ChannelFunctions(channel, functions, stored, told, stage)
        ended = made.ended()  # the machine tells it when it begins and when it ends
        machine = StateMachine(self, "StateMachine", workflow=workflow, stage=stage, ended=[ended]).machine
        made = replace(made, starts=Starts(workflow.name, machine.attr_arn, ended=ended.function_arn))
        processor, reader = made.ingest(), made.query()
        made.add_behind()  # finishes what a crash has left behind
        api = Ingress(self, "Api", app=app, stage=stage, handlers={"requests": Handlers(processor, reader)})

        told_of = {
            outputs.API_URL: api.api.url,
            outputs.API_ID: api.api.rest_api_id,
            outputs.BODIES_BUCKET: bodies.bucket.bucket_name,
            outputs.channel_url("requests"): api.url(channel),
            outputs.channel_table("requests"): table.table.table_name,
            outputs.archive_name("requests"): bucket.bucket.bucket_name,
            outputs.workflow_arn(workflow.name): machine.attr_arn,
            outputs.ingest_name("requests"): processor.function_name if processor else "",
        }
        tell(self, stage, told_of)  # for the command line; and as app.py calls them
