"""From the steps of a workflow to a machine in Amazon States Language (JSONPath), with names in `${task:collect}` form
where an engine puts its own: see `placed`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headgate.declare import workflow as w

Machine = dict[str, Any]
State = dict[str, Any]

_NAME_CHARS = 80
_PLACE = re.compile(r"\$\{(task|topic|archive|queue|table):([^{}]+)\}")
_IN_BRACES = re.compile(r"\{(\$[^{}]*)\}")


def place(kind: str, name: str) -> str:
    """What stands for a task, a topic, an archive, a queue or a table until an engine puts its own name there."""
    return f"${{{kind}:{name}}}"


def placed(document: Any, name_of: Callable[[str, str], str]) -> Any:
    """A document with every `${kind:name}` replaced by what `name_of(kind, name)` says."""
    match document:
        case str():
            return _PLACE.sub(lambda found: name_of(found[1], found[2]), document)
        case Mapping():
            return {key: placed(value, name_of) for key, value in document.items()}
        case list() | tuple():
            return [placed(value, name_of) for value in document]
        case _:
            return document


def places(document: Any) -> list[tuple[str, str]]:
    """Every (kind, name) in a document, once, in order."""
    found: dict[tuple[str, str], None] = {}

    def seen(kind: str, name: str) -> str:
        found[kind, name] = None
        return ""

    placed(document, seen)
    return [*found]


def machine(step: w.Step, comment: str = "") -> Machine:
    """The machine of a step. Every state has a name of its own, also within branches and items."""
    described = {"Comment": comment} if comment else {}
    return {**described, **_machine(_Naming().node(step))}


# ------------------------------------------------------------------------------------------------------------- naming


@dataclass(frozen=True)
class _Node:
    """A step that has its name; `within` are the steps that it goes to or that it is made of, in their order."""

    step: w.Step
    name: str
    within: Sequence[_Node] = ()
    caught: Sequence[_Node] = ()

    @property
    def entry(self) -> str:
        match self.step:
            case w.Chain():
                return self.within[0].entry
            case w.Poll():
                return f"{self.name}: begin"
        return self.name


@dataclass
class _Naming:
    """Gives names in the order of the steps: the second `wait` is `wait 2`."""

    taken: set[str] = field(default_factory=set)

    def node(self, step: w.Step) -> _Node:
        name = "" if isinstance(step, w.Chain) else self._free(step.name)
        return _Node(step, name, [self.node(one) for one in _within(step)], [self.node(one) for one in _caught(step)])

    def _free(self, name: str) -> str:
        found, number = name[:_NAME_CHARS], 1
        while found in self.taken:
            number += 1
            found = f"{name[: _NAME_CHARS - 1 - len(str(number))]} {number}"
        self.taken.add(found)
        return found


def _within(step: w.Step) -> Iterator[w.Step]:
    match step:
        case w.Chain(steps):
            yield from steps
        case w.Choice(whens, otherwise):
            yield from (when.then for when in whens)
            if otherwise is not None:
                yield otherwise
        case w.Poll(give_up=give_up):
            yield give_up
        case w.ForEach(step=inner):
            yield inner
        case w.Parallel(branches):
            yield from branches


def _caught(step: w.Step) -> Iterator[w.Step]:
    match step:
        case w.Poll(call=call):
            yield from (one.then for one in call.catch)
        case w.Call() | w.ForEach() | w.Parallel() | w.Send() | w.Put() | w.Get() | w.Update():
            yield from (one.then for one in step.catch)


# ------------------------------------------------------------------------------------------------------------- states


def _machine(node: _Node) -> Machine:
    return {"StartAt": node.entry, "States": dict(_states(node, None))}


def _states(node: _Node, after: str | None) -> Iterator[tuple[str, State]]:
    """The states of a step, with those it goes on to; `after` is the state that follows, None where nothing does."""
    step, name, on = node.step, node.name, _on(after)
    match step:
        case w.Chain():
            entries = [*(one.entry for one in node.within[1:]), after]
            for one, following in zip(node.within, entries, strict=True):
                yield from _states(one, following)
            return
        case w.Choice():
            yield from _choice(node, step, after)
            return
        case w.Poll():
            yield from _poll(node, step, after)
            return
        case w.Call():
            yield name, {**_call(step, node.caught), **on}
        case w.Wait():
            yield name, {"Type": "Wait", step.field: step.value, **on}
        case w.ForEach():
            yield name, {**_for_each(step, node), **on}
        case w.Parallel():
            branches = [_machine(branch) for branch in node.within]
            handled = _handled(step, node.caught)
            yield name, {"Type": "Parallel", "Branches": branches, **_at(step.result), **handled, **on}
        case w.Notify():
            yield name, {**_notify(step), **on}
        case w.Save():
            yield name, {**_save(step), **on}
        case w.Send():
            yield name, {**_send(step, node.caught), **on}
        case w.Put():
            yield name, {**_put(step, node.caught), **on}
        case w.Get():
            yield name, {**_get(step, node.caught), **on}
        case w.Update():
            yield name, {**_update(step, node.caught), **on}
        case w.Give():
            yield name, {"Type": "Pass", **_given(step.value), **_at(step.result), **on}
        case w.Succeed():
            yield name, {"Type": "Succeed"}
        case w.Fail():
            yield name, _fail(step)
    for caught in node.caught:
        yield from _states(caught, after)


def _on(after: str | None) -> State:
    return {"End": True} if after is None else {"Next": after}


def _at(result: str | None) -> State:
    return {} if result == "$" else {"ResultPath": result}


def _call(step: w.Call, caught: Sequence[_Node]) -> State:
    state: State = {"Type": "Task", "Resource": place("task", step.function)}
    if step.input is not None:
        state |= {"InputPath": step.input} if _is_path(step.input) else {"Parameters": template(step.input)}
    if step.select is not None:
        state["ResultSelector"] = template(step.select)
    if step.timeout_s is not None:
        state["TimeoutSeconds"] = step.timeout_s
    return {**state, **_at(step.result), **_handled(step, caught)}


def _handled(step: w.Caught, caught: Sequence[_Node]) -> State:
    state: State = {}
    if step.retry:
        state["Retry"] = [_retrier(one) for one in step.retry]
    if step.catch:
        state["Catch"] = [
            {"ErrorEquals": [*one.errors], **_at(one.result), "Next": node.entry}
            for one, node in zip(step.catch, caught, strict=True)
        ]
    return state


def _retrier(retry: w.Retry) -> State:
    retrier: State = {
        "ErrorEquals": [*retry.errors],
        "IntervalSeconds": retry.after_s,
        "MaxAttempts": retry.attempts,
        "BackoffRate": retry.backoff,
    }
    if retry.most_s is not None:
        retrier["MaxDelaySeconds"] = retry.most_s
    return {**retrier, "JitterStrategy": "FULL"} if retry.jitter else retrier


def _choice(node: _Node, step: w.Choice, after: str | None) -> Iterator[tuple[str, State]]:
    branches = [*node.within]
    default = branches.pop().entry if step.otherwise is not None else after
    done = f"{node.name}: done" if default is None else ""
    rules = [{**when.condition.rule, "Next": branch.entry} for when, branch in zip(step.whens, branches, strict=True)]
    yield node.name, {"Type": "Choice", "Choices": rules, "Default": default or done}
    for branch in node.within:
        yield from _states(branch, after)
    if done:
        yield done, {"Type": "Succeed"}


def _poll(node: _Node, step: w.Poll, after: str | None) -> Iterator[tuple[str, State]]:
    """What each call is handed lies at $.input, what it returned at $.result, and how many were made at $.calls."""
    name, give_up = node.name, node.within[0]
    call = _call(step.call, node.caught)
    handed: State = {"Parameters": _beneath(call["Parameters"], "input")} if "Parameters" in call else {}
    handed = handed or {"InputPath": _rooted(call.get("InputPath", "$"), "input")}
    for catcher in call.get("Catch", ()):
        catcher["ResultPath"] = "$"
    found = {**_beneath(step.until.rule, "result"), "Next": f"{name}: result"}
    enough = {"Variable": "$.calls", "NumericGreaterThanEquals": step.most, "Next": f"{name}: enough"}
    again = {"input.$": "$.input", "calls.$": "States.MathAdd($.calls, 1)"}
    yield (
        f"{name}: begin",
        {"Type": "Pass", "Parameters": {"input.$": "$", "calls": 1}, "Next": name},
    )
    yield name, {**call, **handed, "ResultPath": "$.result", "Next": f"{name}: done?"}
    yield f"{name}: done?", {"Type": "Choice", "Choices": [found, enough], "Default": f"{name}: wait"}
    yield f"{name}: wait", {"Type": "Wait", "Seconds": step.every_s, "Next": f"{name}: again"}
    yield f"{name}: again", {"Type": "Pass", "Parameters": again, "Next": name}
    yield f"{name}: enough", {"Type": "Pass", "OutputPath": "$.result", "Next": give_up.entry}
    yield f"{name}: result", {"Type": "Pass", "OutputPath": "$.result", **_on(after)}
    for one in (give_up, *node.caught):
        yield from _states(one, after)


def _for_each(step: w.ForEach, node: _Node) -> State:
    state: State = {"Type": "Map", "ItemsPath": step.items}
    if step.input is not None:
        state["ItemSelector"] = template(step.input)
    if step.at_a_time:
        state["MaxConcurrency"] = step.at_a_time
    state["ItemProcessor"] = {"ProcessorConfig": {"Mode": "INLINE"}, **_machine(node.within[0])}
    return {**state, **_at(step.result), **_handled(step, node.caught)}


def _notify(step: w.Notify) -> State:
    asked = {"TopicArn": place("topic", step.topic), "Message": step.message}
    asked |= {} if step.subject is None else {"Subject": step.subject}
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::sns:publish",
        "Parameters": template(asked),
        "ResultPath": None,
    }


def _send(step: w.Send, caught: Sequence[_Node]) -> State:
    asked = template({"QueueUrl": place("queue", step.channel), "MessageBody": step.message})
    return {**_asked("sqs:sendMessage", asked), "ResultPath": None, **_handled(step, caught)}


def _put(step: w.Put, caught: Sequence[_Node]) -> State:
    asked = {"TableName": place("table", step.table), "Item": _valued(step.item)}
    return {**_asked("dynamodb:putItem", asked), "ResultPath": None, **_handled(step, caught)}


def _get(step: w.Get, caught: Sequence[_Node]) -> State:
    asked = {"TableName": place("table", step.table), "Key": _valued(step.key), "ConsistentRead": True}
    return {**_asked("dynamodb:getItem", asked), **_at(step.result), **_handled(step, caught)}


def _update(step: w.Update, caught: Sequence[_Node]) -> State:
    numbers = {name: at for at, name in enumerate([*step.set, *step.add])}
    sets = ", ".join(f"#n{numbers[name]} = :v{numbers[name]}" for name in step.set)
    adds = ", ".join(f"#n{numbers[name]} :v{numbers[name]}" for name in step.add)
    clauses = [f"{verb} {those}" for verb, those in (("SET", sets), ("ADD", adds)) if those]
    asked = {
        "TableName": place("table", step.table),
        "Key": _valued(step.key),
        "UpdateExpression": " ".join(clauses),
        "ExpressionAttributeNames": {f"#n{at}": name for name, at in numbers.items()},
        "ExpressionAttributeValues": _valued(
            {f":v{numbers[name]}": value for name, value in [*step.set.items(), *step.add.items()]}
        ),
    }
    return {**_asked("dynamodb:updateItem", asked), "ResultPath": None, **_handled(step, caught)}


def _asked(verb: str, asked: State) -> State:
    return {"Type": "Task", "Resource": f"arn:aws:states:::{verb}", "Parameters": asked}


def _valued(item: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as DynamoDB writes them, each with its type: a path is one to a text, unless it says otherwise."""
    return {name: _typed(value) for name, value in item.items()}


