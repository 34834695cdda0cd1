"""Fuzzing of everything that reads bytes from outside.

    python -m tests.fuzz --seconds 60 [--seed N] [--target NAME]
    python -m tests.fuzz --replay tests/fuzz/corpus/NAME/FILE
    python -m tests.fuzz.seeds          # write the corpus of valid inputs anew

`make check` runs it for about a minute; `make test` only reads the corpus through.
"""
