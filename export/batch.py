"""The batch sizes of a file: what a network is exported for and an engine is built for. Needs no other library."""

import re
from dataclasses import dataclass

from ..errors import InputError

BATCH_NAME = "batch"


@dataclass(frozen=True)
class Batch:
    """Batch sizes of a file: one fixed size where all three agree, else free between `minimum` and `maximum`."""

    minimum: int = 1
    optimum: int = 1
    maximum: int = 1

    @property
    def is_dynamic(self) -> bool:
        """Whether the file accepts several batch sizes."""
        return self.minimum != self.maximum

    @property
    def dimension(self) -> int | str:
        """The first entry of shapes: the number, or the name of the free size."""
        return BATCH_NAME if self.is_dynamic else self.optimum


def parse_batch(text: str) -> Batch:
    """ "1" -> one fixed size, "1,4,8" -> minimum, optimum, maximum of a free size.

    Raises:
        InputError: the text has another form, or the numbers do not ascend.
    """
    if re.fullmatch(r"\d{1,4}(,\d{1,4},\d{1,4})?", text):
        numbers = [int(part) for part in text.split(",")]
        batch = Batch(*numbers) if len(numbers) == 3 else Batch(numbers[0], numbers[0], numbers[0])
        if 1 <= batch.minimum <= batch.optimum <= batch.maximum:
            return batch
    raise InputError(f"--batch {text!r} is no batch; give a number, or MIN,OPT,MAX that ascend, such as 1,4,8")
