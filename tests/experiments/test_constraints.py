"""The summary of the experiment on constraints, from rows whose violations are known."""

import constraints


def row(variant, seed, trial, off, solved=False):
    return {"variant": variant, "seed": seed, "trial": trial, "steps_off": off, "solved": solved}


def test_violations_after_the_first_trial_are_counted_by_run():
    rows = [row("rail", 0, 1, 9), row("rail", 0, 2, 0, True), row("rail", 1, 1, 0), row("rail", 1, 2, 3)]
    table = constraints.summary([*rows, row("without", 0, 1, 0), row("without", 0, 2, 5)], trials=4).splitlines()
    assert table[2] == "| rail | 2 | 1 of 2 | 1 of 2 | 0: 2, 1: >4 | 3.5 |"
    assert table[3] == "| without | 1 | 1 of 1 | 0 of 1 | 0: >4 | 5 |"
