"""What an export tells while it works; apart from the work itself, so that it needs no library."""


class Progress:
    """What an export tells while it works, and where it may be stopped by an exception; this one says nothing."""

    def step(self, text: str) -> None:
        """A part of the work begins."""

    def part(self, text: str, share: float) -> None:
        """How far the present step is: what it is at, and the share of it that is done, 0 to 1."""

    def warn(self, text: str) -> None:
        """Something that the user must know."""
