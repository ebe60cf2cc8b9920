"""The site of docs/: it builds without a warning, its links resolve, and its code runs."""

import dataclasses
import html
import importlib.util
import os
import posixpath
import re
import subprocess
import sys
import tomllib
import urllib.parse

import pytest
from support.helpers import ROOT

from genjax import families, losses
from genjax.families import nade

DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "BUILD.md", *DOCS]
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHELL = re.compile(r"^ *```\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
MISSING = [
    name for name in ("mkdocs", "material", "mkdocstrings") if not importlib.util.find_spec(name)
]

needs_mkdocs = pytest.mark.skipif(
    bool(MISSING), reason=f"{', '.join(MISSING)} is not installed (pip install -e '.[docs]')"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Returns the text of every page and style sheet of the site, by its path."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    env = os.environ | {"JAX_PLATFORMS": "cpu", "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    files = [path for path in out.rglob("*") if path.is_file()]
    return {
        path.relative_to(out).as_posix(): path.read_text()
        if path.suffix in (".html", ".css")
        else ""
        for path in files
    }


@needs_mkdocs
def test_every_link_and_anchor_of_the_site_resolves(site):
    anchors = {name: set(re.findall(r'\bid="([^"]+)"', text)) for name, text in site.items()}
    checked = 0
    wrong = []
    for name, text in site.items():
        if name == "404.html":  # its links are those of the site's root
            continue
        for link in set(re.findall(r'\b(?:href|src|srcset)="([^"]*)"', text)):
            url = urllib.parse.urlsplit(html.unescape(link))
            if url.scheme or link in (".", "#"):
                continue
            path = urllib.parse.unquote(url.path)
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
            target = name if not path else target
            fragment = urllib.parse.unquote(url.fragment)
            if target not in site or (fragment and fragment not in anchors[target]):
                wrong.append((name, link))
            checked += 1
    assert wrong == []
    assert checked > 5000


@needs_mkdocs
def test_the_site_loads_nothing_from_another_host(site):
    """Links may lead elsewhere; what a page shows may not come from there."""
    loads = re.compile(
        r"""<(?:script|img|iframe|source|link|video|audio|embed|object)\b[^>]*?"""
        r"""\b(?:src|srcset|href|data)=["']?((?:https?:)?//[^"'\s>]+)"""
        r"""|(?:url\(|@import\s+)["']?((?:https?:)?//[^"')\s]+)"""
    )
    found = [(name, m[0]) for name, text in site.items() for m in loads.finditer(text)]
    assert found == []
    assert loads.search('<link rel="stylesheet" href="https://fonts.googleapis.com/css">')


@needs_mkdocs
def test_pages_of_families_and_of_the_api_are_complete(site):
    for name in families.FAMILIES:
        text = site[f"families/{name}.html"]
        config = families.get(name).Config
        names = [field.name for field in dataclasses.fields(config)]
        assert [f for f in names if f"<td><code>{f}</code></td>" not in text] == [], name
    assert "Number of hidden units H (2011, section 6.2" in site["families/nade.html"]
    assert f"<td><code>{nade.Config().hidden}</code></td>" in site["families/nade.html"]
    reference = site["reference/losses.html"]
    ids = set(re.findall(r'id="genjax\.losses\.\w+\.(\w+)"', reference))
    assert set(losses.__all__) <= ids
    assert 'id="genjax.core.protocols.ExactDensity"' in site["reference/protocols.html"]
    assert "genjax/families/vae/objectives.py.html" in site["families/vae.html"]


@pytest.mark.parametrize("page", [p for p in DOCS if PYTHON.search(p.read_text())], ids=str)
def test_the_python_of_the_docs_runs(page, tmp_path, monkeypatch):
    """All blocks of a page, in order and in one namespace, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    scope = {"__name__": page.stem}
    for block in PYTHON.findall(page.read_text()):
        exec(compile(block, page.name, "exec"), scope)


def test_every_python_block_is_one_that_runs():
    """Blocks with another info string would be left out."""
    opened = [line for p in PAGES for line in p.read_text().splitlines() if "```py" in line]
    assert {line.strip() for line in opened} == {"```python"}
    assert len(opened) > 10


def command_lines():
    """Returns the lines of all shell blocks, without continuations, comments and variables."""
    text = "\n".join(block for page in PAGES for block in SHELL.findall(page.read_text()))
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines()]
    lines = [part.strip() for line in lines for part in re.sub(r"\s#.*", "", line).split("&&")]
    return [re.sub(r"^(\w+=\S+ )+", "", line) for line in lines if line]


def test_programs_and_extras_of_the_docs_exist():
    """`genjax` and `python -m` are checked with their options in test_readme."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    checked = 0
    for line in command_lines():
        if script := re.match(r"(?:python3?|bash) ([\w./]+)(.*)", line):
            source = (ROOT / script[1]).read_text()
            options = re.findall(r"(?<!\S)--[\w-]+", script[2])
            assert [option for option in options if f'"{option}"' not in source] == [], line
            checked += 1
        if wanted := re.search(r"pip install .*\[([\w,]+)\]", line):
            assert set(wanted[1].split(",")) <= extras["optional-dependencies"].keys(), line
            checked += 1
    assert checked > 5
