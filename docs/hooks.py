"""Hooks of the site's build: pages from outside `docs/`, notebooks as pages, and equations as MathML.

mkdocs calls the functions whose names begin with `on_`. Nothing here imports bnnrl or executes a notebook.
"""

import base64
import html
import json
import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.structure.files import File

# Files outside docs/ that become part of the site at the same path. Links between them and the pages in docs/ are
# relative to the file, as GitHub needs them: (../../experiments/results/README.md) in docs/results/index.md.
MOUNTED = ("CHANGELOG.md", "CONTRIBUTING.md", "experiments/**/*.md", "experiments/**/*.png", "experiments/**/*.csv")
# A paragraph that is nothing but such a link, named Table, is replaced by the file's content.
_TABLE = re.compile(r"^\[Table\]\((?:\.\./)+(experiments/[\w/.-]+\.md)\)$", re.MULTILINE)
_PICTURE = re.compile(r'<img([^>]*?)src="([^"]+\.png)"([^>]*)>')
_OUTSIDE = re.compile(r"\]\(\.\./((?:\.\./)*(?:experiments/|CHANGELOG\.md|CONTRIBUTING\.md))")
_INSIDE = re.compile(r"\]\(((?:\.\./)*)docs/")


def on_config(config):
    """Turn fenced blocks named `math` into MathML, which browsers show without a script."""
    fences = config["mdx_configs"].setdefault("pymdownx.superfences", {}).setdefault("custom_fences", [])
    fences.append({"name": "math", "class": "math", "format": _equation})
    return config


def on_files(files, config):
    """Add the mounted files, and a page with its pictures for each notebook."""
    root = Path(config.config_file_path).parent
    for path in sorted(path for pattern in MOUNTED for path in root.glob(pattern)):
        files.append(File.generated(config, path.relative_to(root).as_posix(), abs_src_path=str(path)))
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        name = file.src_uri.removesuffix(".ipynb")
        text, pictures = notebook_page(json.loads(Path(file.abs_src_path).read_text(encoding="utf-8")), Path(name).name)
        files.append(File.generated(config, f"{name}.md", content=text))
        for picture, content in pictures.items():
            files.append(File.generated(config, f"{Path(name).parent.as_posix()}/{picture}", content=content))
    return files


def on_page_markdown(markdown, page, config, **_):
    """Put in the tables, and adapt links between `docs/` and the mounted files to their paths on the site."""
    root = Path(config.config_file_path).parent
    if (root / page.file.src_uri).is_file():  # a mounted file
        return _INSIDE.sub(r"](\1", markdown)
    tables = _TABLE.sub(lambda found: _table(root / found[1]), markdown)
    return _OUTSIDE.sub(r"](\1", tables)


def _table(path):
    """Return what a script wrote, below the headings of the page that shows it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith(("# ", "Written by "))]
    return "\n".join(f"#{line}" if line.startswith("#") else line for line in kept)


def on_page_content(content, **_):
    """Let every PNG link to itself, and scroll sideways on a narrow screen."""
    return _PICTURE.sub(r'<a class="picture" href="\2"><img\1src="\2"\3></a>', content)


def _equation(source, *_, **__):
    rows = [row for row in source.strip().splitlines() if row.strip()]
    # Limits beside their sign: only browsers with a mathematical font stack them well.
    beside = lambda row: convert(row).replace("munderover>", "msubsup>").replace("munder>", "msub>")
    return "".join(f'<div class="equation">{beside(row)}</div>' for row in rows)


def notebook_page(notebook, name):
    """Return an executed notebook as Markdown, and its pictures by file name."""
    parts, pictures = [], {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            parts.append(_output(output, name, pictures))
    download = f"[Download this notebook]({name}.ipynb){{ download }}"
    title, *rest = parts
    return "\n\n".join([*title.partition("\n")[:1], download, title.partition("\n")[2], *rest]) + "\n", pictures


def _output(output, name, pictures):
    if output["output_type"] == "stream":
        return f"```text {{ .output }}\n{''.join(output['text']).rstrip()}\n```"
    data = output["data"]
    if "image/png" in data:
        picture = f"{name}-{len(pictures) + 1}.png"
        pictures[picture] = base64.b64decode("".join(data["image/png"]))
        return f"![Output of the cell above]({picture})"
    if "text/html" in data:
        table = re.sub(r"<style.*?</style>", "", "".join(data["text/html"]), flags=re.DOTALL)
        table = re.sub(r'<table border="1" class="dataframe">', "<table>", table)
        return re.sub(r"\n\s*", "\n", table).strip()  # indented lines would be code in Markdown
    return f"<pre>{html.escape(''.join(data['text/plain']))}</pre>"
