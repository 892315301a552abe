"""What must be true of the database whatever happened to the server, check by check: `fleet doctor`.

Each check looks at a part at a time (some devices, one table), each part on a snapshot of its own: no long
transaction holds back the writer's log or PostgreSQL's vacuum, and memory is bounded by a part.
"""
