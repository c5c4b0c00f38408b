"""TLS on the public and on the organizers' name: certificates, where they come from, and how they are exchanged.

Modules: context (what listeners serve with; the proxies use it too), certificate (reading and judging files), authority
(ACME), keeper (keeps what is in force fresh).

Must not know: event files, the engine, routes.
"""
