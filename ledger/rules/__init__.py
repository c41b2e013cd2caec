"""Rules: what they may ask, how they are read and checked, what they remember, and what they found. Pure.

`facts` turns an entry of the log into facts, `form` reads rule files, `windows` remembers what a rule has seen.
`ledger/watcher.py` runs them over the log and keeps their state in the database.
"""
