"""Back-off: full jitter under a ceiling that doubles."""

from agent.core.backoff import Backoff


def test_the_ceiling_doubles_up_to_its_cap():
    backoff = Backoff(lambda: 1.0, base_s=1, cap_s=10)

    assert [backoff.failed() for _ in range(6)] == [1, 2, 4, 8, 10, 10]


def test_success_starts_anew():
    backoff = Backoff(lambda: 1.0, base_s=1, cap_s=10)
    backoff.failed()
    backoff.failed()

    backoff.succeeded()

    assert backoff.failed() == 1


def test_years_of_failures_stay_within_the_cap():
    backoff = Backoff(lambda: 0.5, base_s=1, cap_s=60)

    assert max(backoff.failed() for _ in range(10_000)) == 30
