"""What can be declared, and served by the local engine, but not deployed: told before any stack is made."""

from __future__ import annotations

from collections.abc import Iterator

from headgate.cdk import outputs
from headgate.declare.app import App
from headgate.declare.delivery import Direct
from headgate.declare.settings import Secret
from headgate.errors import DeclarationError, DeclarationFault


def check_fit(app: App) -> None:
    """Raise DeclarationError for an app that cannot be honoured, on AWS or at all."""
    app.check()
    if faults := list(_faults(app)):
        raise DeclarationError(*faults)


def _faults(app: App) -> Iterator[DeclarationFault]:
    for workflow in app.workflows:
        yield DeclarationFault(
            workflow.where, f"workflow {workflow.name}: this version deploys no workflows; serve the app yourself."
        )
    for topic in app.topics:
        yield DeclarationFault(
            topic.where, f"topic {topic.name}: this version deploys no topics; serve the app yourself."
        )
    taken = {outputs.API_URL, outputs.API_ID, outputs.KEYS_TABLE, outputs.BODIES_BUCKET}
    for channel in app.channels:
        if not isinstance(channel.delivery, Direct):
            yield DeclarationFault(
                channel.where,
                f"channel {channel.path}: this version deploys Direct() channels only; serve the app yourself.",
            )
        if "~" in channel.path:
            yield DeclarationFault(channel.where, f"channel {channel.path}: API Gateway takes no ~ in a path.")
        told = {outputs.channel_url(channel.name), outputs.channel_table(channel.name)}
        if not told.isdisjoint(taken):
            yield DeclarationFault(
                channel.where,
                f"channel {channel.path}: an output of the stacks is called {min(told & taken)} already; "
                "say another `name=`.",
            )
        taken |= told
    for name, where in {
        setting.name: channel.where for channel, setting in app.settings() if isinstance(setting, Secret)
    }.items():
        told = {outputs.secret_arn(name)}
        if not told.isdisjoint(taken):
            yield DeclarationFault(
                where, f'Secret("{name}"): an output of the stacks is called {min(told)} already; rename it.'
            )
        taken |= told
