"""From a recipe to a record: `plan` counts, `run` trains one seed, `run_seeds` several side by side.

`plan`, the events and the signals cost no torch; the rest loads it when it is imported.
"""

import os

# A thread that waits sleeps instead of spinning: on a busy machine a step takes a seventh of the time. It must be
# set before torch loads, so it stands here and not where threads are chosen.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
