"""Market access (市场准入): may these goods come in here, with these papers, tests and this seller?

`needs.py` says what the law asks for, as tables that a lawyer can review; `decision.py` decides, with every reason at
once; `checks.py` reads what a decision needs to know and makes the entry.
"""
