"""The README and the site: their length, links, navigation and Python code."""

import re
from pathlib import Path

import pytest

import bnnrl

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
OTHERS = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]
OTHERS += sorted((ROOT / "experiments").rglob("README.md"))
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
CODE = re.compile(r"^(`{3,}).*?^\1", re.DOTALL | re.MULTILINE)


def test_the_readme_has_at_most_130_lines_and_one_picture():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 130
    assert text.count("![") == 1


@pytest.mark.parametrize("page", [*OTHERS, *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(page):
    targets = [target for target, _ in LINK.findall(CODE.sub("", page.read_text())) if "://" not in target]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


def test_every_page_and_notebook_is_in_the_navigation_once():
    pages = [page.relative_to(DOCS).as_posix() for page in PAGES]
    pages += [notebook.relative_to(DOCS).with_suffix(".md").as_posix() for notebook in DOCS.rglob("*.ipynb")]
    nav = re.findall(r"^ +- (?:.*: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    outside = [page for page in nav if not (DOCS / page).exists() and (ROOT / page).exists()]
    assert sorted(nav) == sorted(pages + outside)


def test_notebooks_are_committed_with_the_outputs_of_one_run_from_the_top():
    import json

    for path in DOCS.rglob("*.ipynb"):
        cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), path.name
        outputs = [output for cell in cells for output in cell["outputs"]]
        assert outputs and all(output["output_type"] != "error" for output in outputs), path.name
        assert any("image/png" in output.get("data", {}) for output in outputs), path.name


def test_nothing_on_the_site_is_fetched_from_elsewhere():
    settings = (ROOT / "mkdocs.yml").read_text()
    assert "font: false" in settings
    for page in PAGES:
        assert not re.search(r"<(?:script|link|img)[^>]*https?://|!\[[^\]]*\]\(https?://", page.read_text()), page.name


@pytest.mark.parametrize("page", [*OTHERS, *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_exists(page):
    text = page.read_text()
    named = re.findall(r"`((?:bnnrl|envs|experiments|tests|docs)/[\w./]+\.py|(?:bnnrl|tests)/[\w/]+/)`", text)
    named += re.findall(r"python (experiments/[\w./]+\.py)", text)
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize("name", ["bnnrl", "inference", "metrics", "plots"])
def test_every_public_name_is_in_the_reference(name):
    reference = "".join(page.read_text() for page in (DOCS / "reference").glob("*.md"))
    module = bnnrl if name == "bnnrl" else getattr(bnnrl, name)
    path = name if name == "bnnrl" else f"bnnrl.{name}"
    public = [public for public in module.__all__ if not public.startswith("_") and public != "REGISTRY"]
    assert not [public for public in public if f"{path}.{public}" not in reference]
