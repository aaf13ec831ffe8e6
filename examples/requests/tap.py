"""The program of cdk.json: `cdk deploy -c environmentSuffix=dev`, or `headgate deploy --stage dev`."""

import aws_cdk as cdk
from lib.tap_stack import TapStack

from headgate.cdk.program import prepare, tag, wishes_of

root = cdk.App(analytics_reporting=False)
wishes = wishes_of(root)
suffix = root.node.try_get_context("environmentSuffix") or wishes.stage or "dev"
prepared = prepare(root, wishes._replace(stage=suffix))
stack = TapStack(root, f"TapStack{suffix}", prepared=prepared, env=prepared.where)
tag(stack, prepared.app, prepared.stage)
root.synth()
