"""Stages: the same app in several places (dev, test, prod)."""

from __future__ import annotations

import os

STAGE_VARIABLE = "HEADGATE_STAGE"


def stage() -> str:
    """The stage that is being run: the environment variable HEADGATE_STAGE, else `dev`.

    Use it in app.py for what differs: `keep=timedelta(days=1 if stage() == "dev" else 90)`.
    """
    return os.environ.get(STAGE_VARIABLE) or "dev"
