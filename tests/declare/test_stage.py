"""Stages: what they say about where an app goes, and what cannot be said."""

from __future__ import annotations

from typing import Any

import pytest

from headgate import App, DeclarationError, Public, stage
from headgate.errors import Misuse


def shop() -> App:
    app = App("shop")
    app.channel("/orders", auth=Public())
    return app


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"name": "1st"}, "a name is 1 to 32 letters, digits and hyphens, starting with a letter."),
    ({"name": "prod", "region": "Ireland"}, "`region=` is 'Ireland'; say one such as eu-west-1."),
    ({"name": "prod", "region": "eu-west-1", "account": "12"}, "`account=` is '12'; an account has 12 digits."),
    ({"name": "prod", "account": "111122223333"}, "`account=` needs `region=` beside it."),
    ({"name": "prod", "removal": "keep"}, '`removal=` is \'keep\'; say "destroy" or "retain".'),
    ({"name": "prod", "tags": {"aws:cost": "1"}}, "'aws:cost' begins with a word that is taken."),
    ({"name": "prod", "tags": {"team": "a,b"}}, "'team' or its value is not a tag of AWS"),
    ({"name": "prod", "tags": ["team"]}, "`tags=` must be a mapping of texts"),
    ({"name": "prod", "memory_mb": 64}, "`memory_mb=64` is not within 128 and 10240."),
    ({"name": "prod", "memory_mb": "1 GB"}, "`memory_mb=` must be a whole number, not str."),
    ({"name": "prod", "timeout_s": 31}, "`timeout_s=31` is not within 1 and 30: API Gateway hangs up after 29."),
    ({"name": "prod", "log_days": 10}, "CloudWatch does not know that number of days; the nearest is 7."),
    ({"name": "prod", "data_stack": "a_b"}, "`data_stack=` is 'a_b'; a stack is called by"),
    ({"name": "prod", "data_stack": "A", "service_stack": "A"}, "`data_stack=` and `service_stack=` are the same"),
    ({"name": "prod", "stack": "A", "data_stack": "B"}, "`stack=` holds all of it; leave `data_stack=`"),
    ({"name": "prod", "variables": {"a-b": "table:orders"}}, "`variables=`: 'a-b' cannot be yours"),
    ({"name": "prod", "variables": {"AWS_REGION": "table:orders"}}, "`variables=`: 'AWS_REGION' cannot be yours"),
    ({"name": "prod", "variables": {"A": "topic:alerts"}}, "'topic:alerts' is nothing that can be told"),
    ({"name": "prod", "runtime": "python3.9"}, "`runtime=` is 'python3.9'; say one of python3.11"),
    ({"name": "prod", "packaging": "tar"}, '`packaging=` is \'tar\'; say "zip" or "image".'),
]


@pytest.mark.parametrize(("options", "sentence"), MISTAKES, ids=lambda value: str(value)[:40])
def test_a_stage_that_cannot_be_is_told_with_its_line(options: dict[str, Any], sentence: str) -> None:
    app = shop()
    app.stage(**options)
    with pytest.raises(DeclarationError) as told:
        app.check()
    assert f"stage {options['name']}: {sentence}" in str(told.value) or sentence in str(told.value)
    assert "test_stage.py:" in str(told.value)


def test_a_stage_that_can_be_is_taken() -> None:
    app = shop()
    app.stage("prod", region="us-gov-west-1", account="111122223333", tags={"team": "Bücher + Co"})
    app.stage(name="test", removal="destroy", memory_mb=1024, timeout_s=30, log_days=1, packaging="image")
    app.check()


def test_a_misspelt_option_is_told_with_the_one_that_was_meant() -> None:
    with pytest.raises(DeclarationError, match="there is no stage option `regoin=` in this version; did you mean"):
        shop().stage("prod", regoin="eu-west-1")  # type: ignore[call-arg]
    with pytest.raises(DeclarationError, match="say the name first and the rest by name"):
        shop().stage("prod", "eu-west-1")


def test_a_stage_is_declared_once() -> None:
    app = shop()
    app.stage("prod")
    app.stage("prod")
    with pytest.raises(DeclarationError, match=r"stage prod: it is declared already \(.*test_stage.py:\d+\)"):
        app.check()


def test_dev_goes_with_its_stack_and_every_other_stage_stays() -> None:
    app = shop()
    assert not app.stage_named("dev").retains
    assert app.stage_named("prod").retains
    assert not app.stage("test", removal="destroy").retains


def test_where_stages_are_declared_another_name_is_a_mistake() -> None:
    app = shop()
    assert app.stage_named("anything").name == "anything"
    prod = app.stage("prod", region="eu-west-1")
    assert app.stage_named("prod") is prod
    assert app.stage_named("dev").name == "dev"
    with pytest.raises(Misuse, match=r"There is no stage 'prdo'; the app has prod."):
        app.stage_named("prdo")


def test_a_stage_that_nobody_declared_has_to_be_a_name() -> None:
    with pytest.raises(Misuse, match="Stage my stage: a name is 1 to 32 letters"):
        shop().stage_named("my stage")


def test_an_app_says_what_it_runs_on() -> None:
    app = App("shop", runtime="python2.7", packaging="tar")  # type: ignore[arg-type]
    app.channel("/orders", auth=Public())
    with pytest.raises(DeclarationError) as told:
        app.check()
    assert "app 'shop': `runtime=` is 'python2.7'" in str(told.value)
    assert "app 'shop': `packaging=` is 'tar'" in str(told.value)


def test_the_stage_that_is_run_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADGATE_STAGE", raising=False)
    assert stage() == "dev"
    monkeypatch.setenv("HEADGATE_STAGE", "prod")
    assert stage() == "prod"
