"""Settings from the command line and from files, and the objects that they make."""

import json
import re
from typing import Any

import pytest

import bnnrl
from bnnrl import cli, inference
from bnnrl.cli import building, parsing
from bnnrl.cli.compare import Compare
from bnnrl.cli.config import as_yaml, resolved
from bnnrl.cli.fit import Fit
from bnnrl.cli.train import Train, make_agent, settings_of
from bnnrl.comparison import settings as comparison_settings
from bnnrl.storage import run_folder

COMMANDS = {"train": Train, "fit": Fit, "compare": Compare}


def parse(*argv):
    return parsing.parse(COMMANDS, argv, "")


def agent_of(*argv):
    return make_agent(json.loads(json.dumps(vars(parse("train", "Pendulum-v1", *argv)))))  # as from config.json


def write(path, text):
    path.write_text(text)
    return str(path)


def test_fields_of_every_group_reach_the_agent():
    agent = agent_of(
        *("--dynamics.hidden", "20", "10", "--dynamics.likelihood.floor", "0.1", "--search.updates", "20"),
        *("--method", "swag", "--method.rank", "7", "--method.optimizer.learning-rate", "1e-4"),
        *("--policy", "mlp", "--policy.hidden", "9", "--reward-model.method", "adam", "--reward-model.steps", "30"),
    )
    default = bnnrl.Dynamics(method="swag")
    assert agent.dynamics.hidden == (20, 10) and agent.dynamics.likelihood == bnnrl.likelihoods.Gaussian(
        "heteroscedastic", floor=0.1
    )
    preset: Any = default.resolve_method()
    assert agent.dynamics.method == inference.SWAG(
        inference.Adam(1e-4), preset.swa_rate, preset.start, preset.every, 7, preset.scale
    )
    assert (agent.dynamics.num_steps, agent.dynamics.rows) == (default.num_steps, default.rows)
    assert agent.search == bnnrl.PolicySearch(updates=20)
    assert agent.policy == bnnrl.policies.MLP((9,))
    assert agent.reward_model == bnnrl.Dynamics(method="adam", steps=30, size=5)


def test_fields_of_a_method_inside_wrappers_and_settings_as_json():
    found = building.dynamics("hmc", {"step_size": 0.5}, {})
    assert isinstance(found.method, inference.WarmStart) and found.method.method.step_size == 0.5  # pyright: ignore
    assert found.method.steps == 600 and found.num_steps == 680
    schedule = '{"class": "Schedule", "initial": 0.01, "steps": 500}'
    found = parse("train", "Pendulum-v1", "--method", "bbb", "--method.learning-rate", schedule).method_fields
    assert building.dynamics("bbb", found, {}).method.learning_rate == inference.Schedule(0.01, steps=500)
    members = parse("train", "Pendulum-v1", "--method.method", "swag", "--method.method.rank", "4").method_fields
    assert building.dynamics("ensemble", members, {}).method == inference.Ensemble(inference.SWAG(rank=4), 10)


def test_the_shell_wins_over_the_file(tmp_path):
    text = "env: Pendulum-v1\nseed: 4\nmethod:\n  name: swag\n  rank: 5\n  scale: 1e-1\nenv_kwargs: {g: 9.8}\n"
    path = write(tmp_path / "a.yaml", text + "search: {updates: 5, rounds: 2}\ndynamics: {hidden: [4]}\n")
    found = parse("train", "--config", path, "--seed", "3", "--search.updates", "7", "--method.rank", "6")
    assert (found.env, found.seed, found.method, found.env_kwargs) == ("Pendulum-v1", 3, "swag", ("g=9.8",))
    assert found.search == {"updates": 7, "rounds": 2} and found.method_fields == {"rank": 6, "scale": 0.1}
    assert found.dynamics == {"hidden": [4]}


