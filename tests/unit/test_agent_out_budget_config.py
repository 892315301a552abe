"""The buffer's budget as the config states it."""

import pytest

from agent.core.config import parse_config
from agent.core.shedding import MIB, Budget
from agent.protocols import find
from agent.wire.document import DocumentError


def test_without_a_word_the_buffer_takes_512_mib_and_leaves_64_free():
    budget = parse_config("", find).budget
    assert (budget.max_bytes, budget.min_free_bytes) == (512 * MIB, 64 * MIB)


def test_the_config_states_the_budget():
    budget = parse_config("[agent]\nmax_bytes = 33554432\nmin_free_bytes = 0\n", find).budget
    assert budget == Budget(max_bytes=32 * MIB, min_free_bytes=0)


def test_a_budget_too_small_to_work_with_is_refused():
    with pytest.raises(DocumentError, match=r"agent\.max_bytes"):
        parse_config("[agent]\nmax_bytes = 1000\n", find)
