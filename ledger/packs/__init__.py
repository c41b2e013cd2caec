"""Packs: every saleable unit of a drug by its own code, from commissioning to sale.

`states` are the tables that a lawyer reviews: states, commands, who may give them, and each market's variant.
`decision` decides a command; `effects` says what a recorded event does to a pack, and `positions` applies that within
the one write path. `standings` reads what a decision needs, for many packs at once; `bills` are China's documents;
`recalls` the clocks of recalls.
"""
