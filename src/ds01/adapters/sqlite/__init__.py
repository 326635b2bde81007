"""The durable store: the only place that knows SQLite.

`store.py` is the port, `writer.py` the one writing thread, `database.py` opens and checks the file, `migrations.py` and
`schema/` bring it to the present version, `transactions.py` holds every statement, `failures.py` every translation.
"""
