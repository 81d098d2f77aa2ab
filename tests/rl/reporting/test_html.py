"""Reports of runs: predictions of each trial are kept, compared with reality, and shown on one page."""

import importlib.util
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from bnnrl import cli, report
from bnnrl.rl.callbacks import Callback, Prediction
from bnnrl.rl.pilco import PILCO
from bnnrl.rl.reporting import html, predictions, slices
from bnnrl.rl.reporting.predictions import Quantiles, TrialComparison
from bnnrl.rl.reporting.run import Run
from bnnrl.rl.tasks import registry
from tests.plots.figures import share_inked
from tests.rl.point_mass import DRAWN, STEPS, TASK, control_of, faulty_task, make_agent
from tests.test_report import Page, browse

pytestmark = pytest.mark.usefixtures("without_xla")
TRIALS = 3


@pytest.fixture(scope="module", autouse=True)
def registered():
    """Register the task, so that the command line can load the agent."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._REGISTERED, DRAWN.env_id, lambda: DRAWN)
        yield


def improve_at_random(self: PILCO, trial: int) -> float:
    """Replace the policy search, which takes long to compile: the model is fitted, policy and prediction are random."""
    rng = np.random.default_rng(trial)
    control_of(self).population = rng.normal(size=(1, control_of(self).controller.num_params)).astype(np.float32)
    obs, costs = rng.normal(size=(self.horizon + 1, 12, 2)), rng.uniform(size=(self.horizon, 12))
    self.prediction = Prediction(obs.astype(np.float32), costs.astype(np.float32))
    return float(costs.mean())


@pytest.fixture(scope="module")
def learned(tmp_path_factory, without_xla):
    """A run of three trials: its folder, its agent, and the prediction of each trial."""
    folder = tmp_path_factory.mktemp("learned") / "run"
    settings = {"env": DRAWN.env_id, "trials": TRIALS, "stop_when_solved": False}
    run, agent = Run.create(folder, settings), make_agent(1, DRAWN.env_id)
    seen = {}

    class Keep(Callback):
        def on_trial_end(self, agent, trial):
            seen[trial.trial] = agent.prediction

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PILCO, "_improve", improve_at_random)
        agent.learn(2, [run, Keep()], evaluation_episodes=1)
        agent.learn(1, [Run.reopen(folder), Keep()], evaluation_episodes=1)
    return folder, agent, seen


@pytest.fixture
def run(learned, tmp_path):
    """A copy of the run's folder, and the agent."""
    return shutil.copytree(learned[0], tmp_path / "run"), learned[1]


# Predictions.


def test_every_trials_prediction_is_kept(learned):
    folder, agent, seen = learned
    compared = predictions.compare(folder, agent)
    assert [c.trial.trial for c in compared] == [2, 3]
    for trial, predicted, episode in compared:
        assert predicted.obs.dtype == np.float32 and predicted.obs.shape == (5, agent.horizon + 1, 2)
        np.testing.assert_allclose(predicted.obs[2], np.median(seen[trial.trial].obs, axis=1), rtol=1e-6)
        np.testing.assert_allclose(predicted.costs[4], np.percentile(seen[trial.trial].costs, 97.5, axis=1), rtol=1e-6)
        assert episode is agent.episodes[trial.trial - 1]


def test_a_run_of_an_early_version_has_only_its_last_prediction(run):
    folder, agent = run
    shutil.rmtree(folder / "predictions")
    (only,) = predictions.compare(folder, agent)
    assert only.trial.trial == TRIALS
    np.testing.assert_array_equal(only.predicted.obs, Quantiles.of(agent.prediction).obs)
    assert "Trial 3" in Page(html.write(folder, agent).read_text()).of("h3")


def test_a_damaged_prediction_is_an_error(run):
    folder, agent = run
    path = folder / "predictions" / "trial_2.safetensors"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"Invalid run folder: .*trial_2.*Received: a damaged file.*Remove the file"):
        html.write(folder, agent)
    path.unlink()
    assert [c.trial.trial for c in predictions.compare(folder, agent)] == [3]


def test_an_episode_cut_short_by_a_fault_belongs_to_no_trial(tmp_path):
    run = Run.create(tmp_path / "run", {"trials": 2})
    agent = make_agent(task=faulty_task(episode=0, step=3, entry=1, value="nan"))  # JSON has no NaN
    with pytest.raises(ValueError, match="step 3"):
        agent.learn(1, [run], evaluation_episodes=1)
    agent.learn(1, [run], evaluation_episodes=1)
    assert [len(e) for e in agent.episodes] == [2, STEPS]
    ((trial, episode),) = predictions.trial_episodes(agent)
    assert trial.trial == 1 and episode is agent.episodes[1]
    page = Page(html.write(run.folder, agent).read_text())  # a random trial: nothing was predicted, nothing learned
    assert page.of("h2") == ["Learning", "Settings and versions"]


