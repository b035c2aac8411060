"""The page of a server, from its OpenAPI description: HTML alone, so that it is read without a network."""

import html
import json
from typing import Any

HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; }}
pre {{ background: #f4f4f4; padding: .8rem; overflow-x: auto; }}
table {{ border-collapse: collapse; }} td, th {{ text-align: left; padding: .2rem .8rem .2rem 0; vertical-align: top; }}
code {{ background: #f4f4f4; }}
</style></head><body>
<h1>{title}</h1>
<p>{words}</p>
<p>The same for programs: <a href="openapi.json">openapi.json</a>.</p>
"""


def page_of(schema: dict[str, Any]) -> str:
    """Return the page of a server whose OpenAPI description this is."""
    information = schema['info']
    parts = [HEAD.format(title=_text(information['title']), words=_text(information.get('description', '')))]
    for path, methods in schema['paths'].items():
        for method, operation in methods.items():
            parts.append(_operation(path, method, operation))
    return ''.join(parts) + '</body></html>\n'


def _operation(path, method, operation):
    parts = [f'<h2><code>{_text(method.upper())} {_text(path)}</code></h2>']
    parts.append(f'<p>{_text(operation.get("summary", ""))} {_text(operation.get("description", ""))}</p>')
    rows = [
        f'<tr><td><code>?{_text(one["name"])}</code></td><td>{_text(one.get("description", ""))}</td></tr>'
        for one in operation.get('parameters', ())
    ]
    if rows:
        parts.append(f'<table>{"".join(rows)}</table>')
    for kind, content in operation.get('requestBody', {}).get('content', {}).items():
        parts.append(f'<h3>{_text(kind)}</h3><p>{_text(content["schema"].get("description", ""))}</p>')
        if 'example' in content:
            example = content['example']
            written = example if isinstance(example, str) else json.dumps(example, indent=1)
            parts.append(f'<pre>{_text(written)}</pre>')
    rows = [
        f'<tr><td>{_text(status)}</td><td>{_text(one.get("description", ""))}</td></tr>'
        for status, one in operation.get('responses', {}).items()
    ]
    return ''.join(parts) + f'<h3>Answers</h3><table>{"".join(rows)}</table>'


def _text(words):
    return html.escape(str(words))
