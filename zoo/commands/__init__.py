"""The subcommands of ``zoo``, a file for each subject.

These files import click and what costs nothing: everything else is imported by the command
that needs it, when it runs. `zoo --help` and `zoo list` work without TensorFlow, torch or
TensorRT, and start at once.
"""
