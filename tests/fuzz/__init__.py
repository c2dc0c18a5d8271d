"""Fuzzing of what strangers hand over: files of any bytes, given to the functions that read them.

`python -m tests.fuzz TARGET --minutes 60` hunts with random seeds; `test_fuzz.py` tries the same
examples each time, and each input of `corpus/`, which earlier hunts brought home.
"""
