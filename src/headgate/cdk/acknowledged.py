"""Findings of cdk-nag that are meant: each with its reason, which stands in the template's own report."""

from __future__ import annotations

from aws_cdk import Acknowledgment, Validations
from constructs import IConstruct


def acknowledge(construct: IConstruct, rule: str, reason: str) -> None:
    """Say that a finding on a construct, or on anything below it, is meant."""
    Validations.of(construct).acknowledge(Acknowledgment(id=rule, reason=reason))
