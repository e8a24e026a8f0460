"""Streams: the same thing done in several threads at once, stopped together."""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Made = TypeVar("Made")
_LOOK_FOR_SIGNALS_S = 0.5


class Together(Generic[Made]):
    """Runs one function for each stream, each in a thread of its own; a single one runs in the caller's thread.

    The functions call `meet` once, where all of them wait for each other, and look at `stopped` before each inference.

    Args:
        streams: how many there are.
        clock: monotonic, in ns.
    """

    def __init__(self, streams: int, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._start_ns = 0
        self._stop = threading.Event()
        self._errors: list[BaseException] = []
        self._barrier = threading.Barrier(streams, action=self._note_start)

    @property
    def stopped(self) -> bool:
        """Whether another stream failed, or the user interrupted."""
        return self._stop.is_set()

    def meet(self) -> int:
        """Wait until every stream is here: the instant at which the last one came. Units: ns."""
        self._barrier.wait()
        return self._start_ns

    def run(self, functions: Sequence[Callable[[], Made]]) -> list[Made]:
        """What the functions return, in their order.

        Raises:
            BaseException: what the first failing function raised, after all threads have ended; so does Ctrl-C.
        """
        if len(functions) == 1:
            return [functions[0]()]
        made: dict[int, Made] = {}
        # Awaited instead of the threads: where Ctrl-C interrupts a join, Python 3.11 takes the thread for ended.
        ended = [threading.Event() for _ in functions]

        def stream(number: int) -> None:
            try:
                made[number] = functions[number]()
            except threading.BrokenBarrierError:
                # Another stream failed, or the user interrupted; that is what is reported.
                self._halt()
            except BaseException as error:  # noqa: BLE001  Raised again in the caller's thread.
                self._errors.append(error)
                self._halt()
            finally:
                ended[number].set()

        threads = [
            threading.Thread(target=stream, args=(number,), name=f"stream {number}") for number in range(len(functions))
        ]
        try:
            for thread in threads:
                thread.start()
            for one in ended:
                # A signal that comes right before a wait without end would only be seen after it.
                while not one.wait(_LOOK_FOR_SIGNALS_S):
                    pass
        finally:
            self._halt()
            for thread, one in zip(threads, ended, strict=True):
                if thread.ident is not None:
                    one.wait()
                    thread.join()
        if self._errors:
            raise self._errors[0]
        return [made[number] for number in range(len(functions))]

    def _note_start(self) -> None:
        self._start_ns = self._clock()

    def _halt(self) -> None:
        self._stop.set()
        self._barrier.abort()
