"""Whole runs on the plants of linked rods: the table."""

import plants


def test_the_table_says_when_each_run_was_solved():
    of_run = dict(zip(plants.RUN, ("DoublePendulum", "gp", True, 0.25, 100), strict=True))
    solved = [
        {**of_run, "trial": i, "solved": i == 3, "evaluation_cost": cost} for i, cost in enumerate((1, 0.7, 0.17), 1)
    ]
    free = [{**row, "extrapolation": "inf", "solved": "False", "linkage": "False"} for row in solved]  # as from a file
    table = plants.summary([*free, *solved])
    assert "| DoublePendulum | gp | yes | 0.25 | 100 | 3 | 0.70 0.17 |" in table
    assert "| DoublePendulum | gp | no | none | 100 | not in 3 | 0.70 0.17 |" in table