def test_settings_of_another_method_in_a_file_are_not_used(tmp_path, capsys):
    path = write(tmp_path / "a.yaml", "env: Pendulum-v1\nmethod: {name: swag, rank: 5}\n")
    found = parse("train", "--config", path, "--method", "hmc", "--method.jitter", "0.2")
    assert (found.method, found.method_fields) == ("hmc", {"jitter": 0.2})
    assert "The settings of method swag" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "env: a\nsearch:\n  update: 3\n",
            "Invalid `search.update` in PATH, line 3: .*'update'. Did you mean 'updates'",
        ),
        ("sed: 3\n", "Invalid `sed` in PATH, line 1: .*Did you mean 'seed'"),
        ("seed: 1\nhidden: [3]\n", "line 2: .*Did you mean 'dynamics.hidden'"),
        ("seed: many\n", "Invalid `seed` in PATH, line 1: expected an integer. Received: 'many'."),
        ("seed: 1.5\n", "expected an integer. Received: 1.5"),
        ("search:\n  updates: [1]\n", "Invalid `search.updates` in PATH, line 2: expected an integer"),
        ("search: 3\n", "expected a mapping from fields to values. Received: 3"),
        ("dynamics: {hidden: 3}\n", "expected a list of integers. Received: 3"),
        ("dynamics: {method: hmc}\n", "Invalid `dynamics.method`"),
        ("dynamics: {midpoint: often}\n", "expected True or False or None"),
        ("policy: tree\n", r"expected one of \['rbf', 'mlp', 'linear', 'cem', 'icem'\]"),
        ("method: {name: swag, optimizer: {class: HMC}}\n", r"`method.optimizer.class` .*one of \['Adam', 'SGD'\]"),
        ("method: {name: adam, learning_rate: {class: Schedule, step: 1}}\n", "Did you mean 'steps'"),
        ("method: {method: swga}\n", "expected a method, one of .*Did you mean 'swag'"),
        ("version: 9\n", "Invalid `version` in PATH, line 1: expected at most 2. Received: 9.* upgrade"),
        ("seed: 1\nseed: 2\n", "line 2: expected it once. Received: another one in line 1"),
        ("seed: [1\n", "PATH, line 2, which is neither"),
        ("- 1\n", "which holds list"),
        ("", "which holds NoneType"),
    ],
)
def test_mistakes_in_a_file_are_told_with_their_line(text, words, tmp_path, capsys):
    path = write(tmp_path / "a.yaml", text)
    assert cli.main(["train", "Pendulum-v1", "--config", path]) == 2
    out, error = capsys.readouterr()
    assert out == "" and error.startswith("bnnrl: error: Invalid ") and path in error
    assert re.search(words.replace("PATH", ".*a.yaml"), error), error


def test_a_wrong_type_on_the_command_line(capfd):
    assert cli.main(["train", "Pendulum-v1", "--search.updates", "many"]) == 2
    assert "expected an integer. Received: 'many'" in capfd.readouterr().err


def test_config_prints_what_config_takes(tmp_path, capsys):
    options = ["--method", "laplace", "--method.optimizer.learning-rate", "1e-3", "--policy", "icem", "--horizon", "9"]
    assert cli.main(["config", "Pendulum-v1", *options, "--dynamics.steps", "100", "--seed", "2"]) == 0
    printed = capsys.readouterr().out
    path = write(tmp_path / "a.yaml", printed)
    assert cli.main(["config", "--config", path]) == 0
    assert capsys.readouterr().out == printed
    agent, again = (
        agent_of(*options, "--dynamics.steps", "100", "--seed", "2"),
        make_agent(vars(parse("train", "--config", path))),
    )
    assert again.dynamics.resolve_method() == agent.dynamics.resolve_method()
    for name in ("policy", "search", "horizon", "particles", "seed", "propagation"):
        assert getattr(again, name) == getattr(agent, name)
    assert again.policy == bnnrl.planners.ICEM(horizon=9) and again.dynamics.num_steps == 100


@pytest.mark.parametrize("name", [*inference.REGISTRY, "gp"])
def test_the_resolved_settings_of_every_method_make_the_same_method(name, tmp_path):
    settings = settings_of(Train("Pendulum-v1", method=name))
    agent = make_agent(settings)
    path = write(tmp_path / "a.yaml", as_yaml(resolved(settings, agent)))
    found = parse("train", "--config", path)
    again = building.dynamics(found.method, found.method_fields, found.dynamics)
    assert again.method == name and (name == "gp" or again.resolve_method() == agent.dynamics.resolve_method())


