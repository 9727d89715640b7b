"""From a recipe to a record: `plan` counts, `run` trains one seed, `run_seeds` several side by side.

`plan`, the events and the signals cost no torch; the rest loads it when it is imported.
"""
