"""Goes on with what a crash left behind in one channel's table. Called by a schedule.

It calls dynamodb:Query on the index of what is due and dynamodb:UpdateItem. For a Queued channel it also calls
dynamodb:Query on the index of dead letters, sqs:GetQueueAttributes, sqs:SendMessage and cloudwatch:GetMetricStatistics;
for a Direct one dynamodb:GetItem, s3:GetObject for large bodies, and s3:GetObject and s3:PutObject on the channel's
archive, and where its messages start a workflow dynamodb:Query on the index of dead letters and
states:StartExecution, and of a Standard one states:DescribeExecution and states:RedriveExecution; for a Stream that
dedupes dynamodb:GetItem, s3:GetObject for large bodies, and kinesis:PutRecords.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from headgate.aws.rooms import Rooms
from headgate.aws.sweep import Sweep
from headgate.clock import SystemClock


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda's signature
    """Called by Lambda."""
    return _sweep().sweep(context.get_remaining_time_in_millis() / 1000)


@cache
def _sweep() -> Sweep:
    rooms = Rooms(os.environ, SystemClock()).opened("queue")
    return Sweep(rooms)


if "AWS_LAMBDA_INITIALIZATION_TYPE" in os.environ:
    _sweep()  # before the first call, while Lambda gives a whole processor
