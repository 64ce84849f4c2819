"""The journey with the client that openapi-python-client makes of the OpenAPI document; tests/it/generated.rs generates it and runs this."""

import os
import time

import httpx
from nightdrop_client import AuthenticatedClient
from nightdrop_client.api.requests import (
    extend_request,
    get_deletion_receipt,
    get_request,
    issue_request,
    list_requests,
    revoke_request,
    search_requests,
)
from nightdrop_client.models import IssuedRequest, NewExpiry, NewRequest, Nothing, Outcome, Problem, ProblemCode, RequestState, Search

PUBLIC = os.environ["NIGHTDROP_PUBLIC"]
client = AuthenticatedClient(base_url=os.environ["NIGHTDROP_URL"] + "/api/v1", token=os.environ["NIGHTDROP_TOKEN"])


def issue(applicant: str) -> IssuedRequest:
    wanted = NewRequest(provider="sandbox", applicant=applicant, document="passport", expires_in="24h", ticket="ZD-4711")
    issued = issue_request.sync(client=client, body=wanted, idempotency_key=applicant)
    assert isinstance(issued, IssuedRequest), issued
    assert issued.state == RequestState.AWAITING
    return issued


issued = issue("python-1")
assert issue("python-1").id == issued.id, "the same key, the same request"

listed = list_requests.sync(client=client, state=RequestState.AWAITING, limit=10)
assert [request.id for request in listed.requests] == [issued.id]
found = search_requests.sync(client=client, body=Search(find="ZD-4711"))
assert [request.id for request in found.requests] == [issued.id]

extended = extend_request.sync(issued.id, client=client, body=NewExpiry(expires_in="48h"))
assert extended.link.expires_at > issued.expires_at

_, path = issued.url.split("/d/")
with open(os.environ["PHOTO"], "rb") as photo:
    dropped = httpx.post(f"{PUBLIC}/d/{path}", files={"front": ("photo.png", photo, "image/png")})
assert dropped.status_code == 200, dropped.text

# The portal works by itself; a client looks from time to time.
deadline = time.monotonic() + 60
while (request := get_request.sync(issued.id, client=client)).state != RequestState.PURGED:
    assert time.monotonic() < deadline, request.state
    time.sleep(0.05)
assert request.outcome == Outcome.CONFIRMED
receipt = get_deletion_receipt.sync(issued.id, client=client)
assert receipt.request == issued.id and receipt.number == request.receipt_number

other = issue("python-2")
assert revoke_request.sync(other.id, client=client, body=Nothing()).state == RequestState.REVOKED

refused = issue_request.sync(client=client, body=NewRequest(provider="sandbox", applicant="a b", document="passport", locale="?"))
assert isinstance(refused, Problem) and refused.code == ProblemCode.REQUEST_INVALID
assert sorted(error.field for error in refused.errors) == ["applicant", "locale"]
print("done")
