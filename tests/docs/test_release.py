"""The release workflow: the notes of a release are the section of its version in CHANGELOG.md."""

import os
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def notes(tag: str, folder: Path) -> subprocess.CompletedProcess:
    """Run the workflow's step that writes notes.md, as GitHub does, in a folder with a copy of CHANGELOG.md."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    (step,) = [step for step in workflow["jobs"]["publish"]["steps"] if "changelog" in step.get("name", "")]
    (folder / "CHANGELOG.md").write_text((ROOT / "CHANGELOG.md").read_text())
    environment = os.environ | {"GITHUB_REF_NAME": tag}
    return subprocess.run(["bash", "-e", "-c", step["run"]], cwd=folder, env=environment, check=False)


def test_notes_are_the_section_of_the_version(tmp_path):
    assert notes("v0.1.0", tmp_path).returncode == 0
    text = (tmp_path / "notes.md").read_text()
    assert text.count("\n### ") == 1 and "`Problem` joins a Keras network" in text  # 0.1.0 has one part, "Added"
    assert "## [" not in text and "0.2.0" not in text


def test_a_version_without_a_section_fails_the_release(tmp_path):
    assert notes("v9.9.9", tmp_path).returncode != 0
