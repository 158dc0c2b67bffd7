"""Says who answers, with nothing but Python's standard library."""

import json
import os
import platform
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

INDEX = int(os.environ.get("CF_INSTANCE_INDEX", "0"))


class Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/json":
            body = json.dumps({"language": "python", "version": platform.python_version(), "index": INDEX})
            self.answer(200, "application/json", body)
        elif self.path == "/":
            self.answer(200, "text/plain; charset=utf-8", f"hello from python, index {INDEX}\n")
        else:
            self.answer(404, "text/plain; charset=utf-8", "not found\n")

    def answer(self, status, kind, body):
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format, *args):
        print(format % args, flush=True)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server = ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), Hello)
print(f"hello-python listens on {server.server_port}", flush=True)
server.serve_forever()
