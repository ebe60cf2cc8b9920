"""Pages that are generated from the code: a page per family, the API, and sources."""

import importlib
import inspect
import pathlib
import pkgutil
import posixpath
from types import ModuleType
from typing import Any

import settings
from docstrings import markdown
from links import source_page

import genjax
from genjax import families
from genjax.core import GanObjective, Optimizer, protocols
from genjax.data import Data
from genjax.train import Figure, Run, Train

PACKAGES = ("losses", "nn", "core")
SETTINGS = (Run, Data, Optimizer, Train, Figure, GanObjective)


def generated(root: pathlib.Path) -> dict[str, str]:
    """Returns the Markdown of all generated pages except sources, by the page's source."""
    pages = {f"families/{name}.md": family(root, name) for name in families.FAMILIES}
    pages |= {f"reference/{name}.md": package(name) for name in PACKAGES}
    pages["families/index.md"] = all_families()
    pages["reference/families.md"] = registry()
    pages["reference/protocols.md"] = "# Protocols\n\n" + documented(
        "genjax.core.protocols", show_root_heading=False, heading_level=1
    )
    pages["reference/settings.md"] = all_settings()
    return pages


def family(root: pathlib.Path, name: str) -> str:
    """Returns the page of a family."""
    module = families.get(name)
    page = f"families/{name}.md"
    users = [
        path.relative_to(root).as_posix()
        for path in sorted((root / "experiments").glob("*.py"))
        if f'family="{name}"' in path.read_text()
    ]
    code = pathlib.Path(inspect.getfile(module))
    files = sorted(code.parent.rglob("*.py")) if code.stem == "__init__" else [code]
    sources = [path.relative_to(root).as_posix() for path in files]
    functions = [
        key
        for key, value in vars(module).items()
        if inspect.isfunction(value) and value.__doc__ and value.__module__ == module.__name__
    ]
    text = [f"# {name}", markdown(inspect.cleandoc(module.__doc__ or "")), facts(module)]
    if users:
        text.append(f"Experiments: {', '.join(source(path, page) for path in users)}.")
    text.append(f"Source: {', '.join(source(path, page) for path in sources)}.")
    text += ["## Config", markdown(inspect.cleandoc(module.Config.__doc__))]
    text.append(settings.table(module.Config))
    if functions:
        text += ["## Functions", *(documented(f"{module.__name__}.{key}") for key in functions)]
    return "\n\n".join(text) + "\n"


def facts(module: ModuleType) -> str:
    """Returns density and data of a family's default Config, and its protocols."""
    traits = module.traits(module.Config())
    names = [
        f"[`{name}`][genjax.core.protocols.{name}]"
        for name, value in vars(protocols).items()
        if getattr(value, "_is_runtime_protocol", False) and isinstance(module, value)
    ]
    return f"Density: {traits.density}. Data: {traits.data}. Protocols: {', '.join(names)}."


def source(path: str, page: str) -> str:
    """Returns a link of a page to the page that shows a file of the repository."""
    target = posixpath.relpath(source_page(path), posixpath.dirname(page))
    return f"[`{path}`]({target})"


def all_families() -> str:
    """Returns the page that lists the families."""
    rows = ["| family | density | summary |", "|---|---|---|"]
    for name in families.FAMILIES:
        module = families.get(name)
        first = inspect.cleandoc(module.__doc__ or "").split("\n\n")[0]
        density = module.traits(module.Config()).density
        rows.append(f"| [`{name}`]({name}.md) | {density} | {settings.cell(first)} |")
    return "# Families\n\n" + "\n".join(rows) + "\n"


def package(name: str) -> str:
    """Returns the API page of a package: its public names, module by module."""
    whole = importlib.import_module(f"genjax.{name}")
    text = [f"# genjax.{name}", markdown(inspect.cleandoc(whole.__doc__ or ""))]
    text.append(f"`genjax.{name}` has the names {', '.join(f'`{key}`' for key in whole.__all__)}.")
    for info in pkgutil.iter_modules(whole.__path__):
        module = importlib.import_module(f"genjax.{name}.{info.name}")
        members = [key for key, value in vars(module).items() if belongs(key, value, module)]
        exported = [key for key in members if key in whole.__all__]
        shown = members if name == "nn" else exported
        if shown and module is not protocols:
            text += [f"## {module.__name__}", markdown(inspect.cleandoc(module.__doc__ or ""))]
            text += [documented(f"{module.__name__}.{key}") for key in shown]
    return "\n\n".join(text) + "\n"


def belongs(name: str, value: Any, module: ModuleType) -> bool:
    """Returns whether a name of a module is public, defined there and documented."""
    defined = getattr(value, "__module__", "") == module.__name__
    return callable(value) and defined and bool(value.__doc__) and not name.startswith("_")


def registry() -> str:
    """Returns the API page of the registry of families, and of `genjax` itself."""
    names = ("get", "implementing", "parts_of", "of")
    text = ["# genjax.families", families.__doc__ or ""]
    text += [documented(f"genjax.families.{name}", heading_level=2) for name in names]
    text += ["## genjax", genjax.__doc__ or "", documented("genjax.jitted_step")]
    return "\n\n".join(text) + "\n"


def all_settings() -> str:
    """Returns the page of the settings of a run."""
    text = ["# Settings", "Fields of a run's `config.json`, and options of the commands."]
    for cls in SETTINGS:
        doc = markdown(inspect.cleandoc(cls.__doc__ or ""))
        text += [f"## {cls.__module__}.{cls.__name__}", doc, settings.table(cls)]
    return "\n\n".join(text) + "\n"


def documented(name: str, **options: Any) -> str:
    """Returns the Markdown by which mkdocstrings shows an object."""
    lines = [f"::: {name}"]
    if options:
        lines += ["    options:", *(f"      {key}: {value!r}" for key, value in options.items())]
    return "\n".join(lines).replace(": True", ": true").replace(": False", ": false")


def source_text(root: pathlib.Path, path: str) -> str:
    """Returns the page that shows a file of the repository, or the names in a folder."""
    language = "python" if path.endswith(".py") else "text"
    if (root / path).is_dir():
        names = (file.name for file in (root / path).iterdir() if file.name[0] not in "._")
        text = "\n".join(sorted(names))
    else:
        text = (root / path).read_text().rstrip("\n")
    head = f"---\ntitle: {path}\nsearch:\n  exclude: true\n---\n"
    return f"{head}\n# {path}\n\n``````{language}\n{text}\n``````\n"
