"""The page *Browse -> Proxy orders* in Airflow: a FastAPI app, and one ES module that Airflow's own UI loads.

- ``app``: the routes. ``rights``: the purchases that a user may see and decide. ``reading``: the ledger for one request.
- ``shapes``: rows as JSON. ``overview``: needs attention, and wallets. ``spreadsheet``: CSV.
- ``deciding``: decisions of a person, with Airflow's audit log.
- ``static/page.js``: the page itself, on Airflow's React and Chakra.

The API server builds the app at its start. A task process imports nothing of this package.
"""
