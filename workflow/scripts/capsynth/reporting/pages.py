"""Self-contained HTML pages: no network, and no script but the page's own."""

import base64
import hashlib
import html

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem 3rem; max-width: 76rem; color: #1b1f24;
  background: #fff; font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { font-size: 1.35rem; font-weight: 650; margin: 0 0 .3rem; }
p.note { margin: 0 0 1.4rem; color: #57606a; max-width: 62rem; }
"""


def escape(text: object) -> str:
    """Return text that HTML shows as it is, in content and in quoted attributes."""
    return html.escape(str(text), quote=True)


def page(title: str, note: str, body: str, style: str, script: str) -> str:
    """Return a whole page.

    Its content security policy allows this script and pictures inside the page only, so that a
    caption which got past escaping would still be inert.

    Args:
        title: Plain text.
        note: Plain text under the title.
        body: HTML.
        style: CSS beside the style that all pages share.
        script: JavaScript, run after the body is there.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n"
        f'<h1>{escape(title)}</h1>\n<p class="note">{escape(note)}</p>\n'
        f"{body}\n<script>{script}</script>\n</body>\n</html>\n"
    )
