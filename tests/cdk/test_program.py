"""`python -m headgate.cdk`, as a cdk.json starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import aws_cdk as cdk
import pytest

from headgate.cdk.program import add_app, wishes_of
from headgate.errors import Misuse
from tests.cdk.stacks import Synthesized, Template

APP = """\
from headgate import App, Public

app = App("desk")
app.channel("/notes", auth=Public())
app.stage("test", packaging="image", tags={"team": "desk"})
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "desk"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    return folder


@pytest.fixture(autouse=True)
def _settled(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cache, with the tests of packaging; no stage of the outside; and no trace of an app that was loaded."""
    monkeypatch.setenv("HEADGATE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("HEADGATE_STAGE", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "app", sys)


def make(project: Path, **context: str) -> Synthesized:
    """What the program makes in a folder, by what is said with -c."""
    root = cdk.App(context={"app": str(project), **context}, outdir=str(project / "cdk.out"))
    stacks = add_app(root, wishes_of(root))
    root.synth()
    data, service = (
        Template(stack.stack_name, project / "cdk.out" / f"{stack.stack_name}.template.json") for stack in stacks
    )
    return Synthesized(data, service, project / "cdk.out")


def test_it_synthesizes_for_dev_unless_a_stage_is_said(project: Path) -> None:
    made = make(project, nag="true")
    assert (made.data.name, made.service.name) == ("desk-dev-data", "desk-dev-service")
    (function,) = made.service.properties("AWS::Lambda::Function")
    told = function["Environment"]["Variables"]
    assert (told["HEADGATE_APP"], told["HEADGATE_STAGE"]) == ("app:app", "dev")
    assert (function["Runtime"], function["Architectures"]) == ("python3.13", ["arm64"])


def test_the_context_says_which_stage_and_what_to_make_instead_of_what_is_declared(project: Path) -> None:
    here = "python{}.{}".format(*sys.version_info)
    made = make(project, stage="test", packaging="zip", runtime=here, architecture="x86_64")
    assert made.service.name == "desk-test-service"
    (function,) = made.service.properties("AWS::Lambda::Function")
    assert (function["Runtime"], function["Architectures"]) == (here, ["x86_64"])
    assert {"Key": "team", "Value": "desk"} in function["Tags"]


def test_the_app_is_loaded_as_the_stage_that_is_made(project: Path) -> None:
    (project / "app.py").write_text(APP.replace('"/notes"', 'f"/notes-of-{stage()}"').replace("App,", "App, stage,"))
    made = make(project, stage="test", packaging="zip")
    assert "NotesOfTestUrl" in made.service.body["Outputs"]


def test_a_stage_may_be_made_of_images(project: Path) -> None:
    made = make(project, stage="test")
    assets = json.loads((made.folder / f"{made.service.name}.assets.json").read_text())
    (image,) = assets["dockerImages"].values()
    folder = made.folder / image["source"]["directory"]
    assert (folder / "Dockerfile").read_text().startswith("FROM public.ecr.aws/lambda/python:3.13-arm64")
    assert (folder / "code" / "app.py").is_file()


@pytest.mark.parametrize(
    ("context", "sentence"),
    [
        ({"app": "nowhere"}, "nowhere is neither a folder with app.py, nor a Python file, nor module:app."),
        ({"stage": "prod"}, "There is no stage 'prod'; the app has test."),
        ({"architecture": "mips"}, "What was said with -c: `architecture=` is 'mips'; say one of arm64, x86_64."),
        ({"runtime": "node"}, "What was said with -c: `runtime=` is 'node'; say one of python3.11"),
        ({"packaging": "tar"}, 'What was said with -c: `packaging=` is \'tar\'; say "zip" or "image".'),
    ],
)
def test_what_cannot_be_is_one_sentence(project: Path, context: dict[str, str], sentence: str) -> None:
    with pytest.raises(Misuse) as told:
        make(project, **context)
    assert str(told.value).startswith(sentence)


def test_more_channels_than_a_stack_holds_are_refused(project: Path) -> None:
    many = 'for n in range(60):\n    app.channel(f"/more{n}", auth=Public(), read=True)\n'
    (project / "app.py").write_text(APP + many)
    with pytest.raises(Misuse, match="resources, and CloudFormation takes 500 in one stack: split the app in two"):
        make(project)


def test_a_user_gets_a_line_of_the_app_and_no_traceback(project: Path) -> None:
    (project / "app.py").write_text(APP.replace('"/notes", auth=Public()', '"/notes"'))
    environment = {name: value for name, value in os.environ.items() if name != "JSII_NODE"}
    done = subprocess.run(
        [sys.executable, "-m", "headgate.cdk"], cwd=project, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("app.py:4: channel /notes: say who may post")
    assert "Traceback" not in done.stderr
