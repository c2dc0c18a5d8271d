"""The contract of a schedule: a factor that depends on the fraction of the training alone."""

from __future__ import annotations

from metricforge.contracts import Reducing
from metricforge.enforcement import factor_of, patience_of, reduced_by
from metricforge.testing.checks import Broken, checks, obey, on_input
from metricforge.testing.randomness import set_globals, untouched
from metricforge.testing.subject import Subject

SPENT = tuple(step / 40 for step in range(41))


def builds(subject: Subject) -> None:
    """It is built from its options."""
    subject.build()


def gives_factors(subject: Subject) -> None:
    """For each fraction of the budget it gives a finite factor of 0 or more, above 0 for some."""
    schedule = subject.build()
    for spent in SPENT:
        with on_input(f"the fraction {spent:g}"):
            obey(factor_of, schedule, spent)
    if not any(schedule(spent) > 0 for spent in SPENT):
        raise Broken("gives 0 everywhere: nothing would learn.")


def depends_on_the_fraction_alone(subject: Subject) -> None:
    """The same fraction gives the same factor, in any order and from one built anew."""
    schedule = subject.build()
    forward = [schedule(spent) for spent in SPENT]
    backward = [schedule(spent) for spent in reversed(SPENT)]
    if forward != backward[::-1] or forward != [subject.build()(spent) for spent in SPENT]:
        raise Broken("gave another factor for the same fraction; a resumed run would differ.")


def reduces_as_agreed(subject: Subject) -> None:
    """`patience`, if it has it, is a number of epochs, and `reduced` never raises the rate."""
    schedule = subject.build()
    if not isinstance(schedule, Reducing):
        return
    obey(patience_of, schedule)
    rate = 1.0
    for _ in range(5):
        with on_input(f"the rate {rate:g}"):
            obey(reduced_by, schedule, rate)
            rate = reduced_by(schedule, rate)


def global_generators_stay(subject: Subject) -> None:
    """Building it and its factors leave the generators of python, numpy and torch alone."""
    set_globals(1)
    with untouched("a schedule"):
        schedule = subject.build()
        for spent in SPENT:
            schedule(spent)


SCHEDULE_CHECKS = checks(
    builds,
    gives_factors,
    depends_on_the_fraction_alone,
    reduces_as_agreed,
    global_generators_stay,
    first=2,
)
