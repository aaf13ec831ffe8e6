"""What is asked of SQS in batches is permitted by the action of a single message.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html: there is no SendMessageBatch.
"""

from __future__ import annotations

from typing import Any

from ministack.core import iam_actions


def install() -> None:
    """Amend the names of actions."""
    extract = iam_actions.extract_iam_action

    def extracted(service: str, *rest: Any, **named: Any) -> Any:
        action = extract(service, *rest, **named)
        return action.removesuffix("Batch") if service == "sqs" and action else action

    iam_actions.extract_iam_action = extracted
