"""The app whose functions have their calls go wrong, and their permissions taken away."""

from pydantic import BaseModel

from headgate import ApiKey, App, Header, Jwt, Public, Secret, Signed


class Note(BaseModel):
    """Found by its topic; with a long text its body is kept in the bucket."""

    id: str
    text: str = ""
    topic: str | None = None


app = App("intake")
app.channel("/notes", Note, key="id", indexes=["topic"], auth=Public(), read=True)
app.channel("/each", Note, key="id", many=True, auth=Public(), read=True)
app.channel("/all", Note, key="id", many="all", auth=Public(), read=True)
app.channel("/keyed", Note, key="id", auth=ApiKey())
app.channel("/tokens", Note, key="id", auth=Jwt(secret=Secret("INTAKE_JWT_SECRET"), issuer="intake", audience="intake"))
app.channel("/hooks", key=Header("webhook-id"), auth=Signed(Secret("INTAKE_WEBHOOK_SECRET")))
app.channel("/tiny", key="id", auth=Public(), body_limit_bytes=1000)