def test_a_config_json_of_a_run_and_of_another_kind(tmp_path, capsys):
    settings = {"env": "Pendulum-v1", "method": "hmc", "method_fields": {"jitter": 0.3}, "search": {"updates": 4}}
    run_folder.TRAIN.write_config(tmp_path, settings, {})
    found = parse("train", "--config", str(tmp_path / "config.json"))
    assert found.method_fields == {"jitter": 0.3} and found.search == {"updates": 4}
    assert cli.main(["fit", "iris", "--config", str(tmp_path / "config.json")]) == 2
    assert "expected settings of `bnnrl fit`" in capsys.readouterr().err


def test_a_config_json_of_version_1_is_migrated_and_told(tmp_path, capsys):
    old = {"format": "bnnrl", "version": 1, "kind": "run", "versions": {}}
    old["settings"] = {"env": "Pendulum-v1", "hidden": [8], "members": 3, "updates": 5, "steps": None}
    path = write(tmp_path / "config.json", json.dumps(old, indent="\t"))
    found = parse("train", "--config", path)
    assert found.dynamics == {"hidden": [8], "size": 3} and found.search == {"updates": 5}
    assert "settings of version 1, which are read as those of 2: ['hidden', 'members'" in capsys.readouterr().err
    fit = {**old, "kind": "fit", "settings": {"dataset": "iris", "method": "swag", "hyper": ["rank=3"], "hidden": [4]}}
    found = parse("fit", "--config", write(tmp_path / "config.json", json.dumps(fit)))
    assert (found.dataset, found.hidden, found.method_fields) == ("iris", (4,), {"rank": 3})


def test_old_options_work_with_a_warning(capsys):
    found = parse("train", "Pendulum-v1", "--updates=3", "--hidden", "8", "4", "--members", "2", "--scout-updates", "1")
    assert found.search == {"updates": 3, "scout_updates": 1} and found.dynamics == {"hidden": [8, 4], "size": 2}
    error = capsys.readouterr().err
    assert "--updates is deprecated and will be removed in 0.3.0. Use --search.updates." in error
    assert error.count("deprecated") == 4
    found = parse("fit", "iris", "--method", "swag", "--set", "rank=3", "scale=1e-1", "--hidden", "5")
    assert found.method_fields == {"rank": 3, "scale": 0.1} and found.hidden == (5,)
    assert "--set is deprecated" in capsys.readouterr().err


def test_fit_takes_the_fields_of_its_method_and_likelihood():
    found = parse("fit", "iris", "--method", "laplace", "--method.optimizer", "sgd", "--likelihood.floor", "0.1")
    assert found.method_fields == {"optimizer": {"class": "SGD"}} and found.likelihood_fields == {"floor": 0.1}
    fields = {"optimizer": {"learning_rate": 0.2}, "structure": "diagonal"}
    assert building.hyper_parameters("laplace", fields) == {
        "optimizer": inference.Adam(0.2),
        "structure": "diagonal",
    }


def test_a_comparison_gives_its_runs_the_fields_that_all_methods_have():
    found = parse("compare", "Pendulum-v1", "--methods", "hmc,nuts", "--method.chains", "3", "--search.updates", "9")
    settings = comparison_settings.of_new(found, Train)
    words = comparison_settings.train_arguments(Train, {**settings, "method": "nuts"})
    assert parse(*words).method_fields == {"chains": 3} and parse(*words).search == {"updates": 9}
    with pytest.raises(ValueError, match="Invalid `--method.jitter`"):
        parse("compare", "Pendulum-v1", "--methods", "hmc,nuts", "--method.jitter", "0.1")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_options_of_groups(shell, capsys):
    assert cli.main(["--tyro-print-completion", shell]) == 0
    script = capsys.readouterr().out
    assert "search.scout-updates" in script and "bnnrl" in script


def test_the_help_of_fit_names_every_likelihood(capsys):
    with pytest.raises(SystemExit):
        parse("fit", "--help")
    told = re.sub(r"[^a-z]+", " ", capsys.readouterr().out)
    for name in (*bnnrl.likelihoods._TYPES, "heteroscedastic"):
        assert name in told
