"""Pipelines: what they say about where an app comes from and goes to, and what cannot be said."""

from __future__ import annotations

from typing import Any

import pytest

from headgate import App, CodeCommit, Connection, DeclarationError, Env, Public, Secret

ARN = "arn:aws:codeconnections:eu-west-1:111122223333:connection/0b1f5b3e-0000-4000-8000-000000000000"
GITHUB = Connection("acme/shop", ARN)


def shop() -> App:
    app = App("shop")
    app.channel("/orders", auth=Public())
    app.stage("test")
    app.stage("prod")
    return app


@pytest.mark.parametrize("source", [GITHUB, Connection("acme/group/shop", Env("ARN"), "trunk"), CodeCommit("shop")])
def test_a_pipeline_names_a_repository_and_stages(source: Connection | CodeCommit) -> None:
    app = shop()
    app.pipeline(source, ["dev", "test", "prod"], approve=["prod"], folder="services/shop", topic=app.topic("people"))
    app.check()


MISTAKES: list[tuple[Any, Any, dict[str, Any], str]] = [
    ("acme/shop", ["prod"], {}, "`source=` is a Connection(repository, arn) or a CodeCommit(repository)."),
    (Connection("shop", ARN), ["prod"], {}, "'shop' is no repository; say its owner too, as in acme/orders."),
    (Connection("acme/shop", "arn:aws:s3:::x"), ["prod"], {}, "'arn:aws:s3:::x' is not the ARN of a connection."),
    (Connection("acme/shop", Secret("X")), ["prod"], {}, "its ARN is text or Env"),  # type: ignore[arg-type]
    (CodeCommit("a b"), ["prod"], {}, "CodeCommit: 'a b' is no name of a repository."),
    (GITHUB, [], {}, "`stages=` names each stage that is deployed once"),
    (GITHUB, ["prod", "prod"], {}, "`stages=` names each stage that is deployed once"),
    (GITHUB, ["prdo"], {}, "`stages=` has 'prdo'; the app has prod, test."),
    (GITHUB, ["prod"], {"approve": ["test"]}, "`approve=` has 'test', which is not among `stages=`."),
    (GITHUB, ["prod"], {"approve": "prod"}, "`approve=` must be a tuple of texts"),
    (GITHUB, ["prod"], {"topic": App("other").topic("people")}, "`topic=` has to be a topic of the app"),
    (GITHUB, ["prod"], {"folder": "../shop"}, "`folder=` is '../shop'; say one within the repository"),
]


@pytest.mark.parametrize(("source", "stages", "options", "sentence"), MISTAKES, ids=lambda value: str(value)[:30])
def test_a_pipeline_that_cannot_be_is_told_with_its_line(
    source: Any, stages: Any, options: dict[str, Any], sentence: str
) -> None:
    app = shop()
    app.pipeline(source, stages, **options)
    with pytest.raises(DeclarationError) as told:
        app.check()
    assert sentence in str(told.value)
    assert "test_pipeline.py:" in str(told.value)


def test_an_app_has_one_pipeline() -> None:
    app = shop()
    app.pipeline(GITHUB, ["prod"])
    app.pipeline(GITHUB, ["test"])
    with pytest.raises(DeclarationError, match=r"pipeline: an app has one \(.*test_pipeline.py:\d+\)"):
        app.check()


def test_a_misspelt_option_is_told_with_the_one_that_was_meant() -> None:
    with pytest.raises(DeclarationError, match="there is no pipeline option `stage=` in this version; did you mean"):
        shop().pipeline(GITHUB, stage=["prod"])  # type: ignore[call-arg]
