"""One site's server: the meaning of records, the store, dispatch, the HTTP API and the command line."""
