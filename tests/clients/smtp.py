"""A real mail server for the tests: takes mail by SMTP and writes each one as a line of JSON.

smtp.py OUT [--tls CERT KEY | --starttls CERT KEY] [--login USER PASSWORD] [--refuse N STATUS]
It prints its port, and ends when its standard input does. Each mail is read by Python's own parser, which fails on every defect that it knows.
"""
import asyncio, email, json, ssl, sys
from email import policy

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

args = sys.argv[1:]
out = args.pop(0)
given = {}
while args:
    name = args.pop(0).lstrip("-")
    given[name] = [args.pop(0), args.pop(0)]


def context():
    cert, key = given.get("tls") or given["starttls"]
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(cert, key)
    return made


class Handler:
    left = int(given["refuse"][0]) if "refuse" in given else 0

    async def handle_DATA(self, server, session, envelope):
        if Handler.left > 0:
            Handler.left -= 1
            return given["refuse"][1] + " not now"
        # As strict as it can be: what it finds odd is an error, and the line says so.
        read = email.message_from_bytes(envelope.content, policy=policy.SMTP.clone(raise_on_defect=True))
        parts = {part.get_content_type(): part.get_content() for part in read.walk() if not part.is_multipart()}
        odd = [str(defect) for part in read.walk() for defect in part.defects]
        odd += [f"{name}: {defect}" for part in read.walk() for name, value in part.items() for defect in getattr(value, "defects", ())]
        mail = {
            "headers": {name: str(value) for name, value in read.items()},
            "kinds": [part.get_content_type() for part in read.walk()],
            "text": parts.get("text/plain"),
            "html": parts.get("text/html"),
            "defects": odd,
            "longest": max(len(line) for line in envelope.content.split(b"\r\n")),
            "bare": envelope.content.replace(b"\r\n", b"").count(b"\n") + envelope.content.replace(b"\r\n", b"").count(b"\r"),
            "ascii": envelope.content.isascii(),
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "content": envelope.content.decode("utf-8", "replace"),
            "tls": session.ssl is not None or "tls" in given,
            "login": bool(session.authenticated),
        }
        with open(out, "a", encoding="utf-8") as file:
            file.write(json.dumps(mail) + "\n")
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    user, password = given["login"]
    return AuthResult(success=data.login == user.encode() and data.password == password.encode())


class Server(Controller):
    def factory(self):
        more = {}
        if "starttls" in given:
            more.update(tls_context=context(), require_starttls=True)
        if "login" in given:
            more.update(authenticator=authenticate, auth_required=True, auth_require_tls="tls" not in given)
        return SMTP(self.handler, enable_SMTPUTF8=False, **more)


server = Server(Handler(), hostname="127.0.0.1", port=0, ssl_context=context() if "tls" in given else None)
# Port 0 cannot be probed by the controller's own check, so it is served by hand.
loop = asyncio.new_event_loop()
listening = loop.run_until_complete(loop.create_server(server.factory, "127.0.0.1", 0, ssl=server.ssl_context))
print(listening.sockets[0].getsockname()[1], flush=True)
loop.run_in_executor(None, sys.stdin.read).add_done_callback(lambda _: loop.stop())
loop.run_forever()
