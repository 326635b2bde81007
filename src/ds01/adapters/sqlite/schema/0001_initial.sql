-- Version 1. Times are whole microseconds since 1970-01-01 UTC (columns ..._us): exact, sortable, no zone to get wrong.
-- To read one: SELECT datetime(at_us / 1000000, 'unixepoch') FROM events;

PRAGMA application_id = 1146302513;  -- 0x44533031, "DS01": another program's database is never taken for ours

CREATE TABLE allocations (
    id TEXT PRIMARY KEY NOT NULL,
    uid INTEGER NOT NULL,
    container_name TEXT NOT NULL,
    request_count INTEGER NOT NULL CHECK (request_count >= 0),
    request_kind TEXT NOT NULL,
    request_memory_bytes INTEGER CHECK (request_memory_bytes > 0),
    gpu_equivalents REAL NOT NULL CHECK (gpu_equivalents >= 0),
    state TEXT NOT NULL CHECK (state IN ('claimed', 'active', 'held', 'released')),
    changed_at_us INTEGER NOT NULL,
    deadline_at_us INTEGER,
    claimed_at_us INTEGER NOT NULL,
    gpu_uuids TEXT NOT NULL CHECK (json_type(gpu_uuids) = 'array'),  -- the record; stays when it is released
    -- Repeats the state, so that a change from claimed to active touches no index: one page is written instead of two.
    is_holding INTEGER NOT NULL CHECK (is_holding = (state <> 'released'))
) WITHOUT ROWID;

-- What is read at every claim must not grow with the years of released ones.
CREATE INDEX holding_allocations ON allocations (claimed_at_us, id) WHERE is_holding = 1;

-- Who holds each device now. The primary key is the last line of defence: the database itself refuses to grant a device
-- twice. Kept by the triggers alone, whoever writes the allocation.
CREATE TABLE held_gpus (
    gpu_uuid TEXT PRIMARY KEY NOT NULL,
    allocation_id TEXT NOT NULL REFERENCES allocations (id)
) WITHOUT ROWID;

CREATE TRIGGER allocation_is_made AFTER INSERT ON allocations WHEN new.is_holding
BEGIN
    INSERT INTO held_gpus (gpu_uuid, allocation_id) SELECT value, new.id FROM json_each(new.gpu_uuids);
END;

CREATE TRIGGER allocation_is_released AFTER UPDATE OF is_holding, gpu_uuids ON allocations WHEN NOT new.is_holding
BEGIN
    DELETE FROM held_gpus WHERE allocation_id = new.id;
END;

CREATE TRIGGER allocation_holds_others AFTER UPDATE OF is_holding, gpu_uuids ON allocations WHEN new.is_holding
BEGIN
    DELETE FROM held_gpus WHERE allocation_id = new.id;
    INSERT INTO held_gpus (gpu_uuid, allocation_id) SELECT value, new.id FROM json_each(new.gpu_uuids);
END;

CREATE TABLE containers (
    uid INTEGER NOT NULL,
    name TEXT NOT NULL,
    nonce TEXT NOT NULL UNIQUE,
    engine_id TEXT,
    allocation_id TEXT NOT NULL REFERENCES allocations (id),
    image TEXT NOT NULL,
    created_at_us INTEGER NOT NULL,
    spec TEXT NOT NULL,
    PRIMARY KEY (uid, name)
) WITHOUT ROWID;

CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- a number is never given twice: clients resume after one
    name TEXT NOT NULL,
    at_us INTEGER NOT NULL,
    uid INTEGER,
    actor_uid INTEGER,
    container TEXT,
    details TEXT NOT NULL
);

CREATE INDEX events_of_user ON events (uid, id);
CREATE INDEX events_of_name ON events (name, id);
CREATE INDEX events_at ON events (at_us);

CREATE TABLE facts (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