def _typed(value: Any) -> dict[str, Any]:
    match value:
        case w.Number(path):
            return {"N.$": f"States.Format('{{}}', {path})"}
        case w.Json(path):
            return {"S.$": f"States.JsonToString({path})"}
        case bool():
            return {"BOOL": value}
        case int() | float():
            return {"N": json.dumps(value)}
        case str():
            return template({"S": value})  # type: ignore[no-any-return] # an object stays one
        case _:
            told = "an item holds texts, numbers, True and False; of a path say w.number(path) or w.json(path)"
            raise w.refused(told)


def _save(step: w.Save) -> State:
    asked = template({"Bucket": place("archive", step.archive), "Key": step.key, "Body": step.body})
    resource = "arn:aws:states:::aws-sdk:s3:putObject"
    return {"Type": "Task", "Resource": resource, "Parameters": asked, "ResultPath": None}


def _fail(step: w.Fail) -> State:
    cause = _formatted(step.cause)
    told = {"CausePath": cause} if cause != step.cause or _is_path(cause) else {"Cause": cause} if cause else {}
    return {"Type": "Fail", "Error": step.error, **told}


def _given(value: Any) -> State:
    if _is_path(value):
        return {"InputPath": value}
    if _reads(value):
        raise w.refused("give takes a path, or a template: an object in which texts are paths")
    made = template(value)
    return {"Parameters": made} if made != value else {"Result": value}


