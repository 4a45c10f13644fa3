"""Tables, figures and progress, from files alone: JAX is never imported.

`build.rebuild(folder)` writes everything a results folder is read by;
`python3 -m lalm.report FOLDER` does so from the command line.
"""
