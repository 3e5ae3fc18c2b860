"""Channels: what each asks of content and consent."""

from dataclasses import dataclass

from server.domain.content import ChannelKind


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel. With a `purpose`, only customers who granted it are contacted there."""

    id: str
    kind: ChannelKind = ChannelKind.HTML
    purpose: str = ""
