"""The exceptions for mistakes that a user can fix."""

from modules.base.names import shown


class WebuiError(Exception):
    """A mistake a user can fix, described in one sentence.

    `message` names the field, its value and what was expected; `hint` is the cure if the message does not say it;
    `field` is the wrong field of the request or the settings ("" for none); `status` is the HTTP status of the
    response. Raising it loses nothing: the server, the queue and the form stay as they were.
    """

    def __init__(self, message: str, hint: str = "", field: str = "", status: int = 422) -> None:
        message, hint = shown(message), shown(hint)  # a file's name in it may hold bytes that cannot be sent
        super().__init__(message, hint, field, status)  # positional, so that it survives pickling between processes
        self.message = message
        self.hint = hint
        self.field = field
        self.status = status

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip() if self.hint else self.message


class Busy(WebuiError):
    """The server has no capacity for this now; the client may retry in `retry_after` seconds."""

    def __init__(self, message: str, hint: str = "", retry_after: int = 1) -> None:
        super().__init__(message, hint, status=429)
        self.retry_after = retry_after
