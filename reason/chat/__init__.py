"""Terminal chat over the engine.

Without a terminal: `session` holds a conversation of `run`s, which `hosts` and `remote` carry out
in this process or on a server and `steer` changes meanwhile; `texts` and `timeline` fold their
events, `archive` keeps conversations on disk, `commands` understands what is typed. `plain` and
`app` show it: as lines, and in a terminal.
"""
