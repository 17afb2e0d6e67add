"""Bring the database to what this release needs. Between the old process and the new one nobody else writes to it."""

import os
import sqlite3

STEPS = ["CREATE TABLE visits (at TEXT DEFAULT CURRENT_TIMESTAMP)"]

with sqlite3.connect(os.environ["DATABASE"]) as book:
    (done,) = book.execute("PRAGMA user_version").fetchone()
    for number, step in enumerate(STEPS[done:], done + 1):
        book.execute(step)
        book.execute(f"PRAGMA user_version = {number}")
        print(f"migration {number}: {step}")
