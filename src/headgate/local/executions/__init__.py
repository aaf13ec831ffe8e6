"""Workflows on the local engine: `step` decides, the store keeps, the room drives both."""

from headgate.local.executions.ledger import Workflow
from headgate.local.executions.room import LocalExecutions, Performer

__all__ = ["LocalExecutions", "Performer", "Workflow"]
