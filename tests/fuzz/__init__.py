"""Fuzzing of whatever reads what others wrote: python -m tests.fuzz [--seconds 600] [--only NAME ...]

Any bytes, in any order, must give frames or a named error: no other exception, no hang, no memory without bound.

`targets.py` says what is fed to what and what must hold, `mutate.py` bends inputs as a client would that is nearly
right, and `seek.py` searches, led by coverage where `atheris` is installed (`pip install -e '.[fuzz]'`). `corpus/`
keeps what reached something new; every run of the tests feeds it once (`test_corpus.py`).
"""
