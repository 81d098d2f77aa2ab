"""A disk that is full from the n-th change on, for every n: the cause and the remedy are told, and nothing is lost."""

import json
import re
import subprocess

import pytest

pytestmark = pytest.mark.slow

CODE = "from tests.faults import full_disk; full_disk.main()"
CAUSE = (
    r"Cannot write FOLDER\S*: (No space left on device. Free some space on its disk|File too large. Raise the limit)"
)
REMEDIES = {
    "train_begins": r"Finished trials kept: [01]. Resume: bnnrl train --resume FOLDER\n$",
    "train_resumes": r"Finished trials kept: [12]. Resume: bnnrl train --resume FOLDER\n$",
    "fit": r"(remove FOLDER, and start again\.|Write its report: bnnrl report FOLDER)\n$",
    "report_again": "",
    "compare": r"Resume: bnnrl compare --resume FOLDER\n$",
    "save_model": "",
}


@pytest.mark.parametrize("name", REMEDIES)
def test_a_full_disk(tmp_path, fresh_python, name):
    command = [*fresh_python, "-c", CODE, name, str(tmp_path / "f")]
    found = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert found.returncode == 0, found.stderr[-3000:]
    told = json.loads(found.stdout.splitlines()[-1])
    assert told
    if name == "fit":  # config.json is written again after the model
        assert any(
            "Cannot write FOLDER/config.json:" in error and "The fitted model is kept." in error for error in told
        )
    for error in told:
        made = not re.search(r"Cannot write FOLDER(/config.json|/.lock|/checkpoints)?:", error)
        if "failed: " not in error:  # a process of a comparison
            assert re.search(CAUSE, error), error
        if made:
            assert re.search(REMEDIES[name], error), error
    print(f"{name}: {len(told)} failures told, and made good")
