"""The command line: one module per command; parsing, printing and exit codes, nothing else."""
