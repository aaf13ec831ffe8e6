"""The stack of the pipeline: it deploys itself, then every stage in its order, whenever somebody pushes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_codebuild as codebuild
from aws_cdk import aws_codecommit as codecommit
from aws_cdk import aws_codepipeline as codepipeline
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import pipelines
from constructs import Construct

from headgate import __version__
from headgate.cdk import outputs, toolkit
from headgate.cdk.acknowledged import acknowledge, wildcards
from headgate.cdk.archive import plain_bucket
from headgate.cdk.environment import env_of
from headgate.cdk.program import Prepared, Wishes, add_stacks, prepare
from headgate.cdk.topics import NoticesKey, NoticeTopic
from headgate.declare.app import App
from headgate.declare.load import app_folder, forget, load_app
from headgate.declare.pipeline import CodeCommit, Connection, Pipeline
from headgate.declare.settings import Env
from headgate.errors import Misuse

IMAGE = codebuild.LinuxBuildImage.STANDARD_7_0
"""What it runs on: it has Python and Node.js in the versions that are asked for; nothing else of it is needed."""
PYTHONS = ("3.11", "3.12", "3.13")
NODE = "22"
ASSETS = "4"

_ENVIRONMENT = '"$HOME/.headgate"'


class PipelineStack(cdk.Stack):
    """A pipeline of an app. `stages` are the app as it is made ready for each of its stages; `env` are the settings of
    the app by their names, which its program needs there as it does here."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        app: App,
        pipeline: Pipeline,
        stages: Sequence[Prepared],
        settings: Mapping[str, str],
        **options: object,
    ) -> None:
        super().__init__(scope, id, **options)  # type: ignore[arg-type] # Stack's own options
        accounts = {it.stage.account for it in stages if it.stage.account not in (None, self.account)}
        self.pipeline = pipelines.CodePipeline(
            self,
            "Pipeline",
            pipeline_type=codepipeline.PipelineType.V2,
            synth=pipelines.ShellStep(
                "Synth",
                input=self._source(pipeline.source, settings),
                commands=commands(pipeline),
                env=dict(settings),
                primary_output_directory=f"{pipeline.folder}/cdk.out".removeprefix("./"),
            ),
            artifact_bucket=None if accounts else plain_bucket(self, retains=False),
            cross_account_keys=bool(accounts),
            enable_key_rotation=True if accounts else None,
            cli_version=toolkit.pinned(),
            cdk_assets_cli_version=ASSETS,
            code_build_defaults=_runtimes(nodejs=NODE),
            synth_code_build_defaults=_runtimes(nodejs=NODE, python=_python(app)),
        )
        for prepared in stages:
            stage = cdk.Stage(self, prepared.stage.name, env=prepared.where)
            add_stacks(stage, *prepared)
            asked = prepared.stage.name in pipeline.approve
            self.pipeline.add_stage(
                stage, pre=[pipelines.ManualApprovalStep(f"Approve-{prepared.stage.name}")] if asked else None
            )
        self.pipeline.build_pipeline()
        cdk.CfnOutput(self, "PipelineName", value=self.pipeline.pipeline.pipeline_name)
        if pipeline.topic is not None:
            self._tell_failures(pipeline, settings)
        self._acknowledge(cross_account=bool(accounts))

    def _source(self, source: Connection | CodeCommit, settings: Mapping[str, str]) -> pipelines.CodePipelineSource:
        match source:
            case Connection(repository, connection, branch):
                arn = settings[connection.name] if isinstance(connection, Env) else connection
                return pipelines.CodePipelineSource.connection(repository, branch, connection_arn=arn)
            case CodeCommit(name, branch):
                held = codecommit.Repository.from_repository_name(self, "Repository", name)
                return pipelines.CodePipelineSource.code_commit(held, branch)

    def _tell_failures(self, pipeline: Pipeline, settings: Mapping[str, str]) -> None:
        assert pipeline.topic is not None  # noqa: S101 - the caller has looked
        key = NoticesKey(self, "Notices", retains=False).key
        key.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("events.amazonaws.com")],
                actions=["kms:Decrypt", "kms:GenerateDataKey"],
                resources=["*"],  # in the policy of a key: this key
            )
        )
        topic = NoticeTopic(self, "Failures", topic=pipeline.topic, key=key, settings=settings).topic
        run = self.pipeline.pipeline
        events.Rule(
            self,
            "Failed",
            description="A run of the pipeline has failed",
            event_pattern=events.EventPattern(
                source=["aws.codepipeline"],
                detail_type=["CodePipeline Pipeline Execution State Change"],
                detail={"state": ["FAILED"], "pipeline": [run.pipeline_name]},
            ),
            targets=[_notice(topic)],
        )

    def _acknowledge(self, *, cross_account: bool) -> None:
        for finding in sorted({it for policy in self._policies() for it in wildcards(policy)}):
            acknowledge(
                self.pipeline,
                f"AwsSolutions-IAM5[{finding}]",
                "The CDK grants its own steps what they do, on the artifacts, logs, reports and roles of deployments.",
            )
        for support in self.pipeline.pipeline.cross_region_support.values():
            acknowledge(support.stack, "AwsSolutions-S1", "Only the pipeline reaches the bucket of its artifacts.")
        if not cross_account:
            acknowledge(
                self.pipeline,
                "AwsSolutions-CB4",
                "What passes between steps is encrypted by S3; a key of its own is made where accounts differ.",
            )
        else:
            acknowledge(self.pipeline, "AwsSolutions-S1", "Only the pipeline reaches the bucket of its artifacts.")

    def _policies(self) -> list[iam.CfnPolicy]:
        """Those that the CDK has made for the steps."""
        return [it for it in self.pipeline.node.find_all() if isinstance(it, iam.CfnPolicy)]


