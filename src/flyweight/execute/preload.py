"""What a training has loaded when it takes its first step; imported where trainings are forked from, and nowhere else.

It starts no threads and touches no GPU: neither would survive the fork.
"""

import gc

gc.disable()  # a fifth of the seconds that follow: all of this stays, so there is nothing to collect

import torch._dynamo  # noqa: E402, F401  # making an optimizer loads it: a second

import flyweight.execute.process_executor  # noqa: E402
import flyweight.experiment.run  # noqa: E402, F401

gc.freeze()  # nor later: not in the trainings, which share this memory, and not when the process ends
gc.enable()
