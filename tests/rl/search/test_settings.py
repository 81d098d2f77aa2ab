"""Settings of a policy search out of their range."""

import pytest

from bnnrl.rl.search import PolicySearch


@pytest.mark.parametrize(
    ("kwargs", "name"),
    [
        *[({name: 0}, name) for name in ("restarts", "updates", "rounds", "scout_updates", "candidates", "warmup")],
        *[
            ({name: 0.0}, name)
            for name in (
                "scout_horizon",
                "screening_width",
                "settling_width",
                "learning_rate",
                "adjoint_bound",
                "clip_norm",
            )
        ],
        ({"candidates": 7}, "candidates"),
        ({"optimism": -0.1}, "optimism"),
        ({"effort": 1.0}, "effort"),
        ({"effort": -0.1}, "effort"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
        ({"action_noise": -0.1}, "action_noise"),
    ],
    ids=str,
)
def test_bad_settings(kwargs, name):
    with pytest.raises(ValueError, match=f"Invalid `{name}`: expected.*Received"):
        PolicySearch(**kwargs)
