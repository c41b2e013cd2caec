"""A terminal that never loses a scan: what was said to be kept is on disk, and is sent until the ledger has it.

`settings` is the folder's file, `outbox` what waits on disk, `sync` sends it, `counter` understands what a person
typed or scanned, `till` puts these together, `devices` are where lines come from, `calibration` finds what a scanner
does wrong. It speaks HTTP only, and knows nothing of the server's code.
"""
