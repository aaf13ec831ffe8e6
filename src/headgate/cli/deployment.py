"""Deploying an app with the CDK CLI: what synth, diff, deploy and destroy have in common."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headgate.cli.place import Place
from headgate.declare.stage import stage as current_stage
from headgate.errors import Misuse, NotDone

if TYPE_CHECKING:
    from headgate.cdk.assembly import Assembly
    from headgate.cdk.progress import Progress

OUTPUTS_FILE = "outputs.json"

stage_option = click.option(
    "--stage", default=current_stage, metavar="NAME", help="Which stage.  [default: HEADGATE_STAGE, else dev]"
)


def _said(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    for each in value:
        name, equals, _ = each.partition("=")
        if not name or not equals:
            raise click.BadParameter("say NAME=VALUE, as in packaging=zip.", context, parameter)
        if name in ("app", "stage"):
            raise click.BadParameter(f"say --{name} instead.", context, parameter)
    return value


context_option = click.option(
    "-c",
    "--context",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_said,
    help="As with the CDK's own commands: packaging=zip, runtime=..., architecture=...; may be repeated.",
)


pipeline_option = click.option(
    "--pipeline", is_flag=True, help="The pipeline that deploys the stages, in place of one of them."
)
_PIPELINE = "pipeline=true"


@dataclass(frozen=True)
class Deployment:
    """An app in a stage, or its pipeline, about to be deployed or removed. `place` is one of that stage; `context` is
    what the app's program is told besides."""

    place: Place
    context: tuple[str, ...] = ()

    @property
    def project(self) -> Path:
        """The folder that the CDK CLI is run in."""
        return self.place.app_folder

    @property
    def assembly_folder(self) -> Path:
        """Where the templates are written unless another folder is said."""
        return self.project / "cdk.out"

    def synthesize(self, folder: Path | None = None, *context: str) -> Assembly:
        """Write the templates. What is wrong with the app is told as every command tells it, before anything else.

        `context` is what the program is told this time, as in `log_role=true`.
        """
        from headgate.cdk.assembly import Assembly
        from headgate.cdk.outputs import pipeline_stack
        from headgate.cdk.progress import Progress

        self.place.app.stage_named(self._stage)
        if _PIPELINE in self.context and not self.place.app.pipelines:
            raise Misuse(f"{self.place.app.name} declares no pipeline: say app.pipeline(source, stages) in it.")
        target = folder or self.assembly_folder
        words = ["synth", "--quiet", "--output", str(target), "--context", f"app={self._target()}"]
        words += ["--context", f"stage={self._stage}", *self._program()]
        for said in (*self.context, *context):
            words += ["--context", said]
        what = "its pipeline" if _PIPELINE in self.context else f"stage {self._stage}"
        click.echo(f"Packing and synthesizing {self.place.app.name}, {what} ...", err=True)
        progress = Progress()
        self._run(words, progress)
        for line in progress.remarks:
            click.echo(line, err=True)
        assembly = Assembly(target)
        if _PIPELINE in self.context and pipeline_stack(self.place.app) not in {it.name for it in assembly.stacks}:
            raise Misuse("The program in cdk.json makes no pipeline: call headgate.cdk.pipeline.add_pipeline in it.")
        return assembly

    def run(self, *words: str) -> None:
        """Run a command of the CDK CLI on the templates that were written, telling on stderr what it does. Raises
        NotDone with the reason."""
        from headgate.cdk.progress import Progress

        try:
            self._run([*words, "--app", str(self.assembly_folder)], Progress(_say, _hint))
        finally:
            _hint("")

    def show(self, *words: str) -> int:
        """Run a command of the CDK CLI whose output is the answer. Its exit code."""
        from headgate.cdk.progress import Progress, without_noise

        progress = Progress()
        shown = []

        def hear(line: str) -> None:
            progress.hear(line)
            if (kept := without_noise(line)) is not None:
                shown.append(kept)

        code = self._call([*words, "--app", str(self.assembly_folder)], hear)
        if code not in (0, 1) or (code == 1 and progress.has_cause):
            raise NotDone(progress.reason)
        print("".join(shown).strip("\n"))
        return code

    @property
    def _stage(self) -> str:
        return self.place.stage or current_stage()

    def _run(self, words: Sequence[str], progress: Progress) -> None:
        if self._call(words, progress.hear):
            raise (Misuse if progress.code == 2 else NotDone)(progress.reason)

    def _call(self, words: Sequence[str], hear: Callable[[str], None]) -> int:
        from headgate.cdk.toolkit import run

        return run(self.project, words, hear)

    def _target(self) -> str:
        """The app, as the program finds it that the CDK CLI starts in the project's folder."""
        path, colon, attribute = self.place.target.partition(":")
        return f"{Path(path).resolve()}{colon}{attribute}" if Path(path).exists() else self.place.target

    def _program(self) -> list[str]:
        """The project's own program goes first: cdk.json names it."""
        try:
            said = json.loads((self.project / "cdk.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            said = {}
        except ValueError as error:
            raise Misuse(f"{self.project / 'cdk.json'} is not JSON: {error}.") from None
        return [] if "app" in said else ["--app", f"{shlex.quote(sys.executable)} -m headgate.cdk"]


def _say(line: str) -> None:
    _hint("")
    click.echo(line, err=True)


def _hint(line: str) -> None:
    """What stands at the end of a terminal until the next line comes; nothing where nobody looks."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{line[:100]}", nl=False, err=True)


def need_cdk() -> None:
    """Raises Misuse where the extra `cdk` is not installed."""
    if find_spec("aws_cdk") is None:
        raise Misuse("Deploying needs the CDK: `pip install 'headgate[cdk]'`.")


def deployment(place: Place, context: tuple[str, ...] = (), *, pipeline: bool = False) -> Deployment:
    """The deployment of an app in the stage that was said, or of its pipeline.

    Raises Misuse where the extra `cdk` is not installed.
    """
    need_cdk()
    return Deployment(place, (*context, _PIPELINE) if pipeline else context)
