"""Imports all that a training needs before its first step; only the process that trainings are forked from imports it.

It starts no threads and touches no GPU: neither would survive the fork.
"""

import gc

gc.disable()  # saves a fifth of the import time: nothing imported here is ever freed

import flyweight.execute.process_executor  # noqa: E402
import flyweight.experiment.run  # noqa: E402, F401

gc.freeze()  # the trainings share this memory, so the collector must not touch it
gc.enable()
