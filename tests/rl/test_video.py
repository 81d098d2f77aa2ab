"""Films: the evaluation's episode in real time, file formats, and errors for what cannot be filmed."""

import subprocess
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import bnnrl
from bnnrl import cli
from bnnrl.rl import video
from bnnrl.rl.episodes import Episode
from tests.rl.point_mass import DRAWN, DT, STEPS, TASK, Drawn, act_by_zeros, make_agent


def pushing(task=DRAWN) -> bnnrl.PILCO:
    """Return an agent whose policy always pushes alike, so that nothing needs to be learned."""
    agent = make_agent(3, task)
    act_by_zeros(agent)
    return agent


@pytest.fixture(scope="module")
def agent():
    return pushing()


def bars(path) -> list[int]:
    """Return the length of the bar in each frame of a GIF, those that are shown longer repeated."""
    with Image.open(path) as film:
        found = []
        for i in range(getattr(film, "n_frames", 1)):
            film.seek(i)
            pixels = np.asarray(film.convert("RGB")).astype(int)
            found += [int((pixels[15, :, 1] < 128).sum())] * round(film.info["duration"] / (1000 * DT))
    return found


def expected(agent, seed) -> list[int]:
    episode: Episode = agent.evaluator.run(agent.evaluation_actor(seed), agent.evaluation_seed(seed))
    return [20 + round(20 * x) for x in episode.states[:, 0]]


@pytest.mark.parametrize("seed", [0, 4])
def test_a_film_is_the_first_episode_of_an_evaluation_at_its_pace(agent, tmp_path, seed):
    before = agent.evaluate(2, seed)
    assert video.record(agent, tmp_path / "new" / "film.gif", seed) == tmp_path / "new" / "film.gif"
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["film.gif"]
    np.testing.assert_allclose(bars(tmp_path / "new" / "film.gif"), expected(agent, seed), atol=1)
    assert agent.evaluate(2, seed) == before and not agent.episodes


def test_evaluation_resets_with_the_seeds_it_tells(agent, monkeypatch):
    used, reset = [], Drawn.reset
    monkeypatch.setattr(Drawn, "reset", lambda env, seed=None, **kwargs: (used.append(seed), reset(env, seed=seed))[1])
    agent.evaluate(3, 5)
    assert list(dict.fromkeys(used)) == [agent.evaluation_seed(5, i) for i in range(3)]


def test_without_an_ending_the_encoder_decides(agent, tmp_path, monkeypatch):
    monkeypatch.setattr(video.importlib.util, "find_spec", lambda name: None)
    assert video.record(agent, tmp_path / "film").name == "film.gif"
    with pytest.raises(ValueError, match=r"Invalid `path`: expected .* ends in \.gif\..*pip install bnnrl\[video\]"):
        video.record(agent, tmp_path / "film.mp4")
    with pytest.raises(ValueError, match=r"Invalid `path`: .* Received: .*film\.avi"):
        video.record(agent, tmp_path / "film.avi")


def test_an_mp4_where_there_is_an_encoder(agent, tmp_path):
    encoder = pytest.importorskip("imageio_ffmpeg")
    path = video.record(agent, tmp_path / "film")
    assert path.name == "film.mp4" and path.read_bytes()[4:8] == b"ftyp"
    assert encoder.count_frames_and_secs(path) == (STEPS + 1, pytest.approx((STEPS + 1) * DT, abs=0.01))
    told = subprocess.run([encoder.get_ffmpeg_exe(), "-i", path], capture_output=True, text=True).stderr
    assert "h264" in told and "62x32" in told  # even sizes alone are H.264's


def test_where_time_has_no_meaning_the_environment_says_how_fast(tmp_path):
    film = video.record(pushing(replace(DRAWN, dt=None)), tmp_path / "film.gif")
    with Image.open(film) as found:
        assert found.info["duration"] % 50 == 0 and bars(film) != []


def test_a_gif_is_no_faster_than_browsers_show_it(tmp_path):
    film = video.record(pushing(replace(DRAWN, dt=0.005)), tmp_path / "film.gif")
    with Image.open(film) as found:
        assert getattr(found, "n_frames", 1) <= 3 and found.info["duration"] >= 20  # every fourth of nine


@pytest.mark.parametrize("task", [TASK, replace(TASK, env_id="test/Spaces-v0", env_kwargs={"observation": 1})])
def test_an_environment_that_takes_no_render_mode(tmp_path, agent, task, monkeypatch):
    monkeypatch.setattr(agent, "task", task)
    with pytest.raises(ValueError, match=r'Invalid environment: expected one that renders.*"rgb_array".*Received: '):
        video.record(agent, tmp_path / "new" / "film.gif")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("shows", "told"), [("error", "no artist here"), ("nothing", "returned NoneType")])
def test_an_environment_that_renders_nothing(tmp_path, agent, shows, told, monkeypatch):
    monkeypatch.setattr(agent, "task", replace(DRAWN, env_kwargs={"shows": shows}))
    with pytest.raises(ValueError, match=rf"which does not \(.*{told}.*pip install bnnrl\[video\]"):
        video.record(agent, tmp_path / "new" / "film.gif")
    assert list(tmp_path.iterdir()) == []


def test_an_agent_without_a_policy_is_not_filmed(tmp_path):
    with pytest.raises(ValueError, match="Invalid agent: expected one with a policy"):
        video.record(make_agent(task=DRAWN), tmp_path / "film.gif")
    assert list(tmp_path.iterdir()) == []


def test_a_saved_agents_folder_is_not_written_to(agent, tmp_path, capsys):
    agent.save(tmp_path / "agent")
    assert cli.main(["evaluate", str(tmp_path / "agent"), "--video"]) == 2
    assert "Invalid `--video`: expected the folder of a run" in capsys.readouterr().err
    assert len(list((tmp_path / "agent").iterdir())) == 2
