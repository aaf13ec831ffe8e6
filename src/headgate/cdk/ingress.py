"""The way in: one REST API for the app, with a path, methods, an authorizer and a throttle for each channel."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from headgate.cdk import outputs
from headgate.cdk.acknowledged import acknowledge
from headgate.cdk.arrivals import Arrivals, other_methods
from headgate.cdk.functions import log_group
from headgate.cdk.responses import add_gateway_answers
from headgate.declare.app import App
from headgate.declare.auth import Iam, Jwt, Public, Signed
from headgate.declare.channel import Channel
from headgate.declare.stage import Stage

API_STAGE = "prod"
"""API Gateway's own stage, whatever headgate's is: its name is part of the URL."""

CACHE_S = 60
"""How long a decision about a token is good for, at most."""

# CDK's flag for an API that is deployed anew when only its authorizers have changed.
_DEPLOY_ANEW = "@aws-cdk/aws-apigateway:authorizerChangeDeploymentLogicalId"

_ACCESS_LOG = {
    "requestTime": "requestTime",
    "requestId": "requestId",
    "httpMethod": "httpMethod",
    "path": "path",
    "resourcePath": "resourcePath",
    "status": "status",
    "responseLatency": "responseLatency",
    "errorType": "error.responseType",
}


@dataclass(frozen=True, slots=True)
class Handlers:
    """What serves one channel: `ingest`; or `unread`, the queue that its messages go to unread. `authorizer` is None
    for Public, Signed and Iam, which need none."""

    ingest: lambda_.IFunction | None = None
    query: lambda_.IFunction | None = None
    authorizer: apigateway.IAuthorizer | None = None
    unread: sqs.IQueue | None = None

    @property
    def function(self) -> lambda_.IFunction | None:
        """One that knows the channel's methods."""
        return self.ingest or self.query


class TokenAuthorizer(Construct):
    """Lets senders in by what they send, through a function that answers with a policy.

    Decisions about tokens are kept for up to a minute, by token. Keys may come in one of two headers, and a function
    of the user's may look at anything, so those are asked every time; a removed key is refused at once. `name` is its
    own within the API.
    """

    def __init__(
        self, scope: Construct, id: str, *, auth: object, function: lambda_.IFunction, name: str | None = None
    ) -> None:
        super().__init__(scope, id)
        self.node.set_context(_DEPLOY_ANEW, True)
        cached = isinstance(auth, Jwt)
        self.authorizer = apigateway.RequestAuthorizer(
            self,
            "Authorizer",
            authorizer_name=name,
            handler=function,
            identity_sources=[apigateway.IdentitySource.header("Authorization")] if cached else [],
            results_cache_ttl=Duration.seconds(CACHE_S if cached else 0),
        )


