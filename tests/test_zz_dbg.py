import pytest
from tests.test_audit import *
from tests.test_audit import full, tampering, _change_every_column, EXPRESSIONS
@pytest.mark.damages
def test_pos(full, tampering, monkeypatch):
    for k in ("timestamp with time zone","date"):
        monkeypatch.setitem(EXPRESSIONS,k,[f for f in EXPRESSIONS[k] if "infinity" not in f])
    _change_every_column(full, tampering, "pack")
@pytest.mark.damages
@pytest.mark.parametrize("n", range(8))
def test_ruin(full, tampering, n):
    tampering.connection.execute(RUIN[-8:][n]); r=look(full); print("\n##", RUIN[-8:][n], r.count); assert r.count
