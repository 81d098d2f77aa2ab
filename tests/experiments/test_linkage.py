"""What the features of linked rods are worth: the plants' random episodes, and the table."""

import linkage
import numpy as np


def test_random_episodes_move_by_the_plant():
    plant = linkage.PLANTS["Pendubot"]
    obs, actions = linkage.random_episode(plant, np.random.default_rng(0))
    assert obs.shape == (plant.horizon + 1, 4) and actions.shape == (plant.horizon, 1)
    after = plant.chain.advance(obs[:1], actions[:1], plant.dt)
    np.testing.assert_allclose(obs[1:2], after, atol=0.2)  # the noise of both observations


def test_the_table_leaves_out_what_was_not_run():
    of_fit = {"plant": "Pendubot", "method": "gp", "linkage": True}
    rows = [{**of_fit, "episodes": 1, "seed": seed, "rmse": rmse} for seed, rmse in enumerate((0.5, 0.7, 0.6))]
    table = linkage.summary([*rows, {**of_fit, "plant": "DoublePendulum", "episodes": 3, "seed": 0, "rmse": 0.25}])
    assert "| 1 episode | 3 episodes |" in table
    assert "| Pendubot | gp | yes | 0.60 (0.50 to 0.70) |  |" in table
