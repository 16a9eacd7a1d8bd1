"""What pyproject.toml promises."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def lowest(requirements):
    return dict(re.fullmatch(r"([\w-]+)>=([\d.]+)", one).groups() for one in requirements if ">=" in one)


def test_the_lowest_versions_tested_are_the_lowest_allowed():
    extras = PROJECT["optional-dependencies"]
    tested_extras = (extras[name] for name in ("data", "dask", "weights", "test"))
    allowed = lowest([*PROJECT["dependencies"], *(one for extra in tested_extras for one in extra)])
    ours = (ROOT / "tests/lowest.txt").read_text().partition("# not ours")[0]
    tested = dict(line.split("==") for line in ours.splitlines() if not line.startswith("#"))

    def padded(version):
        return [*version.split("."), "0", "0"][:3]

    assert {name: padded(v) for name, v in tested.items()} == {name: padded(v) for name, v in allowed.items()}


def test_the_package_is_typed_and_has_one_version():
    import gradlab

    assert (ROOT / "gradlab/py.typed").is_file()
    assert gradlab.__version__ == PROJECT["version"]
    assert f"version: {PROJECT['version']}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_public_name_is_there():
    import gradlab as gl

    for name in gl.__all__:
        assert getattr(gl, name) is not None
    assert callable(gl.trace)
    assert callable(gl.selfcheck)
