"""All that a training loads, loaded once in the process that the commands are forked from."""

import alembic.autogenerate
import alembic.command
import torch

import flyweight.cli.app
import flyweight.cli.watch
import flyweight.execute.process_executor
import flyweight.execute.seeds
import flyweight.records.store
import flyweight.report.run.page
import flyweight.report.run.summary
import flyweight.report.run.variant
import flyweight.train.captured

LOADED = (alembic, torch, flyweight)
