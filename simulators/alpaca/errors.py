"""The vendor's refusals: HTTP status, numeric code, message, and the extra fields some of them carry.

Only the HTTP statuses and codes 40010001, 40310000, 40410000 and 42210000 are known from the vendor's documents or
public reports; the other codes follow their pattern.
"""

MALFORMED_BODY = 40010000
INVALID_PARAMETER = 40010001  # shared by malformed parameters and by a client order id that is already spent
UNAUTHORIZED = 40110000
FORBIDDEN = 40310000
NOT_FOUND = 40410000
UNPROCESSABLE = 42210000
RATE_LIMITED = 42910000
INTERNAL = 50010000


class RefusalError(Exception):
    """Ends a request with the vendor's error body; `headers` go with the answer."""

    def __init__(self, status: int, code: int, message: str, **extra: object) -> None:
        super().__init__(message)
        self.status = status
        self.headers: dict[str, str] = {}
        self.body: dict[str, object] = {"code": code, "message": message, **extra}


def invalid(message: str) -> RefusalError:
    return RefusalError(422, INVALID_PARAMETER, message)


def unprocessable(message: str) -> RefusalError:
    return RefusalError(422, UNPROCESSABLE, message)


def forbidden(message: str, **extra: object) -> RefusalError:
    return RefusalError(403, FORBIDDEN, message, **extra)


def not_found(message: str) -> RefusalError:
    return RefusalError(404, NOT_FOUND, message)
