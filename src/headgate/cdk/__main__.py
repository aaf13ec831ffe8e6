"""The program of cdk.json: `python -m headgate.cdk`, started by the CDK's own command line."""

from __future__ import annotations

import os
import sys

from headgate.cdk.toolkit import node
from headgate.errors import DeclarationError, Misuse


def main() -> int:
    """Synthesize. What a user can mend is said in sentences, without a traceback."""
    try:
        os.environ.setdefault("JSII_NODE", node())
        from headgate.cdk.program import synthesize

        synthesize()
    except (DeclarationError, Misuse) as error:
        print(error, file=sys.stderr)  # noqa: T201 - the CDK's command line shows it
        return 2
    except RuntimeError as error:
        if "ValidationFailed" not in str(error):
            raise
        return 1  # the report is printed already
    return 0


if __name__ == "__main__":
    sys.exit(main())
