"""What is true, and how it stays so. The way of the data, module by module:

check    documents -> envelopes, events (fields, identifiers …)      a request's bytes become checked events
draft    capture -> drafts (disclosure, index, rows)                all that needs no lock
write    lanes -> append (entries)                                  the one write path: number, hash, store, commit
follow   worker -> log (merkle, notes, keys)                        the tree, its checkpoints and proofs
read     trace, reads, jobs                                         questions
prove    audit                                                      everything computed again
keep     registry, access, erase                                    who may; who is; what may be emptied
below    database, embedded, rights, tables, migrations, settings   PostgreSQL
errors                                                              every way the ledger says no
"""