def test_coverage_counts_entries_inside_the_bands_at_each_step(learned):
    _, agent, _ = learned
    episode, trial = agent.episodes[0], agent.history[0]
    ends = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])[:, np.newaxis, np.newaxis]
    exact = Quantiles((ends + episode.obs[np.newaxis]).astype(np.float32), np.zeros((5, STEPS)))
    offset = np.array([1.5, 3.0])  # one entry between the bands, one beyond both
    off = Quantiles((exact.obs + offset).astype(np.float32), np.zeros((5, STEPS)))
    shorter = Quantiles(off.obs[:, :5], np.zeros((5, 4)))
    shares = predictions.coverage([TrialComparison(trial, exact, episode), TrialComparison(trial, off, episode)])
    np.testing.assert_allclose(shares[50], np.full(STEPS, 0.5))
    np.testing.assert_allclose(shares[95], np.full(STEPS, 0.75))
    by_trial = predictions.coverage_of_trials(
        [TrialComparison(trial, exact, episode), TrialComparison(trial, off, episode)], 95
    )
    assert (by_trial.share, by_trial.rows) == (0.75, 2)
    shares = predictions.coverage([TrialComparison(trial, exact, episode), TrialComparison(trial, shorter, episode)])
    np.testing.assert_allclose(shares[50], [0.5] * 4 + [1.0] * 4)


def test_quantiles_of_particles_that_overflowed_raise_no_warning():
    obs = np.zeros((3, 8, 2), np.float32)
    obs[1, :4], obs[2, 0] = np.inf, np.nan
    summary = Quantiles.of(Prediction(obs, obs[1:, :, 0]))
    assert np.isfinite(summary.obs[:, 0]).all() and not np.isfinite(summary.obs[4, 1:]).any()


# Slices.


def test_a_plane_covers_angles_and_observed_values(learned, monkeypatch):
    _, agent, _ = learned
    observed = np.concatenate([e.obs for e in agent.episodes])
    plane = slices.plane(agent, 5)
    assert plane.entries == (0, 1) and plane.obs.shape == (5, 5, 2)
    np.testing.assert_allclose(plane.x[[0, -1]], np.percentile(observed[:, 0], [1, 99]))
    np.testing.assert_allclose(plane.obs[2, 3], [plane.x[3], plane.y[2]], rtol=1e-6)
    monkeypatch.setattr(agent, "task", replace(TASK, angles=(1,), invariant=()))
    plane = slices.plane(agent, 4)
    assert plane.entries == (1, 0)
    np.testing.assert_allclose(plane.x, [-np.pi / 2, 0, np.pi / 2, np.pi])
    assert plane.trajectory.shape == (STEPS + 1, 2) and (np.abs(plane.trajectory[:, 0]) <= np.pi).all()


@pytest.mark.parametrize("entries", [(0, 0), (0, 2), (-1, 0)])
def test_invalid_entries(run, entries):
    with pytest.raises(ValueError, match=r"Invalid `entries`: expected two different .* 0 to 1\. Received: \("):
        html.write(run[0], run[1], entries)
    assert not (run[0] / "report.html").exists()


def test_other_entries_are_at_their_median(learned, monkeypatch):
    _, agent, _ = learned
    wide = [replace(e, obs=np.concatenate([e.obs, 7 + 0 * e.obs[:, :1]], axis=1)) for e in agent.episodes]
    monkeypatch.setattr(agent, "episodes", wide)
    assert (slices.plane(agent, 4).obs[..., 2] == 7).all()


def test_actions_are_the_policys(learned):
    _, agent, _ = learned
    plane = slices.plane(agent, 5)
    found = slices.actions(agent, plane)
    assert found.shape == (5, 5, 1)
    np.testing.assert_allclose(found[1, 3], agent.predict(plane.obs[1, 3])[0], rtol=1e-5, atol=1e-6)


def test_values_are_near_the_real_costs(learned):
    _, agent, _ = learned
    plane = slices.plane(agent, 9)
    values = slices.values(agent, plane, 1)
    np.testing.assert_array_equal(values, slices.values(agent, plane, 1))
    force = slices.actions(agent, plane)[..., 0]
    x, v = plane.obs[..., 0], plane.obs[..., 1]
    real = 1 - np.exp(-((x + TASK.dt * v - 1) ** 2))  # the force moves x a step later
    assert np.isfinite(force).all() and np.abs(values - real).mean() < 0.1
    assert (slices.values(agent, plane, 6) <= 1).all()


