"""What people look at: pages made on the server, small scripts, Chinese first and English beside it.

Nothing is loaded from elsewhere, and nothing runs that is not a file of ours: the Content-Security-Policy says so. All
texts stand in `texts.py`; templates have none. A page asks the same functions as the API, and shows what the reader may
see.
"""
