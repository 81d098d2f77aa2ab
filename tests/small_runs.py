"""Command-line options of runs that are as small as a test allows."""


def small_options(
    updates=5, candidates=8, restarts=2, hidden=8, steps=30, particles=8, horizon=6, **others
) -> list[str]:
    """Return options of `bnnrl train` and `compare` for one round of scouting and a model of one hidden layer.

    Scouting takes at most two gradient steps. Other options are given by their names, with underscores, as `size` and
    `preset`.
    """
    others = {"dynamics.size" if name == "size" else name: value for name, value in others.items()}
    values = {
        "search.updates": updates,
        "search.candidates": candidates,
        "search.restarts": restarts,
        "search.rounds": 1,
        "search.scout-updates": min(2, updates),
        "dynamics.hidden": hidden,
        "dynamics.steps": steps,
        "particles": particles,
        "horizon": horizon,
        **others,
    }
    return [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", str(value))]