def test_a_model_that_diverges_still_has_values(learned, monkeypatch):
    _, agent, _ = learned
    monkeypatch.setattr(agent.model, "make_step", lambda draws: lambda obs, action, noise: obs * 1e30)
    assert slices.values(agent, slices.plane(agent, 3), 4).shape == (3, 3)


# The page.


def test_the_page_shows_the_whole_run(run):
    folder, agent = run
    before = {p.name for p in folder.iterdir()}
    path = html.write(folder, agent)
    assert path == folder / "report.html" and {p.name for p in folder.iterdir()} == before | {"report.html"}
    page = Page(path.read_text())
    assert page.of("h1") == ["test/Drawn-v0, ensemble, seed 1"]
    assert page.of("h2") == ["Learning", "Predictions against reality", "Policy and value", "Settings and versions"]
    assert page.of("h3") == ["Trial 2", "Trial 3"]
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(images) == 1 + 1 + 2 + 2 and all(image["alt"] for image in images)
    assert len(page.of("tr")) == (1 + TRIALS) + (1 + 3) and "real cost" in page.of("th")
    assert '"tensorflow"' in page.of("pre")[0]
    first = path.read_bytes()
    assert html.write(folder, agent).read_bytes() == first


def test_the_last_trials_that_fit_are_shown(run):
    for panels, trials in ((1, [3]), (6, [2, 3])):
        page = Page(html.write(run[0], run[1], max_panels=panels).read_text())
        assert page.of("h3") == [f"Trial {i}" for i in trials]
        assert ("`bnnrl report` shows all" in " ".join(page.of("p"))) == (len(trials) < 2)


def test_a_video_is_embedded_and_the_content_policy_allows_no_more_than_it_needs(run):
    folder, agent = run
    (folder / "video").mkdir()
    for name, data, tag in (("a.gif", b"GIF89a...", "img"), ("trial_3-seed_0.mp4", b"\0\0\0\x20ftypisom...", "video")):
        (folder / "video" / name).write_bytes(data)
        markup = html.write(folder, agent).read_text()
        page = Page(markup)
        assert "Video" in page.of("h2")
        assert any(tag == found and attrs["src"].startswith("data:") for found, attrs in page.tags)
        (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', markup)
        media = "media-src data:; " if tag == "video" else ""
        assert policy == f"default-src 'none'; img-src data:; {media}style-src 'unsafe-inline'"
    assert "An episode of the agent in the environment: trial 3, seed 0." in page.of("figcaption")
    (folder / "video" / "b.gif").write_bytes(b"words")
    with pytest.raises(ValueError, match="Invalid `path`: expected a GIF or MP4 file"):
        report.Video(folder / "video" / "b.gif", "words").html()
    with pytest.raises(ValueError, match="Invalid `alt`"):
        report.Video("a.gif", " ")


def test_a_foreign_folder_gets_no_report(learned, tmp_path, capsys):
    with pytest.raises(ValueError, match="expected the folder of a run made by `bnnrl train`"):
        html.write(tmp_path, learned[1])
    assert cli.main(["report", str(tmp_path)]) == 2
    assert "made by `bnnrl train` or `bnnrl fit`" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_commands(run, capsys):
    folder = run[0]
    assert cli.main(["train", "--resume", str(folder)]) == 0  # nothing to learn, but there is no report yet
    written = (folder / "report.html").read_text()
    assert Page(written).of("h3") == ["Trial 2", "Trial 3"] and "Video" not in Page(written).of("h2")
    capsys.readouterr()
    assert cli.main(["evaluate", str(folder), "--episodes", "1", "--seed", "2"]) == 0
    figures = capsys.readouterr().out
    assert cli.main(["evaluate", str(folder), "--episodes", "1", "--seed", "2", "--video"]) == 0
    suffix = ".mp4" if importlib.util.find_spec("imageio_ffmpeg") else ".gif"
    film = folder / "video" / f"trial_3-seed_2{suffix}"
    assert capsys.readouterr().out == f"{figures}{film}\n" and film.exists()
    assert cli.main(["report", str(folder), "--entries", "1", "0"]) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    page = Page((folder / "report.html").read_text())
    assert "Video" in page.of("h2") and any("over observation 1 and" in words for words in page.of("figcaption"))


@pytest.mark.slow
def test_a_browser_shows_it(run, tmp_path):
    folder, agent = run
    shutil.copy(html.write(folder, agent), tmp_path / "report.html")
    page = Page(browse(tmp_path, "--dump-dom"))
    assert len([tag for tag, _ in page.tags if tag == "img"]) == 6 and len(page.of("h2")) == 4
    browse(tmp_path, f"--screenshot={tmp_path / 'shot.png'}")
    assert share_inked(tmp_path / "shot.png") > 0.05
