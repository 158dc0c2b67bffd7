"""A WSGI application with a package of its own beside it and a server from the package index."""

import os

import greeting


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{greeting.text()} by {environ['SERVER_SOFTWARE'].split('/')[0]}, index {os.environ.get('CF_INSTANCE_INDEX', '0')}\n".encode()]
