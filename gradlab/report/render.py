"""Render templates to one HTML file that loads nothing and runs only its own script."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from gradlab import __version__


def rendered(template: str, **context: Any) -> str:
    """Return the page of a template in ``templates/``; all values in ``context`` are escaped.

    A content security policy names the hashes of the page's style and script. The browser then neither runs nor loads
    anything else, even if a text were not escaped by mistake.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gradlab.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = (_ours(name) for name in ("page.css", "tables.js"))
    ours = {"style": Markup(style), "script": Markup(script), "policy": policy(style, script), "version": __version__}
    return environment.get_template(template).render(**ours, **context)


def policy(style: str, script: str) -> str:
    """Return the page's content security policy: embedded pictures, this style, this script, nothing else."""
    return (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _ours(name: str) -> str:
    return resources.files("gradlab.report").joinpath("templates", name).read_text(encoding="utf-8")
