"""What the site takes from outside of ``docs``: README as its first page, the changelog and its like, and the example DAGs.

One rule: a page has one place in the source, and its links work there too. So links are turned here, as the site is built.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
#: file of the project -> page of the site
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security_policy.md",
}
#: files without a page, which a link may open as they are
AS_THEY_ARE = ("LICENSE", "NOTICE")
_ROLE = re.compile(r":\w+:<code>~?(?:[\w.]+\.)?(\w+)</code>")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages and the example DAGs."""
    for name, page in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        text = re.sub(r"\]\((?=[\w.]+(?:\.md)?[)#])", "](../", text).replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    for path in [*(ROOT / "dags").glob("*.py"), *(ROOT / name for name in AS_THEY_ARE)]:
        files.append(File.generated(config, f"files/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turn links that leave ``docs``."""
    for name, target in PAGES.items():
        markdown = markdown.replace(f"](../{name}", f"]({target}")
    for name in AS_THEY_ARE:
        markdown = markdown.replace(f"](../{name})", f"](files/{name})")
    return markdown.replace("](../dags/", "](files/")


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Show a role of a docstring, such as ``:meth:``, as the name that it holds."""
    return _ROLE.sub(r"<code>\1</code>", html)
