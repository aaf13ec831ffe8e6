"""What is said while the CDK CLI deploys, from lines that it really printed."""

from __future__ import annotations

from headgate.cdk.progress import Progress, without_noise

DEPLOYED = """\
85 feature flags are not configured. Run 'cdk flags --unstable=flags' to learn more.
✨  Synthesis time: 3.08s
try-dev-data: start: Building try-dev-data Template
try-dev-data: creating CloudFormation changeset...
try-dev-data: deploying... [1/1]
try-dev-data | 0/4 | 5:34:47 AM | CREATE_IN_PROGRESS      | AWS::CloudFormation::Stack | try-dev-data
try-dev-data | 0/4 | 5:34:47 AM | CREATE_IN_PROGRESS      | AWS::DynamoDB::Table       | Notes (Notes5BB3582F)
try-dev-data | 1/4 | 5:34:47 AM | CREATE_COMPLETE         | AWS::DynamoDB::Table       | Notes (Notes5BB3582F)
try-dev-data | 1/4 | 5:34:47 AM | CREATE_COMPLETE         | AWS::DynamoDB::Table       | Notes (Notes5BB3582F)
try-dev-data | 2/4 | 5:34:47 AM | CREATE_COMPLETE         | AWS::CDK::Metadata         | CDKMetadata (CDKMetadata)
try-dev-data | 3/4 | 5:34:47 AM | UPDATE_COMPLETE         | AWS::S3::Bucket            | Bodies/Resource (Bodies12)
try-dev-data | 4/4 | 5:34:47 AM | CREATE_COMPLETE         | AWS::CloudFormation::Stack | try-dev-data
✅  try-dev-data
"""

FAILED = """\
try-dev-data: deploying... [1/1]
try-dev-data | 0/5 | 5:34:50 AM | UPDATE_IN_PROGRESS      | AWS::SQS::Queue            | Bad
try-dev-data | 1/5 | 5:34:50 AM | UPDATE_ROLLBACK_COMPLET | AWS::CloudFormation::Stack | try-dev-data
try-dev-data | 2/5 | 5:34:50 AM | UPDATE_ROLLBACK_IN_PROG | AWS::CloudFormation::Stack | try-dev-data The following resource(s) failed to create: [Bad].
try-dev-data | 2/5 | 5:34:50 AM | CREATE_FAILED           | AWS::S3::Bucket            | Other (Other1) Resource creation cancelled
try-dev-data | 2/5 | 5:34:50 AM | CREATE_FAILED           | AWS::SQS::Queue            | Bad The name of a FIFO queue must end with .fifo suffix.

Failed resources:
try-dev-data | 5:34:50 AM | CREATE_FAILED           | AWS::SQS::Queue            | Bad The name of a FIFO queue must end with .fifo suffix.
❌  try-dev-data failed to deploy
‣ DeploymentError: Resource updates failed:
try-dev-data/Bad  (AWS::SQS::Queue Bad)
Source Location: ...jsii runtime, node internals...
                 (no user code in 10 frames, use --stack-trace-limit to capture more)
"""  # noqa: E501 - as it was printed

NOT_BOOTSTRAPPED = """\
current credentials could not be used to assume 'arn:aws:iam::111122223333:role/cdk-hnb659fds-deploy-role'.
try-dev-data: SSM parameter /cdk-bootstrap/hnb659fds/version not found in aws://111122223333/us-west-2. Has the environment been bootstrapped? Please run 'cdk bootstrap'
‣ SsmParameterNotFound: SSM parameter /cdk-bootstrap/hnb659fds/version not found in aws://111122223333/us-west-2. Has the environment been bootstrapped? Please run 'cdk bootstrap'
"""  # noqa: E501 - as it was printed


def heard(printed: str) -> tuple[list[str], Progress]:
    said: list[str] = []
    progress = Progress(said.append)
    for line in printed.splitlines(keepends=True):
        progress.hear(line)
    return said, progress


def test_each_resource_is_one_line_and_is_told_once() -> None:
    said, _ = heard(DEPLOYED)

    assert said == [
        "try-dev-data      1/4  created  DynamoDB Table Notes",
        "try-dev-data      3/4  changed  S3 Bucket Bodies",
    ]


def test_a_failure_is_the_resource_and_the_reason_that_aws_gives_in_one_sentence() -> None:
    _, progress = heard(FAILED)

    assert progress.reason == (
        "SQS Queue Bad of try-dev-data could not be created: The name of a FIFO queue must end with .fifo suffix."
    )


def test_an_account_that_is_not_prepared_is_told_how_to_do_it() -> None:
    _, progress = heard(NOT_BOOTSTRAPPED)

    assert progress.reason == (
        "aws://111122223333/us-west-2 is not prepared for the CDK yet; once is enough: `headgate deploy --bootstrap`."
    )


def test_without_credentials_it_says_how_to_get_some() -> None:
    _, progress = heard("Need to perform AWS calls for account 1, but no credentials have been configured\n")
    assert progress.reason == "The CDK CLI does not say why."

    _, progress = heard("‣ AuthenticationError: Need to perform AWS calls, but no credentials have been configured\n")
    assert progress.reason.startswith("There are no AWS credentials: ")


def test_a_diff_that_cannot_tell_the_account_has_a_cause_though_it_is_not_marked_as_one() -> None:
    _, progress = heard("Unable to resolve AWS account to use. It must be either configured when you define it\n" * 2)

    assert progress.has_cause
    assert progress.reason.startswith("There are no AWS credentials: ")


def test_what_the_apps_own_program_says_is_passed_on_with_its_exit_code() -> None:
    _, progress = heard("app.py:3: there is no X\npython -m headgate.cdk: Subprocess exited with error 2\n")

    assert (progress.reason, progress.code) == ("app.py:3: there is no X", 2)


def test_a_traceback_of_that_program_is_its_last_line() -> None:
    told = 'Traceback (most recent call last):\n  File "app.py", line 1, in <module>\nKeyError: 1\n'
    _, progress = heard(f"{told}python app.py: Subprocess exited with error 1\n")

    assert progress.reason == "KeyError: 1"


def test_colors_do_not_hide_anything() -> None:
    said, _ = heard("\x1b[1mtry\x1b[0m | 1/4 | 5:34:47 AM | CREATE_COMPLETE | AWS::SQS::Queue | Q (Q1)\n")

    assert said == ["try      1/4  created  SQS Queue Q"]


def test_a_diff_is_shown_without_what_is_not_about_the_app() -> None:
    assert without_noise("start: Building try-dev-data Template") is None
    assert without_noise("[+] AWS::SQS::Queue Q") == "[+] AWS::SQS::Queue Q"
