"""An app whose own functions fail, with the message in their exception."""

from pydantic import BaseModel, field_validator

from headgate import App, Jwt, Problem, Public, Receipt, Reply, Request, Secret


class Note(BaseModel):
    """Its validator fails on a text that it does not know."""

    id: str
    text: str

    @field_validator("text")
    @classmethod
    def known(cls, text: str) -> str:
        """Fails with KeyError."""
        return {"fine": text}[text]


def doorman(request: Request) -> str:
    """Fails, and shows the credentials in its exception."""
    raise LookupError(request.header(b"authorization"))


def fails_to_answer(receipt: Receipt) -> Reply:
    """Fails when the message is stored."""
    raise ValueError(receipt.key)


def fails_to_explain(problem: Problem) -> Reply:
    """Fails when the message is refused."""
    raise ZeroDivisionError(problem.detail)


app = App("clumsy")
app.channel("/orders", key="record_id", auth=Public(), read=True)
app.channel("/validator", Note, key="id", auth=Public(), read=True)
app.channel("/validators", Note, key="id", many=True, auth=Public(), read=True)
app.channel("/verifier", auth=doorman)
app.channel("/accepted", key="id", auth=Public(), read=True, accepted=fails_to_answer)
app.channel("/problem", Note, key="id", auth=Public(), problem=fails_to_explain)
app.channel("/jwt", auth=Jwt(secret=Secret("HOSTILE_JWT_SECRET"), issuer="hostile", audience="orders"))
