"""AWS's signer as functions of the default runtime have it, for a Python here that it is not published for.

It runs on 3.11 all the same (tests/aws/test_signing.py); what ships to 3.11 does without, and signs with botocore.
"""

from __future__ import annotations

import sys
from importlib.metadata import requires
from pathlib import Path

from headgate.cdk.dependencies import Wanted, install
from headgate.declare.app import App

IS_SHIPPED_HERE = sys.version_info >= (3, 12)


def fetch(folder: Path) -> Path:
    """Put it into a folder; the version that ships."""
    (line,) = (line for line in requires("headgate") or () if line.startswith("aws-sdk-signers"))
    minor = App("signer").runtime.removeprefix("python")
    install(Wanted((), (line.partition(";")[0],), "", ()), minor, "x86_64-manylinux2014", folder)
    return folder
