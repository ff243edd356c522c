"""The only room that speaks to the API server and to the runtimes' internal port."""
