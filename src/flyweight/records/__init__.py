"""Runs on record: a row per run in a database and a folder of files for each.

Values go in and come out (`RunRecord`, `EpochRecord`). This room does not know what a net or a training is.
"""
