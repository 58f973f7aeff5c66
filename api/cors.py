"""Which web pages may read answers; a preflight that is refused says so as every other refusal does."""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from api.errors import Problem
from domain.tracing import CURRENT

REQUEST_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "X-Request-Id", "traceparent")
ANSWER_HEADERS = (
    "Location", "Idempotent-Replay", "X-Request-Id", "RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate",
    "Vanta-Audit-Since",
)  # fmt: skip


class Cors(CORSMiddleware):
    def preflight_response(self, request_headers: Headers) -> Response:
        found = super().preflight_response(request_headers)
        if found.status_code < 400:
            return Response(status_code=204, headers=_kept(found))
        trace = CURRENT.get()
        detail = "The page's origin, or what it wants to send, is not allowed."
        return Problem(400, "cors-refused", detail, headers=_kept(found)).response(trace.request_id if trace else "")


def _kept(response: Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if not name.startswith("content-")}
