"""An ASGI application without a framework."""

import os


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = f"hello from asgi, index {os.environ.get('CF_INSTANCE_INDEX', '0')}\n".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain; charset=utf-8")]})
    await send({"type": "http.response.body", "body": body})
