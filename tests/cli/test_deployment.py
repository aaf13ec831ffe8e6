"""headgate synth, deploy and their like, as far as they go without AWS; tests/aws has the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from headgate.cdk.toolkit import pinned
from tests.cli.shell import run

NO_AWS = {
    "AWS_ACCESS_KEY_ID": "",
    "AWS_SECRET_ACCESS_KEY": "",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "HEADGATE_STAGE": "",
}
SOME = {"AWS_ACCESS_KEY_ID": "some", "AWS_SECRET_ACCESS_KEY": "some"}
STAGES = '\napp.stage("prod", region="eu-west-1")\n'


def without(package: str, folder: Path, *words: str) -> tuple[int, str]:
    """Run a command where a package is not installed: exit code and what it says."""
    program = f"import sys; sys.modules[{package!r}] = None; from headgate.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=folder,
        env={**os.environ, **NO_AWS},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def test_synth_writes_the_templates_and_says_how_large_the_layer_is(desk: Path) -> None:
    done = run(desk, "synth", "--stage", "test", "--output", "build", env=NO_AWS)

    assert done.code == 0, done.err
    assert {path.name for path in (desk / "build").glob("*.template.json")} == {
        "desk-test-data.template.json",
        "desk-test-service.template.json",
    }
    stacks, layer = done.out.splitlines()[:2], done.out.splitlines()[2]
    assert [line.split()[0] for line in stacks] == ["desk-test-data", "desk-test-service"]
    assert layer.startswith("layer  ")
    assert layer.endswith(" MB of at most 262 MB")
    assert not (desk / "cdk.out").exists()


def test_what_the_cdk_takes_as_context_can_be_said_too(desk: Path) -> None:
    done = run(desk, "synth", "-c", "packaging=image", "--context", "architecture=x86_64", env=NO_AWS)

    assert done.code == 0, done.err
    assert "layer" not in done.out
    told = (desk / "cdk.out" / "desk-dev-service.assets.json").read_text()
    assert "linux/amd64" in told
    for wrong, sentence in (
        ("packaging", "say NAME=VALUE, as in packaging=zip."),
        ("stage=prod", "say --stage instead."),
    ):
        done = run(desk, "synth", "-c", wrong, env=NO_AWS)
        assert done.code == 2
        assert sentence in done.err


def test_where_images_cannot_be_built_nothing_is_deployed_and_the_doctor_knows(desk: Path) -> None:
    (desk / "app.py").write_text((desk / "app.py").read_text().replace('"desk")', '"desk", packaging="image")', 1))
    without_docker = {**NO_AWS, "CDK_DOCKER": "no-such-program"}
    sentence = (
        "Container images take no-such-program, which is not installed: install it, or have zips made instead: "
        "`-c packaging=zip`."
    )

    done = run(desk, "deploy", "--log-role", env=without_docker)
    found = run(desk, "doctor", env=without_docker)

    assert (done.code, done.err.splitlines()[-1]) == (2, sentence)
    assert found.code == 1
    assert f"missing  images    {sentence}" in found.out


def test_the_projects_own_program_goes_first_and_its_failure_is_told(desk: Path) -> None:
    (desk / "own.py").write_text("import sys; sys.exit('own.py: not today')")
    (desk / "cdk.json").write_text('{"app": "python own.py"}')

    done = run(desk, "synth", env=NO_AWS)

    assert (done.code, done.err.splitlines()[-1]) == (1, "own.py: not today")


@pytest.mark.parametrize("command", ["synth", "diff", "deploy", "destroy", "outputs"])
def test_what_is_wrong_with_the_app_is_told_before_anything_is_done(desk: Path, command: str) -> None:
    (desk / "app.py").write_text("from headgate import App\n\napp = App('desk')\n")

    done = run(desk, command, env=NO_AWS)

    assert done.code == 2
    assert done.err == "app.py:3: the app has no channel: declare one with app.channel(path, ...).\n"


@pytest.mark.parametrize("command", ["synth", "outputs"])
def test_a_stage_that_the_app_does_not_have_is_refused(desk: Path, command: str) -> None:
    (desk / "app.py").write_text((desk / "app.py").read_text() + STAGES)

    done = run(desk, command, "--stage", "prd", env=NO_AWS)

    assert (done.code, done.err) == (2, "There is no stage 'prd'; the app has prod.\n")


@pytest.mark.parametrize(
    "words",
    [
        ("outputs",),
        ("destroy", "--yes"),
        ("messages", "list", "--stage", "dev"),
        ("send", "notes", "{}", "--stage", "dev"),
        ("token", "orders", "--stage", "dev"),
        ("keys", "list", "--stage", "dev"),
        ("keys", "create", "keyed", "--stage", "dev"),
    ],
)
def test_without_credentials_it_says_how_to_get_some(desk: Path, words: tuple[str, ...]) -> None:
    done = run(desk, *words, env=NO_AWS)

    assert done.code == 2
    assert done.err == (
        "There are no AWS credentials: log in (`aws sso login`), or set AWS_PROFILE or AWS_ACCESS_KEY_ID.\n"
    )


def test_where_aws_cannot_be_reached_it_says_so(desk: Path) -> None:
    done = run(desk, "outputs", env={**NO_AWS, **SOME, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"})

    assert done.code == 1
    assert done.err.startswith("AWS cannot be reached: ")


def test_without_the_extras_it_says_which_to_install(desk: Path) -> None:
    assert without("botocore", desk, "outputs") == (2, "Asking AWS needs its SDK: `pip install 'headgate[aws]'`.\n")
    assert without("aws_cdk", desk, "synth") == (2, "Deploying needs the CDK: `pip install 'headgate[cdk]'`.\n")


def test_api_keys_of_a_deployed_app_are_not_shown_but_made(desk: Path) -> None:
    done = run(desk, "token", "keyed", "--stage", "prod", env=NO_AWS)

    assert done.code == 2
    assert "`headgate keys create keyed --stage prod`" in done.err


def test_the_doctor_names_what_is_here_and_is_content(desk: Path) -> None:
    done = run(desk, "doctor", "--json", env=NO_AWS)

    found = {finding["what"]: finding for finding in json.loads(done.out)}
    assert done.code == 0
    assert list(found) == ["Python", "Node.js", "CDK", "CDK CLI", "uv", "bytecode"]
    assert found["CDK CLI"]["told"] == pinned()


def test_the_doctor_misses_what_synth_would_refuse_to_do_without(desk: Path) -> None:
    code, told = without("aws_cdk", desk, "doctor")

    assert code == 1
    assert "missing  CDK       Deploying needs the CDK: `pip install 'headgate[cdk]'`.\n" in told


def test_without_uv_the_doctor_says_so_once_and_blames_nothing_else(desk: Path) -> None:
    alone = str(desk / "empty")
    program = "import sys; sys.modules['uv'] = None; from headgate.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "doctor", "--json"],
        cwd=desk,
        env={**os.environ, **NO_AWS, "PATH": alone},
        capture_output=True,
        text=True,
    )

    missing = [finding["what"] for finding in json.loads(done.stdout) if finding["state"] == "missing"]
    assert (done.returncode, missing) == (1, ["uv"])


def test_the_doctor_says_what_is_missing_in_the_account_and_exits_with_1(desk: Path) -> None:
    done = run(desk, "doctor", "--aws", env=NO_AWS)

    assert done.code == 1
    assert "missing  credentials  There are no AWS credentials" in done.out


PIPELINE = """
from headgate import CodeCommit
app.pipeline(CodeCommit("desk"), ["test", "prod"])
"""
OWN = """\
import aws_cdk as cdk
from headgate.cdk.program import add_app, wishes_of

root = cdk.App()
add_app(root, wishes_of(root))
root.synth()
"""


def test_synth_writes_the_pipeline_where_one_is_declared(desk: Path) -> None:
    none = run(desk, "synth", "--pipeline", env=NO_AWS)
    (desk / "app.py").write_text((desk / "app.py").read_text() + PIPELINE)
    done = run(desk, "synth", "--pipeline", env=NO_AWS)

    assert (none.code, none.err) == (2, "desk declares no pipeline: say app.pipeline(source, stages) in it.\n")
    assert done.code == 0, done.err
    assert done.out.startswith("desk-pipeline  ")
    assert "Packing and synthesizing desk, its pipeline ..." in done.err


def test_a_program_of_ones_own_that_makes_no_pipeline_is_told_so(desk: Path) -> None:
    (desk / "app.py").write_text((desk / "app.py").read_text() + PIPELINE)
    (desk / "infra.py").write_text(OWN)
    (desk / "cdk.json").write_text('{"app": "python infra.py"}')

    done = run(desk, "synth", "--pipeline", env=NO_AWS)

    assert done.code == 2
    assert "The program in cdk.json makes no pipeline: call headgate.cdk.pipeline.add_pipeline in it." in done.err
