"""What bodies, queries and answers look like. Aliases and casing live here and nowhere else."""
