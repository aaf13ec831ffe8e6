"""Stages: the same app in several places (dev, test, prod)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from headgate import limits
from headgate.declare.shape import FLAG, TEXT, WHOLE, Shape, given, misfits
from headgate.errors import DeclarationFault

NAMED = ("api", "table", "queue", "stream", "ingest", "worker", "archive", "topic", "task", "workflow")
"""What `names=` of a stage can name."""
TOLD = ("table", "queue", "stream", "archive", "workflow")
"""What `variables=` of a stage can tell."""

STAGE_VARIABLE = "HEADGATE_STAGE"
DEFAULT_STAGE = "dev"

Removal = Literal["destroy", "retain"]
Packaging = Literal["zip", "image"]
Architecture = Literal["arm64", "x86_64"]

RUNTIMES = ("python3.11", "python3.12", "python3.13", "python3.14")
LOG_DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
"""The days CloudWatch can keep a log for."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,31}")
_STACK = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d+")
_ACCOUNT = re.compile(r"\d{12}")
_OUTPUT = re.compile(r"[A-Za-z0-9]{1,128}")
_VARIABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_TAG = re.compile(r"[\w .:/=+@-]*")
_MAYBE_TEXT = Shape("text", lambda value: value is None or isinstance(value, str))
_MAYBE_WORDS = Shape('a mapping of texts, as in {"team": "orders"}', lambda value: _is_mapping_of_texts(value))
_SHAPES = {
    "name": TEXT,
    "region": _MAYBE_TEXT,
    "account": _MAYBE_TEXT,
    "removal": _MAYBE_TEXT,
    "tags": _MAYBE_WORDS,
    "memory_mb": WHOLE,
    "timeout_s": WHOLE,
    "log_days": WHOLE,
    "account_log_role": FLAG,
    "data_stack": _MAYBE_TEXT,
    "service_stack": _MAYBE_TEXT,
    "stack": _MAYBE_TEXT,
    "runtime": _MAYBE_TEXT,
    "packaging": _MAYBE_TEXT,
    "names": _MAYBE_WORDS,
    "variables": _MAYBE_WORDS,
    "outputs": _MAYBE_WORDS,
    "exports": TEXT,
}


def stage() -> str:
    """The stage that is being run: the environment variable HEADGATE_STAGE, else `dev`.

    Use it in app.py for what differs: `keep=timedelta(days=1 if stage() == "dev" else 90)`.
    """
    return os.environ.get(STAGE_VARIABLE) or DEFAULT_STAGE


