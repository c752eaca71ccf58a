"""The only user of HTTP libraries.

``worker.py`` is the client of workers, ``triggerer.py`` the client of the triggerer. Both share ``endpoint.py`` (address, proxy,
certificates, headers), ``pace.py`` and ``unreached.py`` (why there is no answer). ``connections.py`` opens those of a worker,
and a purchase leaves on an open one. ``flow.py`` drives a vendor's flow with either client.
"""
