"""Tasks, the functions that workflows call; and workflows, as an app declares them.

The language itself is loaded where a document is looked at: most functions of an app run none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from headgate.declare.handler import Needs
from headgate.declare.settings import Env, Secret
from headgate.declare.shape import FLAG, TEXT, misfits
from headgate.declare.source import caller, folder_of_caller
from headgate.errors import DeclarationError, DeclarationFault

if TYPE_CHECKING:
    from headgate.declare.compile import Machine
    from headgate.declare.table import Table
    from headgate.declare.workflow import Step

    Definition = Step | Mapping[str, Any] | str | Path

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_ARNS = {
    "task": "arn:aws:lambda:us-east-1:000000000000:function:{}",
    "topic": "arn:aws:sns:us-east-1:000000000000:{}",
    "archive": "{}",
    "queue": "https://sqs.us-east-1.amazonaws.com/000000000000/{}",
    "table": "{}",
}


def local_name(kind: str, name: str) -> str:
    """What stands for a task, a topic, an archive, a queue or a table in a document that the local engine runs."""
    return _ARNS[kind].format(name)


class Task:
    """A function that workflows call; made by `App.task`, and itself still that function.

    It is handed JSON, and returns JSON; it may be `async def`. Behind the semicolon stands what is meant if left out.

    - `name`: what workflows call it; the function's name
    - `timeout_s`: after so many seconds it is stopped, and has failed; 30
    - `memory_mb`: how much memory it has on AWS; 512
    - `env`: its environment variables, text or `Env`; none
    - `secrets`: the Secrets it reads from its environment; none
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        *,
        name: str = "",
        timeout_s: float = 30,
        memory_mb: int = 512,
        env: Mapping[str, str | Env] | None = None,
        secrets: tuple[Secret, ...] | list[Secret] = (),
    ) -> None:
        self.where = caller()
        self.function = function
        self.name = name or str(getattr(function, "__name__", ""))
        self.needs = Needs(timeout_s, memory_mb, env or {}, tuple(secrets))

    def __call__(self, given: Any) -> Any:
        return self.function(given)

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    def settings(self) -> Iterator[Secret | Env]:
        """Every setting it refers to."""
        yield from self.needs.secrets
        yield from (value for value in self.needs.env.values() if isinstance(value, Env))

    def sentences(self) -> Iterator[str]:
        """What of it cannot be honoured."""
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            yield "a name is 1 to 64 letters, digits, _ and -, and starts with a letter; say `name=`."
        if not callable(self.function) or not _takes_one(self.function):
            yield "a task is a function of one argument, what it is handed."
        yield from self.needs.sentences()


class Workflow:
    """A machine in Amazon States Language; made by `App.workflow`. What is meant if left out is behind the semicolon.

    - `name`: 1 to 64 letters, digits, `_` and `-`
    - `definition`: a step (`from headgate import workflow as w`), the document as a dict, or the name of a JSON file,
      beside the file that declares it. In a document `${task:NAME}`, `${topic:NAME}`, `${archive:NAME}`,
      `${table:NAME}` and `${queue:NAME}` (of a channel) stand for what the app declares under that name
    - `express`: many short runs, of at most 5 minutes, without a history, that may run twice; False
    - `timeout_s`: after so many seconds an execution has failed; what the document says
    """

    def __init__(
        self,
        name: str,
        definition: Definition,
        *,
        express: bool = False,
        timeout_s: int | None = None,
        description: str = "",
    ) -> None:
        self.where = caller()
        self.name = name
        self.definition = definition
        self.express = express
        self.timeout_s = timeout_s
        self.description = description
        self._folder = folder_of_caller()

    def __repr__(self) -> str:
        return f"<workflow {self.name}>"

    @property
    def kind(self) -> Literal["STANDARD", "EXPRESS"]:
        """As Step Functions calls it."""
        return "EXPRESS" if self.express else "STANDARD"

    @cached_property
    def document(self) -> Machine:
        """The document, in which `${task:NAME}` and the like stand for what an engine knows. Raises DeclarationError
        where it cannot be had."""
        from headgate.declare.compile import machine

        match self.definition:
            case Mapping():
                made = dict(self.definition)
            case str() | Path() as file:
                made = self._read(self._folder / file)
            case step:
                try:
                    made = machine(step, self.description)
                except DeclarationError as error:
                    raise DeclarationError(
                        *(
                            DeclarationFault(self.where, f"workflow {self.name}: {fault.sentence}")
                            for fault in error.faults
                        )
                    ) from None
        return made if self.timeout_s is None else {**made, "TimeoutSeconds": self.timeout_s}

    def placed(self, name_of: Callable[[str, str], str] = local_name) -> Machine:
        """The document with an engine's own names in it; see `compile.placed`."""
        from headgate.declare.compile import placed

        document: Machine = placed(self.document, name_of)
        return document

    def sentences(self, known: Mapping[str, Collection[str]], tables: Mapping[str, Table]) -> Iterator[str]:
        """What of it cannot be honoured; `known` has the names of what the app has by their kind, `tables` its tables
        by theirs."""
        from headgate.declare import asl
        from headgate.declare.asl_services import service_faults
        from headgate.declare.compile import places
        from headgate.declare.workflow import Step

        shapes = {"name": TEXT, "express": FLAG, "description": TEXT}
        if wrong := list(misfits("", {name: getattr(self, name) for name in shapes}, shapes)):
            yield from wrong
            return
        if not _NAME.fullmatch(self.name):
            yield "a name is 1 to 64 letters, digits, _ and -, and starts with a letter."
        if not isinstance(self.definition, Step | Mapping | str | Path):
            yield "the definition must be a step, a dict, or the name of a JSON file."
            return
        try:
            document = self.document
        except DeclarationError as error:
            yield from (fault.sentence for fault in error.faults)
            return
        for kind, name in places(document):
            if name not in known.get(kind, (name,)):
                yield _missing(kind, name, known[kind])
        faults = asl.refusals(self.placed())
        yield from faults or service_faults(document, tables)

    def _read(self, file: Path) -> Machine:
        try:
            made = json.loads(file.read_bytes())
        except OSError as error:
            sentence = f"workflow {self.name}: the file {file.name} cannot be read ({error.strerror})."
        except (ValueError, RecursionError) as error:
            sentence = (
                f"workflow {self.name}: the file {file.name} is not JSON ({next(iter(str(error).splitlines()))})."
            )
        else:
            if isinstance(made, dict):
                return made
            sentence = f"workflow {self.name}: the file {file.name} holds no JSON object."
        raise DeclarationError(DeclarationFault(self.where, sentence))


