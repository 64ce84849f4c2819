"""A company's own application around nightdrop, in Python: it asks for a document by API, sends its user to the one-time link, takes them back with a signed state,
and is told by webhook what became of the document. Set it up as examples/hosted_flow.rs says, then:

    pip install standardwebhooks
    NIGHTDROP_URL=http://127.0.0.1:8081 NIGHTDROP_TOKEN=ndk_… WEBHOOK_SECRET=whsec_… python3 examples/hosted_flow.py
"""

import hashlib
import hmac
import json
import os
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from standardwebhooks import Webhook, WebhookVerificationError

PORTAL = os.environ.get("NIGHTDROP_URL", "http://127.0.0.1:8081")
KEY = os.environ["NIGHTDROP_TOKEN"]
WEBHOOK = Webhook(os.environ["WEBHOOK_SECRET"])
LISTEN = os.environ.get("LISTEN", "127.0.0.1:3000")
# Older signatures are not believed.
TOLERANCE = 300


def call(path, body=None):
    """One call of the API."""
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{PORTAL}/api/v1{path}", data, headers)) as answer:
        return json.load(answer)


def ask():
    """Step 1: ask for the document. The answer's `url` is for this user alone."""
    return call("/requests", {
        "provider": os.environ.get("PROVIDER", "sandbox"),
        "applicant": os.environ.get("APPLICANT", "james"),
        "document": "passport",
        "return_url": f"http://{LISTEN}/back",
    })


def came_back(query):
    """Step 2: the user is back. Whether it was nightdrop that sent them, the signature says."""
    request, state, at = (query[name] for name in ("nightdrop_request", "nightdrop_state", "nightdrop_at"))
    key = call("/return-key")["key"]
    signed = "\n".join(["nightdrop/v1/return", request, state, at])
    expected = hmac.new(key.encode(), signed.encode(), hashlib.sha256).hexdigest()
    # Compared in constant time.
    if not hmac.compare_digest(expected.encode(), query["nightdrop_signature"].encode()):
        raise ValueError("this did not come from nightdrop")
    if abs(int(at) - time.time()) > TOLERANCE:
        raise ValueError("this is too old")
    return f"{request} is {state}"


def told(headers, body):
    """Step 3: a webhook. A real application keeps the ids that it has seen: an event may come twice."""
    return WEBHOOK.verify(body, {name.lower(): value for name, value in headers.items()})


class Visitor(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/":
            issued = ask()
            print("asked for", issued["id"], flush=True)
            self.answer(303, location=issued["url"])
        elif url.path == "/back":
            try:
                said = came_back(dict(parse_qsl(url.query)))
            except (KeyError, ValueError) as why:
                return self.answer(403, str(why))
            print("back:", said, flush=True)
            self.answer(200, f"Thank you. {said}")
        else:
            self.answer(404, "nothing here")

    def do_POST(self):
        body = self.rfile.read(min(int(self.headers.get("content-length", 0)), 1 << 20))
        try:
            event = told(self.headers, body)
        except WebhookVerificationError as why:
            return self.answer(403, str(why))
        print("event:", event["type"], event["data"]["request"], flush=True)
        self.answer(204)

    def answer(self, status, text="", location=None):
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        if status != 204:
            self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        """Addresses hold signatures: no log of them."""


host, port = LISTEN.rsplit(":", 1)
server = ThreadingHTTPServer((host, int(port)), Visitor)
print(f"open http://{LISTEN}/", flush=True)
server.serve_forever()
