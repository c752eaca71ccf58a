"""The only code that knows HTTP libraries.

``worker.py`` is the client of workers and ``triggerer.py`` that of the triggerer. Both share ``endpoint.py`` (address, proxy,
certificates, headers), ``pace.py`` and ``unreached.py`` (did the request leave?). ``flow.py`` drives a vendor's flow with either.
"""