@dataclass(frozen=True)
class Start:
    """That each message of a channel starts an execution of a workflow; or the messages of a request one together.

    - `workflow`: its name, or what `App.workflow` returned
    - `name`: of the execution, the same for the same message; in it `{id}` is the message's key, `{channel}` its
      channel, `{batch}` what tells its request from others. What an execution cannot be called is cut and ends in a
      hash; `"{channel}-{id}"`, and `"{channel}-{batch}"` for a batch
    - `input`: a template of JSON, in which the texts `"{body}"`, `"{id}"`, `"{channel}"`, `"{principal}"` and
      `"{received_at}"` stand for what they say; the message itself, if left out. That of a batch is the list of what
      stands for its messages
    - `per`: `"message"`, or `"batch"` for a channel with `many=`: one execution for those messages of a request that
      were stored, whose end is the end of them all; `"message"`
    """

    workflow: str | Workflow
    name: str = ""
    input: Any = "{body}"
    per: Literal["message", "batch"] = "message"

    @property
    def per_batch(self) -> bool:
        """Whether the messages of a request start one together."""
        return self.per == "batch"

    @property
    def called(self) -> str:
        """The template of the execution's name."""
        return self.name or ("{channel}-{batch}" if self.per_batch else "{channel}-{id}")

    @property
    def workflow_name(self) -> str:
        """The name of the workflow."""
        return self.workflow.name if isinstance(self.workflow, Workflow) else self.workflow

    def sentences(self) -> Iterator[str]:
        """What of it cannot be honoured, whatever the app."""
        if not isinstance(self.workflow, str | Workflow):
            yield "`workflow=` must be the name of a workflow, what app.workflow returned, or a Start(...)."
        if self.per not in ("message", "batch"):
            yield f'Start `per=` is {self.per!r}; say "message" or "batch".'
        if not isinstance(self.name, str):
            yield "Start `name=` must be text."
        elif self.per_batch:
            if "{batch}" not in self.called or "{id}" in self.called:
                yield "Start `name=` of a batch must hold {batch}, and no {id}, of which it has many."
        elif "{id}" not in self.called:
            yield "Start `name=` must hold {id}, or two messages would have one execution."
        try:
            json.dumps(self.input, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            yield "Start `input=` must be JSON."


def _missing(kind: str, name: str, known: Collection[str]) -> str:
    there = f"the app has {', '.join(sorted(known))}" if known else f"declare it with app.{kind}"
    if kind == "queue":
        there = f"it has {', '.join(sorted(known))}" if known else "it has none"
        return (
            f"there is no channel {name!r} that a workflow can send to, which is one with "
            f'delivery=Queued(validate="worker"), as nobody validates what is sent; the app: {there}.'
        )
    return f"there is no {kind} {name!r}; {there}."


def _takes_one(function: Callable[..., Any]) -> bool:
    try:
        signature(function).bind(None)
    except TypeError:
        return False
    except ValueError:  # a builtin that tells nothing
        return True
    return True
