"""Reads pyproject.toml. `project.py python FILE` prints yes when this Python satisfies requires-python, else what that says;
`project.py dependencies FILE` prints the packages to install. On failure prints why, with exit status 1. Builds nothing."""

import platform
import sys

try:
    import tomllib
except ImportError:  # Python 3.10 and older
    from pip._vendor import tomli as tomllib


def fail(why):
    print(f"pyproject.toml: {why}")
    sys.exit(1)


def satisfied(wanted):
    try:
        from pip._vendor.packaging.specifiers import SpecifierSet
    except ImportError:
        fail("requires-python cannot be read without pip: install it (Debian: apt-get install python3-pip)")
    try:
        return platform.python_version() in SpecifierSet(wanted)
    except ValueError:
        fail(f'requires-python: "{wanted}" is not a range of versions, such as ">=3.11"')


what, path = sys.argv[1:]
try:
    with open(path, "rb") as file:
        document = tomllib.load(file)
except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
    fail(error)

project = document.get("project", {})
if what == "python":
    wanted = str(project.get("requires-python", ""))
    print("yes" if wanted == "" or satisfied(wanted) else wanted)
else:
    if not project and "poetry" in document.get("tool", {}):
        fail("only [project] is read here: write the packages down in requirements.txt (poetry export -o requirements.txt)")
    dependencies = project.get("dependencies", [])
    if not isinstance(dependencies, list) or not all(isinstance(one, str) for one in dependencies):
        fail("project.dependencies must be a list of requirements")
    print("\n".join(dependencies))