# --------------------------------------------------------------------------------------------------------- templates


def template(value: Any) -> Any:
    """A template as Parameters are written: what is a path, or holds some in braces, under a name that ends in `.$`."""
    match value:
        case Mapping():
            return dict(_pair(key, one) for key, one in value.items())
        case list() | tuple():
            if any(_reads(one) for one in value):
                raise w.refused("a list with paths in it can only be the value of a name, and hold nothing nested")
            return [template(one) for one in value]
        case _:
            return value


def _pair(key: str, value: Any) -> tuple[str, Any]:
    if isinstance(value, list | tuple) and any(_reads(one) for one in value):
        if not any(isinstance(one, list | tuple | Mapping) for one in value):
            return f"{key}.$", f"States.Array({', '.join(map(_argument, value))})"
    elif isinstance(value, str):
        return (f"{key}.$", _formatted(value)) if _reads(value) else (key, value)
    return key, template(value)


def _argument(value: Any) -> str:
    if _reads(value):
        return _formatted(value)
    return f"'{_quoted(value)}'" if isinstance(value, str) else json.dumps(value)


def _reads(value: Any) -> bool:
    return isinstance(value, str) and (_is_path(value) or _IN_BRACES.search(value) is not None)


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("$", "States.")) and not value.startswith("${")


def _formatted(text: str) -> str:
    """Text with paths in braces, as the call that puts it together."""
    paths = _IN_BRACES.findall(text)
    if not paths:
        return text
    quoted = "{}".join(_quoted(part) for part in _IN_BRACES.split(text)[::2])
    return f"States.Format('{quoted}', {', '.join(paths)})"


def _quoted(text: str) -> str:
    return re.sub(r"([\\'{}])", r"\\\1", text)


def _beneath(rule: Any, key: str) -> Any:
    """A condition or Parameters whose paths begin one level deeper."""
    match rule:
        case Mapping():
            return {
                name: _rooted(one, key)
                if isinstance(one, str) and (name == "Variable" or name.endswith(".$"))
                else _beneath(one, key)
                for name, one in rule.items()
            }
        case list():
            return [_beneath(one, key) for one in rule]
        case _:
            return rule


def _rooted(path: str, key: str) -> str:
    """A path, or a call with paths in it, with `$.key` for `$`; the context `$$` stays."""
    return re.sub(r"(?<![\w$'])\$(?=[.\[,)\s]|$)", f"$.{key}", path)
