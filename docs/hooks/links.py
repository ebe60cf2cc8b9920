"""Links between files of the repository, as links between pages of the site."""

import posixpath
import re

FENCE = re.compile(r"^ *```.*?^ *```$|`[^`\n]+`", re.DOTALL | re.MULTILINE)
# A target of Markdown, or of an attribute of HTML, without its anchor.
TARGET = re.compile(r"""(\]\(|(?:src|srcset|href)=")([^)#"\s:]+)(?=[)#"\s])""")
FRONT = {"README.md": "index.md", "BUILD.md": "building.md", "RESULTS.md": "results.md"}
IMAGES = (".png", ".gif", ".jpg", ".svg", ".webp")


def page_of(path: str) -> str:
    """Returns where the site shows a file of the repository.

    Args:
      path: of the file, from the root of the repository.

    Returns:
      The source of a page, or a picture, from the root of the site.
    """
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    family = re.fullmatch(r"genjax/families/([a-z]\w*?)(/__init__)?\.py", path)
    if family:
        return f"families/{family[1]}.md"
    shown = re.fullmatch(r"genjax/(?:(losses|nn|core)/__init__|core/(protocols))\.py", path)
    if shown:
        return f"reference/{shown[1] or shown[2]}.md"
    if path.endswith(IMAGES):
        return f"files/{path}"
    return FRONT.get(path, source_page(path))


def source_page(path: str) -> str:
    """Returns the page that shows the text of a file of the repository."""
    return f"source/{path}.md"


def sources(text: str) -> set[str]:
    """Returns the paths of the files whose source pages a generated page links to."""
    return set(re.findall(r"\]\([./]*source/([^)]+)\.md\)", text))


def linked(text: str, folder: str) -> set[str]:
    """Returns the paths, from the root of the repository, that a page in a folder links to."""
    return {
        posixpath.normpath(posixpath.join(folder, match[2]))
        for part in FENCE.split(text)
        for match in TARGET.finditer(part)
    }


def rewritten(text: str, folder: str, page: str) -> str:
    """Returns a page's Markdown with links to pages of the site.

    Args:
      text: Markdown with links between files of the repository.
      folder: where its file is in the repository.
      page: source of the page, from the root of the site.
    """

    def link(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, match[2]))
        return match[1] + posixpath.relpath(page_of(path), posixpath.dirname(page) or ".")

    code = FENCE.findall(text)
    parts = [TARGET.sub(link, part) for part in FENCE.split(text)]
    return "".join(part + block for part, block in zip(parts, [*code, ""], strict=True))
