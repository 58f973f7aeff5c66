"""Temporal workflows, one file each: inputs, class, steps. They see domain and the activities' signatures.

Nothing is imported here: the sandbox imports a workflow's module, and with it this one, for every single run.
"""
