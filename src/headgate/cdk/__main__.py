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
        _synthesize()
    except (DeclarationError, Misuse) as error:
        print(error, file=sys.stderr)  # noqa: T201 - the CDK's command line shows it
        return 2
    except RuntimeError as error:
        if "ValidationFailed" not in str(error):
            raise
        return 1  # the report is printed already
    return 0


def _synthesize() -> None:
    """Write what the context names to where the CDK's command line wants it, else to cdk.out."""
    import aws_cdk as cdk

    from headgate.cdk.program import add_app, wishes_of

    root = cdk.App(analytics_reporting=False, outdir=os.environ.get("CDK_OUTDIR", "cdk.out"))
    wishes = wishes_of(root)
    if wishes.pipeline:
        from headgate.cdk.pipeline import add_pipeline

        add_pipeline(root, wishes)
    else:
        add_app(root, wishes)
    root.synth()


if __name__ == "__main__":
    sys.exit(main())
