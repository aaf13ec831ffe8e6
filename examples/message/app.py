"""POST /message: one message with a UUID, a text and a time; the replies are those of the published interface."""

import re
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field, field_validator

from headgate import App, Problem, Public, Receipt, Reply


class Note(BaseModel):
    """What is posted. The time has no zone and gets none: it is kept as it was written."""

    messageUUID: UUID  # noqa: N815 - published names
    messageText: str = Field(min_length=10, max_length=100)  # noqa: N815
    messageDatetime: str  # noqa: N815

    @field_validator("messageDatetime")
    @classmethod
    def is_a_time(cls, text: str) -> str:
        """`2025-01-24 18:04:01`, and a day and an hour that exist."""
        if not _TIME.fullmatch(text) or not _exists(text):
            raise ValueError(_TIME_FORMAT)
        return text


_TIME = re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}", re.ASCII)
_TIME_FORMAT = "'messageDatetime' must be in 'YYYY-MM-DD HH:MM:SS' format."


def _exists(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


# The published order: the first of these that is at fault is told in `message`; `errors` tells all of them.
_SENTENCES = {
    ("/messageUUID", "missing"): "Missing 'messageUUID'.",
    ("/messageText", "missing"): "Missing 'messageText'.",
    ("/messageDatetime", "missing"): "Missing 'messageDatetime'.",
    ("/messageDatetime", ""): _TIME_FORMAT,
    ("/messageText", ""): "'messageText' must be a string between 10 and 100 characters.",
    ("/messageUUID", ""): "'messageUUID' must be a UUID.",
}


def stored(_: Receipt) -> Reply:
    """The published success."""
    return Reply(200, {"message": "Message processed successfully."})


def told(problem: Problem) -> Reply:
    """The published errors; everything else in headgate's words, in the same shape."""
    if problem.status == 500:
        return Reply(500, {"error": problem.title, "message": problem.message})
    if problem.status == 400:
        errors = [fault._asdict() for fault in problem.errors]
        return Reply(400, {"message": f"Invalid input: {_first(problem)}", "errors": errors})
    return Reply(problem.status, {"message": problem.message})


def _first(problem: Problem) -> str:
    if any(fault.type == "model_type" for fault in problem.errors):
        return "Must be a JSON object."
    found = {(fault.pointer, "missing" if fault.type == "missing" else "") for fault in problem.errors}
    return next(
        (sentence for where, sentence in _SENTENCES.items() if where in found),
        "Missing or invalid JSON body.",
    )


app = App("message", packaging="image")  # on AWS the function is a container image
app.channel(
    "/message",
    Note,
    key="messageUUID",
    attributes=["messageText", "messageDatetime"],  # of the item in DynamoDB, as published
    auth=Public(),
    read=True,
    accepted=stored,
    problem=told,
)
