"""Make a page of each text: the first line is its head. Runs once for a release, and writes into it."""

import os
from html import escape
from pathlib import Path

Path("site").mkdir()
for text in Path("pages").glob("*.txt"):
    head, *lines = text.read_text(encoding="utf-8").splitlines()
    body = "".join(f"<p>{escape(line)}</p>\n" for line in lines)
    page = f"<title>{escape(head)} - {escape(os.environ['TITLE'])}</title>\n{body}"
    Path("site", f"{text.stem}.html").write_text(page, encoding="utf-8")
    print(f"made {text.stem}.html")
