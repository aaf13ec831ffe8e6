"""The app that is served with fronts: who may post, and how fast."""

from headgate import App, Env, Jwt, Public
from headgate.declare.channel import Throttle

app = App("fronted")
app.channel("/notes", key="id", indexes=["n"], auth=Public(), read=True)
app.channel("/throttled", key="id", auth=Public(), throttle=Throttle(rate_per_s=0.001, burst=30))
app.channel(
    "/signed",
    key="id",
    auth=Jwt(
        jwks_url=Env("FRONTED_JWKS", default="https://issuer.example/jwks.json"), issuer="issuer", audience="fronted"
    ),
)
