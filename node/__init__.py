"""One site's server: what records mean, the store, dispatch, the HTTP API, the command line."""
