"""The tables in which workflows keep items."""

from __future__ import annotations

from constructs import Construct

from headgate.aws.layout import Attribute
from headgate.cdk.index import plain_table
from headgate.declare.table import Table


class ItemTable(Construct):
    """One of them. See `plain_table`; with `retains` it outlives its stack."""

    def __init__(self, scope: Construct, id: str, *, table: Table, retains: bool, name: str | None = None) -> None:
        super().__init__(scope, id)
        sort = None if table.sort is None else Attribute(table.sort)
        self.table = plain_table(self, Attribute(table.key), sort, retains=retains, name=name)
