"""Bad input that random input found to be accepted, or refused by a message of another package."""

# Wrong types are what these tests pass.
# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false, reportOperatorIssue=false

import html
import json
import zipfile

import keras
import numpy as np
import pytest

import bnnrl
from bnnrl import data, diagnostics, inference, likelihoods, metrics, planners, plots, policies, report, tasks
from bnnrl.cli import fit_run
from bnnrl.rl import video
from bnnrl.rl.search import PolicySearch
from bnnrl.storage import checkpoint, config, run_folder

MODEL = bnnrl.BayesianModel(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]), "gaussian")
X, Y = np.linspace(-1, 1, 24).reshape(12, 2), np.sin(np.arange(12.0))

REFUSED = [
    (lambda: inference.SGD(nesterov=1), "Invalid `nesterov`: expected True or False"),
    (lambda: inference.BSAM(rho="0.5"), "Invalid `rho`: expected a finite number of at least 0"),
    (lambda: inference.SGHMC(friction=True), r"Invalid `friction`: expected a number in \(0, 1\]"),
    (lambda: inference.HMC(target_accept=None, step_size=1e-300), "Invalid `step_size`: expected a number of float32"),
    (lambda: inference.SWAG(start=2**40), "Invalid `start`: expected an integer of at least 1 and at most 2147483647"),
    (lambda: inference.Schedule("0.1"), "Invalid `initial`: expected a positive finite number"),
    (lambda: inference.Schedule(0.1, warmup=None), "Invalid `warmup`: expected an integer of at least 0"),
    (lambda: inference.Polynomial(0.1, gamma=np.array([0.6])), r"Invalid `gamma`: expected a number in \(0.5, 1\]"),
    (lambda: inference.Laplace(structure=np.array(["full"])), "Invalid `structure`: expected one of"),
    (lambda: likelihoods.Gaussian(floor=np.inf), "Invalid `floor`: expected a finite number of at least 0"),
    (lambda: likelihoods.Custom(3), "Invalid `function`: expected a function"),
    (lambda: metrics.TemperatureScaling(1.0, from_logits=2), "Invalid `from_logits`: expected True or False"),
    (lambda: policies.MLP(50), "Invalid `hidden`: expected a tuple of integers"),
    (lambda: planners.ICEM(beta=np.nan), "Invalid `beta`: expected a finite number of at least 0"),
    (lambda: PolicySearch(beta_2=7), r"Invalid `beta_2`: expected a number in \[0, 1\)"),
    (lambda: PolicySearch(optimism="1"), "Invalid `optimism`: expected a finite number of at least 0"),
    (lambda: bnnrl.Dynamics(activation="no"), "Invalid `activation`: expected a Keras activation"),
    (lambda: bnnrl.Dynamics(likelihood="gaussian"), "Invalid `likelihood`: expected a likelihoods.Gaussian"),
    (lambda: bnnrl.Task("CartPole-v1", angles=2), "Invalid `angles`: expected a tuple of integers"),
    (lambda: bnnrl.Task("CartPole-v1", cost=1.0), "Invalid `cost`: expected a function"),
    (lambda: bnnrl.Task("CartPole-v1", dt=-1), "Invalid `dt`: expected a positive finite number"),
    (lambda: bnnrl.Task("CartPole-v1", labels="xyz"), "Invalid `labels`: expected a tuple of strings"),
    (lambda: bnnrl.Task("CartPole-v1", velocities=[0]), "Invalid `velocities`: expected a mapping"),
    (lambda: bnnrl.Task(3), "Invalid `env_id`: expected the id of an environment"),
    (lambda: tasks.SaturatingCost(None), "Invalid `exponent`: expected a function"),
    (lambda: tasks.get("..:Env-v0"), "Invalid environment: expected a module that can be imported"),
    (lambda: tasks.register("CartPole-v1"), "Invalid `task`: expected a bnnrl.Task"),
    (lambda: bnnrl.check(None), "Invalid `env`: expected the id of an environment"),
    (lambda: bnnrl.PILCO("Pendulum-v1", 3), "Invalid `dynamics`: expected a Dynamics"),
    (lambda: bnnrl.PILCO("Pendulum-v1", policy=policies.RBF), "Invalid `policy`: expected a policy such as RBF"),
    (lambda: bnnrl.PILCO("Pendulum-v1", env_kwargs={"": 0}), "Invalid `env_kwargs` for 'Pendulum-v1'"),
    (lambda: bnnrl.PILCO("Pendulum-v1", env_kwargs=3), "Invalid `env_kwargs`: expected a mapping"),
    (lambda: bnnrl.BayesianModel("net", "gaussian"), "Invalid `model`: expected a built Keras model"),
    (lambda: metrics.rmse(Y, Y + 1j), "Invalid `mean`: expected numbers"),
    (lambda: metrics.rmse(Y, 1e300 * Y), "Invalid `mean`: expected numbers that float32 can hold"),
    (lambda: metrics.rmse([[1.0], [1.0, 2.0]], Y), "Invalid `y`: expected an array, with rows of the same shape"),
    (lambda: metrics.crps_gaussian(Y, Y, np.full(12, 1e-300)), "Invalid `std`: expected positive standard deviations"),
    (lambda: data.Scaler.fit(1e300 * X), "Invalid `x`: expected numbers that float32 can hold"),
    (lambda: diagnostics.split_rhat(np.full((2, 8), np.nan)), "Invalid `values`: expected finite numbers"),
    (lambda: data.load((X, Y), standardize=np.array([1, 2])), "Invalid `standardize`: expected one of"),
    (lambda: data.load((X, Y), stratify=np.array([1, 2])), "Invalid `stratify`: expected True or False"),
    (lambda: data.load((X, Y), task=np.array(["a", "b"])), "Invalid `task`: expected one of"),
    (lambda: data.load((X, np.array([b"\xff", b"a"] * 6))), "Invalid targets: expected text in UTF-8"),
    (lambda: data.load("mnist", data_dir=[]), "Invalid `data_dir`: expected the path of a file or folder"),
    (lambda: fit_run.make_network((2,), (0,), "relu", 1), "Invalid `hidden`: expected an integer of at least 1"),
    (lambda: fit_run.make_network((2,), (8,), "no", 1), "Invalid `activation`: expected a Keras activation"),
    (lambda: report.Text(3), "Invalid `text`: expected a string"),
    (lambda: report.Table(3), "Invalid `rows`: expected a mapping, or a sequence of mappings"),
    (lambda: report.write("a", "title", np.array(0.5)), "Invalid `sections`: expected a list of sections"),
    (lambda: bnnrl.PILCO("Pendulum-v1", wrappers={"g": 1.0}), "Invalid `wrappers`: expected 'module:Class'"),
    (lambda: tasks.Task("CartPole-v1", wrappers=np.array(0.5)), "Invalid `wrappers`: expected a list of wrappers"),
    (lambda: bnnrl.PILCO("Pendulum-v1").learn(1, callbacks=np.array(1)), "Invalid `callbacks`: expected a list"),
    (lambda: data.load(([0, np.ones(2)], Y)), "Invalid `x`: expected an array, with rows of the same shape"),
    (lambda: report.write(3, "title", []), "Invalid `path`: expected the path of a file"),
    (lambda: plots.loss_curve("a.png", Y, title=3), "Invalid `title`: expected a string"),
    (lambda: plots.loss_curve(None, Y), "Invalid `path`: expected the path of a file"),
    (lambda: plots.heat_map("a.png", [1.0], [1.0, 2.0], np.ones((2, 1))), "Invalid `x`: expected two or more"),
    (lambda: bnnrl.load(3), "Invalid `folder`: expected the path of a file or folder"),
    (lambda: config.decode({"class": ["Adam"]}), "Invalid settings: expected one of"),
    (lambda: config.decode({"class": "float", "value": []}), "Invalid settings: expected one of"),
    (lambda: bnnrl.load("/"), "Invalid `folder`: expected a bnnrl checkpoint"),
    (lambda: MODEL.predict(3.5e38), "Invalid `x`: expected finite float32 numbers"),
    (lambda: metrics.crps_gaussian(0.0, 0.0, -1.0), "Invalid `y`: expected"),
    (lambda: video.record(None, "/"), "Invalid `path`: expected the name of a file"),
    (lambda: checkpoint.write("a", [1], {}), "Invalid `config`: expected a mapping"),
    (lambda: checkpoint.write("a", {}, {"a": [[1], [1, 2]]}), "Invalid `arrays`: expected an array"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_bad_input_is_refused(tmp_path, monkeypatch, call, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"{message}.*Received"):
        call()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"a,b\n1,\0\n", "expected a table"),
        ("a.parquet", b"PAR1", "expected a Parquet file"),
        ("a.npz", b"PK", "expected an .npz file of arrays"),
        ("b.csv", b"a,b\n1,2\n", "expected at least one of the columns"),
    ],
)
def test_damaged_files_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    options = {"targets": []} if name == "b.csv" else {}
    with pytest.raises(ValueError, match=f"Invalid `(source|targets)`: {message}.*Received"):
        data.load(tmp_path / name, **options)


