"""The reference store keeps the contract."""

from __future__ import annotations

import pytest

from assist.hub import Store
from assist.stores.memory import Memory
from tests.contracts.store import StoreContract


class TestMemory(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return Memory()
