"""Places: how many things each device has under way. A device that has none takes no room."""


class Places:
    """Counts by device; whoever takes a place gives it back."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def taken(self, device_id: str) -> int:
        """Return how many the device has."""
        return self._taken.get(device_id, 0)

    def take(self, device_id: str) -> None:
        """Give the device one more."""
        self._taken[device_id] = self.taken(device_id) + 1

    def give_back(self, device_id: str) -> None:
        """Take one of the device's back."""
        left = self._taken.pop(device_id) - 1
        if left:
            self._taken[device_id] = left
