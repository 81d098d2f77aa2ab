"""`import bnnrl` prints nothing, and loads TensorFlow only when a name needs it."""

import os
import subprocess
import sys

import pytest

import bnnrl


def run(code):
    environment = {k: v for k, v in os.environ.items() if k not in ("TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND")}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)


def test_importing_prints_nothing_and_does_not_load_tensorflow():
    found = run("import sys, bnnrl; sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'gymnasium')))")
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


@pytest.mark.parametrize("imports", ["bnnrl, gymnasium", "gymnasium, bnnrl", "gymnasium.spaces, bnnrl, gymnasium"])
def test_importing_registers_the_environments_in_any_order(imports):
    found = run(f"import sys, {imports}; gymnasium.make('bnnrl/Pendulum-v0'); sys.exit('tensorflow' in sys.modules)")
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_tensorflow_is_loaded_on_first_use_without_its_messages():
    code = "print('tensorflow' in sys.modules, gc.isenabled()); print('seen', file=sys.stderr)"
    found = run(f"import gc, sys, bnnrl; bnnrl.Problem; {code}")
    assert (found.returncode, found.stdout, found.stderr) == (0, "True True\n", "seen\n")


def test_an_agent_does_not_load_what_only_the_check_of_environments_needs(fresh_python):
    code = "import sys, bnnrl; bnnrl.PILCO; sys.exit('sklearn.ensemble' in sys.modules)"
    assert subprocess.run([*fresh_python, "-c", code], timeout=120, check=False).returncode == 0


def test_the_core_imports_without_packages_that_only_some_functions_need(fresh_python):
    block = "sys.modules |= dict.fromkeys(('wandb', 'tensorflow_datasets', 'sklearn'))"
    modules = "bnnrl.cli, bnnrl.plots, bnnrl.metrics, bnnrl.callbacks, bnnrl.tracking, bnnrl.comparison.view"
    names = "[getattr(bnnrl, name) for name in bnnrl.__all__ if name != 'sklearn']"
    code = f"import sys; {block}; import bnnrl, {modules}; {names}"
    found = subprocess.run([*fresh_python, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0, found.stderr


def test_the_command_line_trains_without_messages_of_tensorflow(tmp_path):
    arguments = ["train", "bnnrl/CartPoleSwingUp-v0", "--trials", "1", "--folder", str(tmp_path)]
    found = run(f"import sys; from bnnrl.cli import main; sys.exit(main({arguments!r}))")
    assert (found.returncode, found.stderr) == (0, "")


def test_every_public_name_exists():
    for name in bnnrl.__all__:
        assert getattr(bnnrl, name) is not None
    assert dir(bnnrl) == sorted(bnnrl.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Problme'"):
        bnnrl.Problme  # noqa: B018
