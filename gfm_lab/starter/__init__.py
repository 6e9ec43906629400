"""What `gfm-lab new` copies into a new project: a script, its test and a README."""
