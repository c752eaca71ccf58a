"""Names of the package that Airflow, another library or a user reads: for vulture, each attribute below is in use.

Every other name must have a user in the package or the DAGs. A user in the tests alone makes it dead code.
"""

from __future__ import annotations

from typing import Any

elsewhere: Any = None

# Airflow reads these attributes of operators, sensors, hooks, links, retry policies, triggers and plugins, or calls them.
elsewhere.conn_name_attr
elsewhere.hook_name
elsewhere.operator_extra_links
elsewhere.template_fields
elsewhere.template_fields_renderers
elsewhere.ui_color
elsewhere.fastapi_apps
elsewhere.fastapi_root_middlewares
elsewhere.react_apps
elsewhere.ProxyOrdersPlugin
elsewhere.deserialize
elsewhere.answered
elsewhere.execute_complete
elsewhere.evaluate
elsewhere.get_cli_commands
elsewhere.get_link
elsewhere.help_markup  # rich-argparse reads this and text_markup
elsewhere.max_tries
elsewhere.operator
elsewhere.serialize
elsewhere.text_markup

# Users call these methods of the hook, and Airflow's pages name these hooks.
elsewhere.create_order
elsewhere.extend_order
elsewhere.get_cards
elsewhere.get_conn
elsewhere.get_product
elsewhere.get_products
elsewhere.wait_for_order
elsewhere.iter_products
elsewhere.get_raw_order
elsewhere.test_connection
elsewhere.IPRoyalHook
elsewhere.Proxy6Hook
elsewhere.ProxyScrapeHook
elsewhere.VoodooHook

# Entry points name these classes.
elsewhere.IPRoyal
elsewhere.Proxy6
elsewhere.ProxyScrape
elsewhere.Voodoo

# The proxy check hands this figure to the next task as part of its dict.
elsewhere.median_ms

# Users of the sandbox call these methods in their own tests.
elsewhere.clear_faults
elsewhere.proxyorders_sandbox
elsewhere.fault
elsewhere.handles

# Python calls this function for a name that a module loads late, and passes this argument to `__exit__`.
elsewhere.__getattr__
elsewhere.trace

# Alembic reads these names of a migration.
elsewhere.down_revision
elsewhere.revision

# SQLAlchemy reads these attributes of a column type and of a connection.
elsewhere.autocommit
elsewhere.cache_ok
elsewhere.impl
elsewhere.isolation_level
elsewhere.process_bind_param

# requests, urllib3 and http.client read these attributes.
elsewhere.ConnectionCls
elsewhere.auth
elsewhere.get_redirect_target
elsewhere.pool_classes_by_scheme
elsewhere.response_class
elsewhere.trust_env

# asyncio calls these methods of a protocol.
elsewhere.data_received
elsewhere.pause_writing
elsewhere.resume_writing

# Airflow finds the DAGs of a file by these names.
elsewhere.order_and_use
elsewhere.order_and_use_in_worker
elsewhere.pipeline
elsewhere.reporting
elsewhere.scheduled_renewal

# http.server reads these names of a request handler, and calls these methods.
elsewhere.close_connection
elsewhere.do_DELETE
elsewhere.do_GET
elsewhere.do_PATCH
elsewhere.do_POST
elsewhere.do_PUT
elsewhere.log_message
elsewhere.protocol_version
elsewhere.is_disconnect