def test_an_npz_file_of_objects_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{}], dtype=object), y=np.ones(1))
    assert zipfile.is_zipfile(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="Invalid `source`: expected an .npz file of arrays.*Received"):
        data.load(tmp_path / "a.npz")


def test_numbers_that_python_lacks_are_shown_as_text():
    value = {"a": np.longdouble(2), "b": np.array([0.5, 1], np.longdouble), "c": np.array(3), "d": np.array([[1], [2]])}
    shown = html.unescape(report.Json(value).html()).partition("<pre>")[2].partition("</pre>")[0]
    assert json.loads(shown) == {"a": "2.0", "b": ["0.5", "1.0"], "c": 3, "d": [[1], [2]]}


def test_a_dollar_in_a_title_is_no_formula(tmp_path):
    plots.loss_curve(tmp_path / "a.png", Y, title=r"price $\frac$ in $", ylabel="$_$")
    assert (tmp_path / "a.png").stat().st_size > 0


def test_numbers_of_numpy_become_numbers_of_python():
    method = inference.SWAG(swa_rate=np.float32(0.5), start=np.int64(3), scale=np.float16(1))
    assert [type(value) for value in (method.swa_rate, method.start, method.scale)] == [float, int, float]


def test_a_fit_that_is_refused_leaves_the_scalers():
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model = bnnrl.BayesianModel(network, "gaussian")
    model.x_scaler = scaler = data.Scaler.fit(X)
    for arguments in ({"x": X[:, :1]}, {"epochs": 0}, {"seed": "a"}, {"callbacks": [3]}, {"verbose": "loud"}):
        with pytest.raises(ValueError, match="Invalid.*eceived"):
            model.fit(**{"x": X, "y": Y[:, None], **arguments})
        assert model.x_scaler is scaler


def test_a_run_folder_without_settings_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"format": "bnnrl", "kind": "run"}))
    with pytest.raises(ValueError, match=r"Invalid run folder: expected a config.json with settings and versions.*Rec"):
        run_folder.TRAIN.read_config(tmp_path)
    (tmp_path / "config.json").write_bytes(b"[" * 100_000)
    with pytest.raises(ValueError, match=r"Invalid run folder.*Received"):
        run_folder.TRAIN.read_config(tmp_path)


def test_tables_with_longer_rows_and_other_encodings(tmp_path):
    (tmp_path / "metrics.csv").write_bytes(b"epoch,loss\n1,2,3\n")
    assert run_folder.read_table(tmp_path / "metrics.csv") == [{"epoch": 1, "loss": 2}]
    (tmp_path / "metrics.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"Invalid run folder: expected a table.*Received"):
        run_folder.read_table(tmp_path / "metrics.csv")
