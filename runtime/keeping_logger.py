"""What TensorRT says of its errors, kept for our own messages."""

from typing import Any


def keeping_logger(trt: Any) -> Any:
    """A logger for the module `trt` that keeps its errors, one line each in `errors`, instead of printing them."""

    class KeepingLogger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in {trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR}:
                self.errors.append(" ".join(message.split()))

    return KeepingLogger()
