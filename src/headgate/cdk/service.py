"""Everything that serves: functions, authorizers, the API, workflows. It stores nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from headgate.cdk import outputs, policy
from headgate.cdk.alarms import Alarms, Watched
from headgate.cdk.channel import HANDLERS, ChannelFunctions, tell_ends
from headgate.cdk.data import DataStack, Imported, Storage, Stored, tell
from headgate.cdk.environment import Surroundings, env_of, secrets_of_auth
from headgate.cdk.executions import StateMachine, TaskFunctions
from headgate.cdk.fit import check_fit, guards
from headgate.cdk.functions import Functions, Package
from headgate.cdk.ingress import Handlers, Ingress, TokenAuthorizer
from headgate.cdk.schedules import WorkflowSchedule
from headgate.declare.app import App
from headgate.declare.auth import ApiKey
from headgate.declare.channel import Channel
from headgate.declare.stage import Stage
from headgate.declare.task import Workflow


class Service:
    """Adds to a stack whatever serves an app. `reference` is where a function finds it: `module:attribute` in the
    package.

    `ingress` is its API; `tasks` are functions and `workflows` state machines, by their names in the app.
    """

    def __init__(
        self, stack: Stack, *, app: App, stage: Stage, stored: Stored, package: Package, reference: str
    ) -> None:  # fmt: skip
        self._stack, self._app, self._stage, self._data = stack, app, stage, stored
        arns = {name: secret.secret_arn for name, secret in self._data.secrets.items()}
        self._told = Surroundings(app, reference, stage.name, env_of(app), arns)
        self._functions = Functions(stack, "Functions", package=package, stage=stage)
        authorizers = self._authorizers()
        makers = {it.name: ChannelFunctions(it, self._functions, self._data, self._told, stage) for it in app.channels}
        ended = {it.name: makers[it.name].ended() for it in app.channels if it.start is not None}
        tasks = TaskFunctions(self._functions, self._told, self._data.secrets, stage)
        self.tasks = {task.name: tasks.add(task) for task in app.tasks if app.workflows}
        self.workflows = self._workflows(ended)
        handlers: dict[str, Handlers] = {}
        handling: dict[tuple[str, str], lambda_.Function] = {}
        self._told_of: dict[str, str] = {}
        for channel in app.channels:
            made = replace(makers[channel.name], starts=self._starts(channel, ended))
            ingest = made.ingest()
            if ingest is not None:
                self._told_of[outputs.ingest_name(channel.name)] = ingest.function_name
            unread = self._data.queues[channel.name].queue if ingest is None else None
            handlers[channel.name] = Handlers(ingest, made.query(), authorizers.get(channel.name), unread)
            handling |= {(channel.name, consumer): it for consumer, it in made.add_behind().items()}
        self.ingress = Ingress(stack, "Ingress", app=app, stage=stage, handlers=handlers)
        if hearing := [self._data.topics[topic.name] for topic in app.topics if topic.alarms]:
            queues = {name: it.queue for name, it in self._data.queues.items()}
            machines = {name: it.machine for name, it in self.workflows.items()}
            watched = Watched(self.ingress.api, queues, handling, machines)
            Alarms(stack, "Alarms", app=app, stage=stage, watched=watched, topics=hearing)
        for schedule in app.schedules:
            made_schedule = WorkflowSchedule(
                stack,
                f"{outputs.pascal(schedule.name)}Schedule",
                schedule=schedule,
                workflow=self.workflows[schedule.workflow].machine,
            )
            self._told_of[outputs.schedule_name(schedule.name)] = made_schedule.name

    def told(self) -> dict[str, str]:
        """The outputs of whatever serves."""
        return {
            **self._told_of,
            **{outputs.task_name(name): function.function_name for name, function in self.tasks.items()},
            **{outputs.workflow_arn(name): it.machine.attr_arn for name, it in self.workflows.items()},
            outputs.API_URL: self.ingress.api.url,
            outputs.API_ID: self.ingress.api.rest_api_id,
            **{outputs.channel_url(channel.name): self.ingress.url(channel) for channel in self._app.channels},
        }

    def _starts(self, channel: Channel, ended: Mapping[str, lambda_.Function]) -> policy.Starts | None:
        """What the messages of a channel start; and how the ends of it are heard of."""
        if channel.start is None:
            return None
        name = channel.start.workflow_name
        machine = self.workflows[name].machine
        if machine.state_machine_type == "EXPRESS":
            return policy.Starts(name, machine.attr_arn, ended=ended[channel.name].function_arn)
        tell_ends(ended[channel.name], machine.attr_arn)
        executions = self._stack.format_arn(
            service="states",
            resource="execution",
            resource_name=f"{machine.attr_name}:*",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        return policy.Starts(name, machine.attr_arn, executions)

    def _workflows(self, ended: Mapping[str, lambda_.Function]) -> dict[str, StateMachine]:
        def told(workflow: Workflow) -> list[lambda_.Function]:
            """What an Express machine calls at its end; of a Standard one EventBridge tells."""
            starting = [it for it in self._app.channels if it.start and it.start.workflow_name == workflow.name]
            return [ended[channel.name] for channel in starting] if workflow.express else []

        return {
            workflow.name: StateMachine(
                self._stack,
                f"{outputs.pascal(workflow.name)}Workflow",
                workflow=workflow,
                tasks=self.tasks,
                topics=self._data.topics,
                notices=self._data.notices,
                archives=self._data.archives,
                queues={name: it.queue for name, it in self._data.queues.items()},
                tables=self._data.items,
                stage=self._stage,
                ended=told(workflow),
            )
            for workflow in self._app.workflows
        }

    def _authorizers(self) -> dict[str, apigateway.IAuthorizer]:
        """One for each auth that is declared, by the names of the channels that declare it."""
        found: dict[str, apigateway.IAuthorizer] = {}
        for channels in guards(self._app.channels):
            auth = channels[0].auth
            name = outputs.pascal(channels[0].name)
            secrets = secrets_of_auth(self._app, channels)
            keys = self._data.keys if isinstance(auth, ApiKey) else None
            settings = replace(self._told.settings(channels, secrets), keys="" if keys is None else keys.table_name)
            function = self._functions.add(
                f"{name}Authorizer",
                handler=f"{HANDLERS}.authorizer.handler",
                description=f"Finds out who posts to {', '.join(channel.path for channel in channels)}",
                environment=self._told.variables(settings),
                grants=[
                    *([] if keys is None else policy.look_up_keys(keys)),
                    *policy.read_secrets([self._data.secrets[one] for one in secrets]),
                ],
            )
            made = TokenAuthorizer(self._stack, f"{name}Auth", auth=auth, function=function, name=name)
            found |= {channel.name: made.authorizer for channel in channels}
        return found


class ServiceStack(Stack):
    """What serves what a DataStack stores."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        app: App,
        stage: Stage,
        data: DataStack,
        package: Package,
        reference: str,
        **options: object,
    ) -> None:
        super().__init__(scope, id, **options)  # type: ignore[arg-type] # Stack's own options
        check_fit(app, stage)
        self.add_stack_dependency(data)
        stored = Imported(self, data).stored
        self.service = Service(self, app=app, stage=stage, stored=stored, package=package, reference=reference)
        tell(self, stage, self.service.told())


class AppStack(Stack):
    """All of an app in one stack: what is stored goes where what serves it goes."""

    def __init__(
        self, scope: Construct, id: str, *, app: App, stage: Stage, package: Package, reference: str, **options: object
    ) -> None:
        super().__init__(scope, id, **options)  # type: ignore[arg-type] # Stack's own options
        check_fit(app, stage)
        self.storage = Storage(self, app=app, stage=stage)
        stored = self.storage.stored
        self.service = Service(self, app=app, stage=stage, stored=stored, package=package, reference=reference)
        tell(self, stage, {**self.storage.told(), **self.service.told()})
