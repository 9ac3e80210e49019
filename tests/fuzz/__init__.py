"""Fuzzers of everything that reads bytes from outside.

    python -m tests.fuzz                          every reader, 2,000 inputs each (`make fuzz`)
    python -m tests.fuzz keras-zip --count 100    one of them
    python -m tests.fuzz keras-zip --seed 1234 --count 1      input 1234 again, told in full
    python -m tests.fuzz keras-zip --file findings/x.keras    a file that was kept

A reader (`readers`) has small files that tests build themselves (`seeds`) and a mutator that
knows their structure (`mutators`). Its inputs have numbers: the first are the seeds as they
are, which also has past findings among them; each other one is made from its number alone,
so that a number says it all.

A worker process (`worker`) reads them one by one. The reader may return or raise a `ZooError`
whose words are fit to show. Everything else is a finding: another exception, more than 10 s,
more than 1 GB above what the process had before (its children included), a crash, code of
the input that ran, bytes of another file in what was read, a file left behind. The process
that watches (`runner`) starts the worker again after a death, and keeps the input of every
finding.
"""
