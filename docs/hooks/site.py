"""The hook of `mkdocs.yml`: adds generated pages, and links pages to each other.

Pages of docs/, README.md and BUILD.md link to files of the repository, so that their links work in
the repository. Here they become links to the pages that show these files.
"""

import pathlib
import posixpath
import sys
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import links  # noqa: E402
import pages  # noqa: E402


def on_config(config: MkDocsConfig) -> None:
    """Replaces `families/` and `reference/` in the navigation by their pages.

    Pages of docs/ that `mkdocs.yml` does not name are the last topics.
    """
    sections = [entry(item) for item in config.nav or []]
    named = str(sections)
    topics = next(item["Topics"] for item in sections if "Topics" in item)
    docs = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    topics += [name for name in docs if f"'{name}'" not in named]
    config.nav = sections


def entry(item: dict[str, Any]) -> dict[str, Any]:
    """Returns an entry of the navigation, with all pages of a folder."""
    [(title, content)] = item.items()
    if not isinstance(content, str):
        return item
    found = [name for name in PAGES if name.startswith(content)]
    return {title: sorted(found, key=lambda name: not name.endswith("index.md"))}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds generated pages, pages of the repository's root, and the files that pages link to."""
    wanted: dict[str, str] = {}  # page or picture of the site: path in the repository
    for name, text in PAGES.items():
        files.append(File.generated(config, name, content=text))
        wanted |= {links.source_page(path): path for path in links.sources(text)}
    for path, name in FRONT.items():
        text = (ROOT / path).read_text()
        wanted |= {links.page_of(target): target for target in links.linked(text, ".")}
        text = links.rewritten(text, ".", name)
        files.append(File.generated(config, name, content=text))
    for file in files.documentation_pages():
        if in_docs(file):
            found = links.linked(file.content_string, folder(file))
            wanted |= {links.page_of(target): target for target in found}
    for name, path in wanted.items():
        if files.get_file_from_path(name) is None and (ROOT / path).exists():
            if name.startswith("source/"):
                text = pages.source_text(ROOT, path)
                files.append(File.generated(config, name, content=text))
            else:
                files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, **kwargs: Any) -> str:
    """Rewrites the links of the pages of docs/."""
    if not in_docs(page.file):
        return markdown
    return links.rewritten(markdown, folder(page.file), page.file.src_uri)


def in_docs(file: File) -> bool:
    """Returns whether a page is a file of docs/."""
    return file.generated_by is None


def folder(file: File) -> str:
    """Returns where a file of docs/ is in the repository."""
    return posixpath.join("docs", posixpath.dirname(file.src_uri))


PAGES = pages.generated(ROOT)
FRONT = {path: name for path, name in links.FRONT.items() if (ROOT / path).exists()}