@dataclass(frozen=True, slots=True)
class Stage:
    """One place an app is deployed to; made by `App.stage`. Behind the semicolon stands what is taken if left out.

    - `name`: 1 to 32 letters, digits and hyphens, as in `prod`
    - `region`, `account`: where it has to go; wherever the credentials of the command lead
    - `removal`: `"destroy"` if what is stored goes with the stack, `"retain"` if it stays, is protected from deletion
      and can be put back to any second of the last 35 days; `"destroy"` for `dev`, else `"retain"`
    - `tags`: put on everything that can be tagged, beside `headgate:app` and `headgate:stage`; none
    - `memory_mb`: of each function, which brings CPU with it; 512
    - `timeout_s`: how long a function may be at a request, 1 to 30; API Gateway itself hangs up after 29; 25
    - `log_days`: how long logs are kept, one of the numbers CloudWatch knows; 30
    - `account_log_role`: True if this stage's stack sets the role that API Gateway writes logs with. It is one for
      the account and region, whoever else uses it; False
    - `data_stack`, `service_stack`: what the stacks are called; `{app}-{stage}-data`, `{app}-{stage}-service`
    - `stack`: what the one stack is called that holds all of it, in place of these two; none
    - `runtime`, `packaging`: other ones than the app's; the app's
    - `names`: what resources are called, as in `{"queue:orders": "shop-orders"}`; what CloudFormation comes up
      with, so that stages can lie next to each other. There are `api`, and with a name behind a colon `table`,
      `queue`, `stream`, `ingest`, `worker`, `archive`, `topic`, `task` and `workflow`
    - `variables`: further variables in the environment of the functions that work with it, as in
      `{"TABLE_NAME": "table:orders"}`; a `queue` is told by its URL, a `workflow` by its ARN, what else there is
      (`table`, `stream`, `archive`) by its name; none
    - `outputs`: further outputs of the stacks, each the same as one of theirs, as in `{"Endpoint": "ApiUrl"}`; none
    - `exports`: what these are exported as, with `{output}` for the name; `{stack}-{output}`, with `{stack}` for the
      name of the stack
    """

    name: str
    region: str | None = None
    account: str | None = None
    removal: Removal | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    memory_mb: int = 512
    timeout_s: int = 25
    log_days: int = 30
    account_log_role: bool = False
    data_stack: str | None = None
    service_stack: str | None = None
    stack: str | None = None
    runtime: str | None = None
    packaging: Packaging | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    exports: str = "{stack}-{output}"
    where: str = field(default="", compare=False, kw_only=True)

    @property
    def retains(self) -> bool:
        """Whether what is stored outlives the stack."""
        return self.name != DEFAULT_STAGE if self.removal is None else self.removal == "retain"

    def export(self, stack: str, output: str) -> str:
        """What a further output of a stack is exported as."""
        return self.exports.replace("{stack}", stack).replace("{output}", output)

    def faults(self) -> Iterator[DeclarationFault]:
        """Everything about this stage alone that cannot be honoured."""
        for sentence in self._sentences():
            yield DeclarationFault(self.where, f"stage {self.name}: {sentence}")

    def _sentences(self) -> Iterator[str]:
        if wrong := list(misfits("", given(self, _SHAPES), _SHAPES)):
            yield from wrong
            return
        if not _NAME.fullmatch(self.name):
            yield "a name is 1 to 32 letters, digits and hyphens, starting with a letter."
        if self.region is not None and not _REGION.fullmatch(self.region):
            yield f"`region=` is {self.region!r}; say one such as eu-west-1."
        if self.account is not None and not _ACCOUNT.fullmatch(self.account):
            yield f"`account=` is {self.account!r}; an account has 12 digits."
        if self.account is not None and self.region is None:
            yield "`account=` needs `region=` beside it."
        if self.removal not in (None, *get_args(Removal)):
            yield f'`removal=` is {self.removal!r}; say "destroy" or "retain".'
        for name, value in self.tags.items():
            if not (1 <= len(name) <= 128 and len(value) <= 256 and _TAG.fullmatch(name + value)):
                yield f"`tags=`: {name!r} or its value is not a tag of AWS: letters, digits and . : / = + - @ _ alone."
            elif name.lower().startswith(("aws:", "headgate:")):
                yield f"`tags=`: {name!r} begins with a word that is taken."
        yield from self._size_sentences()
        for name in ("data_stack", "service_stack", "stack"):
            called = getattr(self, name)
            if called is not None and not _STACK.fullmatch(called):
                yield f"`{name}=` is {called!r}; a stack is called by 1 to 128 letters, digits and hyphens."
        if self.data_stack is not None and self.data_stack == self.service_stack:
            yield "`data_stack=` and `service_stack=` are the same; say `stack=` where one is to hold all of it."
        if self.stack is not None and (self.data_stack or self.service_stack):
            yield "`stack=` holds all of it; leave `data_stack=` and `service_stack=` out."
        yield from packaging_sentences(self.runtime, self.packaging)
        yield from self._name_sentences()

    def _name_sentences(self) -> Iterator[str]:
        for what in self.names:
            kind, colon, name = what.partition(":")
            if kind not in NAMED or bool(name) != bool(colon) or bool(colon) == (kind == "api"):
                yield f"`names=`: {what!r} is nothing that can be named; say one such as queue:orders, or api."
        for variable, what in self.variables.items():
            kind, _, name = what.partition(":")
            if not _VARIABLE.fullmatch(variable) or variable.startswith(("HEADGATE_", "AWS_", "LAMBDA_")):
                yield f"`variables=`: {variable!r} cannot be yours: letters, digits and _, and no word that is taken."
            if kind not in TOLD or not name:
                yield f"`variables=`: {what!r} is nothing that can be told; say one such as table:orders."
        for output in self.outputs:
            if not _OUTPUT.fullmatch(output):
                yield f"`outputs=`: {output!r} is no name of an output: 1 to 128 letters and digits."
        if self.outputs and "{output}" not in self.exports:
            yield "`exports=` must hold {output}, or two outputs would be exported as one."

    def _size_sentences(self) -> Iterator[str]:
        least, most = limits.FUNCTION_MEMORY_LEAST.value, limits.FUNCTION_MEMORY_MOST.value
        if not least <= self.memory_mb <= most:
            yield f"`memory_mb={self.memory_mb}` is not within {least} and {most}."
        patience = limits.API_TIME.value
        longest = patience + 1  # the round number that people write: of the last second no sender sees anything
        if not 1 <= self.timeout_s <= longest:
            yield f"`timeout_s={self.timeout_s}` is not within 1 and {longest}: API Gateway hangs up after {patience}."
        if self.log_days not in LOG_DAYS:
            near = min(LOG_DAYS, key=lambda days: abs(days - self.log_days))
            yield f"`log_days={self.log_days}`: CloudWatch does not know that number of days; the nearest is {near}."


def packaging_sentences(runtime: str | None, packaging: str | None) -> Iterator[str]:
    """What of a runtime and a packaging cannot be honoured; None where nothing is said."""
    if runtime is not None and runtime not in RUNTIMES:
        yield f"`runtime=` is {runtime!r}; say one of {', '.join(RUNTIMES)}."
    if packaging not in (None, *get_args(Packaging)):
        yield f'`packaging=` is {packaging!r}; say "zip" or "image".'


def _is_mapping_of_texts(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(part, str) for pair in value.items() for part in pair)
