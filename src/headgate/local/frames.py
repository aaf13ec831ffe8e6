"""What a worker and the processes of its handlers say to each other, on a socket pair.

    worker                              hand
        ── starts ─────────────────────▶ loads the app
        ◀────────────────── a first frame ─ it is ready
        ── groups of messages ─────────▶ handles one group after the other
        ◀──────────────── a frame a group ─ reports
        ── no groups ──────────────────▶ gives back the groups that it has not begun
        ◀───────────────────────────────── how many, the last ones, which it will not begin
        ◀────────── nothing, where it is spent ─ it begins no more
        ── (end of file) ──────────────▶ ends; at once, if it is at a group

Each frame is its length, in four bytes, and MessagePack.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from headgate.gate.handle import Report
from headgate.message import Message

Group = list[Message]

encoded_groups = msgspec.msgpack.Encoder().encode
groups_of = msgspec.msgpack.Decoder(list[Group]).decode
encoded_reports = msgspec.msgpack.Encoder().encode
reports_of = msgspec.msgpack.Decoder(list[Report] | int | None).decode
"""The reports of a group; or how many groups are given back; or that no more are begun."""

READ_BYTES = 256 * 1024


def framed(content: bytes) -> bytes:
    """The frame of some content."""
    return len(content).to_bytes(4, "big") + content


class Unframing:
    """Frames out of the pieces that they come in."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The contents that are complete with this piece."""
        self._kept += piece
        at = 0
        while len(self._kept) - at >= 4:
            end = at + 4 + int.from_bytes(self._kept[at : at + 4], "big")
            if end > len(self._kept):
                break
            yield bytes(self._kept[at + 4 : end])
            at = end
        del self._kept[:at]