def _notice(topic: sns.Topic) -> targets.SnsTopic:
    run = events.EventField.from_path("$.detail.execution-id")
    said = f"The pipeline {events.EventField.from_path('$.detail.pipeline')} has failed, run {run}."
    return targets.SnsTopic(topic, message=events.RuleTargetInput.from_text(said))


def commands(pipeline: Pipeline) -> list[str]:
    """What is run in the folder of the repository, in one shell, on a machine with Python and an index of packages."""
    return [
        *([f"cd {pipeline.folder}"] if pipeline.folder != "." else []),
        f"python -m venv {_ENVIRONMENT}",
        f". {_ENVIRONMENT}/bin/activate",
        *(installing() if pipeline.install is None else pipeline.install),
        *pipeline.checks,
        "headgate synth --pipeline",
    ]


def installing() -> list[str]:
    """What brings headgate, with the Node.js and the uv that it runs, and then what the app depends on."""
    return [
        f'python -m pip install --quiet --disable-pip-version-check "headgate[cdk]=={__version__}"',
        "if [ -f uv.lock ]; then uv sync --active --inexact --frozen --all-groups --no-install-project; "
        "elif [ -f requirements.txt ]; then uv pip install --requirement requirements.txt; "
        "elif [ -f pyproject.toml ]; then uv pip install --requirement pyproject.toml; fi",
    ]


def add_pipeline(root: cdk.App, wishes: Wishes) -> PipelineStack:
    """Load an app for each stage of its pipeline, and add the pipeline to a CDK app. Raises Misuse where it declares
    none, and what `prepare` raises."""
    app = load_app(wishes.app)
    if not app.pipelines:
        raise Misuse(f"{app.name} declares no pipeline: say app.pipeline(source, stages) in {app_folder(wishes.app)}.")
    (pipeline,) = app.pipelines
    stages: list[Prepared] = []
    settings = {it.name: _said(it) for it in pipeline.settings()}
    for name in pipeline.stages:
        forget(wishes.app)  # what is declared may differ from stage to stage
        prepared = prepare(root, wishes._replace(stage=name, nag=wishes.nag and not stages))
        settings |= env_of(prepared.app)
        stages.append(prepared)
    return PipelineStack(
        root,
        outputs.pipeline_stack(app),
        app=app,
        pipeline=pipeline,
        stages=stages,
        settings=settings,
        env=_where(stages),
        description=f"Deploys {app.name}, first to {stages[0].stage.name}",
    )


def _where(stages: Sequence[Prepared]) -> cdk.Environment:
    """Where the first stage is. Artifacts are copied to other regions by the name of the account."""
    first, regions = stages[0].stage, {it.stage.region for it in stages}
    account = first.account or (os.environ.get("CDK_DEFAULT_ACCOUNT") if len(regions) > 1 else None)
    if len(regions) > 1 and not (account and first.region):
        raise Misuse(f"The stages are in several regions: say `region=` and `account=` of stage {first.name}.")
    return cdk.Environment(account=account, region=first.region)


def _said(setting: Env) -> str:
    value = os.environ.get(setting.name) or setting.default
    if not value:
        raise Misuse(f"{setting.name} is not set, which the pipeline's `source=` names: set it, then synthesize again.")
    return value


def _runtimes(**versions: str) -> pipelines.CodeBuildOptions:
    spec = {"phases": {"install": {"runtime-versions": versions}}}
    return pipelines.CodeBuildOptions(
        build_environment=codebuild.BuildEnvironment(build_image=IMAGE),
        partial_build_spec=codebuild.BuildSpec.from_object(spec),
    )


def _python(app: App) -> str:
    """The version that functions run on, if it is there: only that can write their bytecode."""
    minor = app.runtime.removeprefix("python")
    return minor if minor in PYTHONS else PYTHONS[-1]
