"""The message that every peer takes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Order(BaseModel):
    """About 150 bytes of JSON, found again by `record_id`."""

    model_config = ConfigDict(strict=True)

    record_id: str
    parameter_1: str
    parameter_2: float
