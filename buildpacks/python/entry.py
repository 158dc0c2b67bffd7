"""`entry.py PACKAGES` finds what starts an app in the current folder and prints it as a release: a WSGI or ASGI application
with the server among the app's packages, else a file that looks like the one to start. Reads sources as syntax trees; runs
none of them."""

import ast
import importlib.machinery
import json
import pathlib
import sys

NAMES = ("application", "app")
FILES = ("wsgi.py", "asgi.py", "app.py", "main.py", "application.py", "server.py")
ASGI_FRAMEWORKS = {"fastapi", "starlette", "quart", "litestar", "blacksheep"}
SOURCE_BYTES_MAX = 1024 * 1024


def has(module):
    """Among the app's packages: what else this node has installed is not in the droplet."""
    return importlib.machinery.PathFinder.find_spec(module, [sys.argv[1]]) is not None


def tree_of(path):
    try:
        if path.stat().st_size <= SOURCE_BYTES_MAX:
            return ast.parse(path.read_text("utf-8"))
    except (OSError, SyntaxError, ValueError):
        pass
    return ast.Module([], [])


def defined(tree):
    """Names at the top level, and whether each is a coroutine function."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, False
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, False
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name, False
        elif isinstance(node, ast.AsyncFunctionDef):
            yield node.name, True


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def applications():
    """(module:name, is it ASGI) of every candidate, the likeliest first."""
    here = pathlib.Path()
    # A framework's project folder, such as Django's site/wsgi.py.
    nested = [path for name in ("wsgi.py", "asgi.py") for path in sorted(here.glob(f"*/{name}"))]
    for path in [here / name for name in FILES] + nested:
        tree = tree_of(path)
        names = dict(defined(tree))
        for name in NAMES:
            if name in names:
                asgi = names[name] or path.name == "asgi.py" or bool(ASGI_FRAMEWORKS & set(imported(tree)))
                yield ".".join(path.with_suffix("").parts) + f":{name}", asgi
                break


def web():
    found = list(applications())
    wsgi = next((target for target, asgi in found if not asgi), None)
    asgi = next((target for target, asgi in found if asgi), None)
    address = "${HOST:-0.0.0.0}:$PORT"
    if asgi and has("uvicorn"):
        return f"uvicorn --host ${{HOST:-0.0.0.0}} --port $PORT {asgi}"
    if asgi and has("hypercorn"):
        return f"hypercorn --bind {address} {asgi}"
    if wsgi and has("gunicorn"):
        return f"gunicorn --bind {address} {wsgi}"
    if wsgi and has("waitress"):
        return f"waitress-serve --listen={address} {wsgi}"
    for file in ("app.py", "main.py", "server.py"):
        if pathlib.Path(file).is_file():
            return f"python3 {file}"
    if pathlib.Path("manage.py").is_file():
        return f"python3 manage.py runserver --noreload {address}"
    return None


command = web()
# JSON is YAML too.
print(json.dumps({"default_process_types": {"web": command}} if command else {}))
