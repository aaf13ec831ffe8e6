"""What becomes of what is stored when its stack goes, or comes to nothing."""

from __future__ import annotations

from aws_cdk import RemovalPolicy


def removal(*, retains: bool) -> RemovalPolicy:
    """With `retains` it stays; but not where the very deployment that made it failed: nothing is in it then, and with a
    name of its own it would be in the way of the next deployment."""
    return RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE if retains else RemovalPolicy.DESTROY
