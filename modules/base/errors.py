"""The exceptions that mean: a person can mend this."""

from modules.base.names import shown


class WebuiError(Exception):
    """A mistake a user can mend, told in one sentence.

    `message` names the field, its value and what was expected; `hint` is the cure when the message does not hold it
    already; `field` is the request or settings field at fault (empty when none is); `status` is the HTTP status the
    API answers with. Nothing is lost when it is raised: the server, the queue and the form stay as they were.
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
    """The client asked for more than there is at the moment, and may ask again in `retry_after` seconds."""

    def __init__(self, message: str, hint: str = "", retry_after: int = 1) -> None:
        super().__init__(message, hint, status=429)
        self.retry_after = retry_after
