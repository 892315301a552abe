"""What the API and the jobs ask of the link to the devices; the gateway answers."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from agent.wire.messages import ConfigDocument, Live


class DeviceLink(Protocol):
    """Words to one device while its link is up. Nothing depends on their arrival: the next ack says the same."""

    @property
    def is_up(self) -> bool:
        """Whether devices are served."""

    async def push_config(self, device_id: str, document: ConfigDocument) -> None:
        """Hand the device its desired config."""

    async def watch(self, device_id: str, seconds: int) -> None:
        """Ask the device for readings as they come, for a while."""

    async def cut(self, device_id: str) -> None:
        """End the device's connection: its right to be there is gone."""

    def live(self, device_id: str) -> AbstractAsyncContextManager[AsyncIterator[Live]]:
        """Hear what a watched device sends."""