class Ingress(Construct):
    """The REST API of an app. `handlers` has an entry for each of its channels, by name.

    Its throttles are API Gateway's. What API Gateway answers itself has the shape of our problems. Bytes come
    through as they were sent.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        app: App,
        stage: Stage,
        handlers: Mapping[str, Handlers],
    ) -> None:
        super().__init__(scope, id)
        self.access_log = log_group(self, "AccessLog", stage)
        self.api = apigateway.RestApi(
            self,
            "Api",
            rest_api_name=stage.names.get("api", f"{app.name}-{stage.name}"),
            description=f"{app.title}, stage {stage.name}",
            endpoint_types=[apigateway.EndpointType.REGIONAL],
            binary_media_types=["*/*"],
            cloud_watch_role=stage.account_log_role,
            cloud_watch_role_removal_policy=RemovalPolicy.RETAIN if stage.account_log_role else None,
            deploy_options=apigateway.StageOptions(
                stage_name=API_STAGE,
                access_log_destination=apigateway.LogGroupLogDestination(self.access_log),
                access_log_format=_access_log_format(),
                logging_level=apigateway.MethodLoggingLevel.ERROR,
                data_trace_enabled=False,
                method_options=_methods(app),
            ),
        )
        self.api.node.try_remove_child("Endpoint")  # an output with a name that nobody could tell beforehand
        for channel in app.channels:
            _add_channel(self.api, channel, handlers[channel.name])
        if any(isinstance(channel.auth, Iam) for channel in app.channels):
            _add_unknown(self.api, next(filter(None, (handlers[it.name].function for it in app.channels)), None))
        add_gateway_answers(self.api, app)
        self._acknowledge(stage)

    def url(self, channel: Channel) -> str:
        """Where to post to a channel."""
        return self.api.url_for_path(channel.path)

    def _acknowledge(self, stage: Stage) -> None:
        acknowledge(
            self.api,
            "AwsSolutions-APIG2",
            "The function validates, and tells all faults of a body at once; API Gateway would tell the first.",
        )
        acknowledge(
            self.api.deployment_stage,
            "AwsSolutions-APIG3",
            "A web ACL costs a monthly fee and is about addresses; put one on the API where you want it.",
        )
        if stage.account_log_role:
            acknowledge(
                self.api,
                "AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/"
                "AmazonAPIGatewayPushToCloudWatchLogs]",
                "It is the policy that AWS keeps for this one role of the account.",
            )


def _add_channel(api: apigateway.RestApi, channel: Channel, handlers: Handlers) -> None:
    at: apigateway.IResource = api.root if channel.path == "/" else api.root.resource_for_path(channel.path)
    guard = _Guard(channel, handlers.authorizer)
    if handlers.unread is not None:
        arrivals = Arrivals(api, f"{outputs.pascal(channel.name)}Arrivals", channel=channel, queue=handlers.unread)
        guard.add(at, "POST", arrivals.integration, arrivals.responses)
    elif handlers.ingest is not None:
        guard.add(at, "POST", _integration(handlers.ingest))
    if handlers.function is None:
        _add_rest_without_function(at, channel)
    else:
        _add_rest(at, channel, _integration(handlers.function))
    if channel.read and handlers.query is not None:
        query = _integration(handlers.query)
        one = at.add_resource("{key}")
        timeline = one.add_resource("timeline")
        for found in (one, timeline, at) if channel.indexes else (one, timeline):
            for method in ("GET", "HEAD"):
                guard.add(found, method, query)
        for found in (one, timeline):
            _add_rest(found, channel, query)


class _Guard:
    """Adds methods that ask for the credentials of a channel."""

    def __init__(self, channel: Channel, authorizer: apigateway.IAuthorizer | None) -> None:
        self._auth = channel.auth
        self._authorizer = authorizer

    def add(
        self,
        at: apigateway.IResource,
        method: str,
        integration: apigateway.Integration,
        responses: list[apigateway.MethodResponse] | None = None,
    ) -> None:
        """`responses` are said where API Gateway makes the reply itself."""
        match self._auth:
            case Public():
                _add_open(at, method, integration, "The channel is declared Public().", responses)
                return
            case Signed():
                because = "The function verifies the signature: it is one of the body, which no authorizer gets."
                _add_open(at, method, integration, because, responses)
                return
            case Iam():
                made = at.add_method(
                    method,
                    integration,
                    authorization_type=apigateway.AuthorizationType.IAM,
                    method_responses=responses,
                )
            case _ if self._authorizer is None:
                raise ValueError(f"{method} of a channel with {self._auth} has no authorizer")
            case _:
                made = at.add_method(
                    method,
                    integration,
                    authorizer=self._authorizer,
                    authorization_type=apigateway.AuthorizationType.CUSTOM,
                    method_responses=responses,
                )
        acknowledge(made, "AwsSolutions-COG4", "The app declares who may post, and its senders are no Cognito users.")


def _add_rest(at: apigateway.IResource, channel: Channel, integration: apigateway.Integration) -> None:
    """What a browser asks beforehand, and every other method: the gate answers 204 or 405, and does nothing else."""
    for method in ("OPTIONS", "ANY") if channel.cors is not None else ("ANY",):
        _add_open(at, method, integration, "It only tells which methods there are.")


def _add_rest_without_function(at: apigateway.IResource, channel: Channel) -> None:
    integration, responses = other_methods(channel)
    _add_open(at, "ANY", integration, "It only tells which methods there are.", responses)
    if channel.cors is not None:
        asked = at.add_cors_preflight(
            allow_origins=[*channel.cors.origins],
            allow_headers=[*channel.cors.headers],
            allow_methods=["POST"],
            max_age=Duration.seconds(channel.cors.max_age_s),
        )
        _acknowledge_open(asked, "It only tells which methods there are.")


def _add_unknown(api: apigateway.RestApi, function: lambda_.IFunction | None) -> None:
    """Where a signature may be missing, API Gateway cannot tell that from an address it does not know: the gate tells
    404. Only `/{key}` of a channel at `/` leaves no room for that; there, deeper unknown addresses are 403, as they
    are where there is no function."""
    if function is None:
        return
    if api.root.get_resource("{key}") is None:
        rest = api.root.add_resource("{proxy+}")
        _add_open(rest, "ANY", _integration(function), "It only tells that there is nothing.")
    if api.root.node.try_find_child("POST") is None:
        _add_open(api.root, "ANY", _integration(function), "It only tells that there is nothing.")


def _add_open(
    at: apigateway.IResource,
    method: str,
    integration: apigateway.Integration,
    because: str,
    responses: list[apigateway.MethodResponse] | None = None,
) -> None:
    made = at.add_method(
        method, integration, authorization_type=apigateway.AuthorizationType.NONE, method_responses=responses
    )
    _acknowledge_open(made, because)


def _acknowledge_open(made: apigateway.Method, because: str) -> None:
    acknowledge(made, "AwsSolutions-APIG4", because)
    acknowledge(made, "AwsSolutions-COG4", because)


def _integration(function: lambda_.IFunction) -> apigateway.LambdaIntegration:
    # One permission for all methods of this API; each for itself they would fill the stack before the app does.
    return apigateway.LambdaIntegration(function, scope_permission_to_method=False)


def _methods(app: App) -> dict[str, apigateway.MethodDeploymentOptions]:
    """A POST's own settings replace those of the whole API, so what is logged is said again. Where alarms are told,
    errors are counted by method."""
    counted = any(topic.alarms for topic in app.topics)
    return {
        f"{channel.path}/POST": apigateway.MethodDeploymentOptions(
            throttling_rate_limit=None if channel.throttle is None else channel.throttle.rate_per_s,
            throttling_burst_limit=None if channel.throttle is None else channel.throttle.burst,
            logging_level=apigateway.MethodLoggingLevel.ERROR,
            data_trace_enabled=False,
            metrics_enabled=True if counted else None,
        )
        for channel in app.channels
        if counted or channel.throttle is not None
    }


def _access_log_format() -> apigateway.AccessLogFormat:
    return apigateway.AccessLogFormat.custom(
        json.dumps({name: f"$context.{field}" for name, field in _ACCESS_LOG.items()})
    )
