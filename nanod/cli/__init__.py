"""The command line: one file per verb, named as the verb; the only code that knows of terminals, options and exit codes of a process."""
