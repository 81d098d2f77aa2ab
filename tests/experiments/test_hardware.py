"""Predictions of recordings of real machines: reading, particles and scores."""

import hardware
import numpy as np
import pytest
from dynamics import Steps
from scipy import stats


@pytest.fixture
def folder(tmp_path):
    """A recording of 50 samples whose columns say which they are: 100 times the number of the column plus the row."""
    (tmp_path / "acrobot").mkdir()
    names = [f"{name}{joint}" for name in ("pos_meas", "vel_meas", "tau_con") for joint in (1, 2)]
    table = np.arange(50)[:, np.newaxis] + 100 * np.arange(1, 7)
    lines = [",".join(["time", *names]), *(",".join(map(str, [0, *row])) for row in table)]
    (tmp_path / "acrobot" / "experiment03.csv").write_text("\n".join(lines))
    return tmp_path


@pytest.mark.parametrize("delay", [0, 2])
def test_a_step_has_the_torques_asked_for_some_samples_ago(folder, delay):
    steps = hardware.read(folder, "acrobot", 3, 20, delay)
    assert [len(part) for part in steps] == [19 - delay] * 3
    np.testing.assert_array_equal(steps.obs[0], np.array([100, 200, 300, 400]) + delay)
    np.testing.assert_array_equal(steps.next_obs, steps.obs + 1)
    np.testing.assert_array_equal(steps.actions[0], [500, 600])
    np.testing.assert_array_equal(steps.actions[-1], np.array([500, 600]) + 18 - delay)


def test_a_missing_recording_is_named(folder):
    with pytest.raises(FileNotFoundError, match=r"acrobot/experiment04\.csv"):
        hardware.read(folder, "acrobot", 4, 20, 1)


def test_particles_follow_the_recorded_torques_for_a_second():
    """Of an integrator of the torques without noise, every particle ends where the recording does."""
    torques = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    states = np.cumsum(np.concatenate([np.zeros((1, 2)), torques]), axis=0)
    states = np.concatenate([states, 2 * states], axis=1).astype(np.float32)
    step = lambda obs, actions, noise: obs + np.concatenate([actions, 2 * actions], axis=-1)
    found, real = hardware.particles(step, Steps(states[:-1], torques, states[1:]), seed=0)
    starts = range(0, 28, 3)
    assert found.shape == (hardware.PARTICLES, len(starts), 4)
    np.testing.assert_array_equal(real, [states[start + 33] for start in starts])
    np.testing.assert_allclose(found, np.broadcast_to(real, found.shape), atol=1e-4)


def test_scores_of_particles():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(500, 4))
    good = hardware.particle_scores(rng.normal(size=(2000, 500, 4)), y)
    assert good["rmse"] == pytest.approx(1, abs=0.05) and good["within_90"] == pytest.approx(0.9, abs=0.02)
    assert good["nll"] == pytest.approx(-stats.norm.logpdf(y).sum(axis=1).mean(), abs=0.02)
    narrow = hardware.particle_scores(0.1 * rng.normal(size=(2000, 500, 4)), y)
    assert narrow["within_90"] < 0.2 and narrow["nll"] > 10 * good["nll"]
    lost = np.full((3, 2, 4), np.nan)
    assert hardware.particle_scores(lost, y[:2]) == {"rmse": np.inf, "nll": np.inf, "within_90": 0.0}


def test_the_table_has_a_line_for_each_method_of_each_machine():
    figures = dict.fromkeys([f"{n}_{a}" for a in ("step", "second") for n in hardware.SCORES], 0.5)
    row = lambda machine, k: {"machine": machine, "method": "gp", "delay": 1, "recordings": k, **figures, "seconds": k}
    text = hardware.summary([row("pendubot", 1), row("pendubot", 4), row("acrobot", 2)])
    assert "## Pendubot, a torque acts 1 sample late" in text and text.count("| gp |") == 2
    assert "| gp | 0.5 0.5 | 0.5 0.5 | 0.5 0.5 | 0.5 0.5 | 0.5 0.5 | 0.5 0.5 | 1 4 |" in text
