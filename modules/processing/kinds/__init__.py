"""Kinds of jobs: what each is asked for, makes and runs."""
