-- Version 2: the scheduler. What grants carry from now on, the queue, reservations, and who used how much lately.

ALTER TABLE allocations ADD COLUMN user_group TEXT NOT NULL DEFAULT '';
ALTER TABLE allocations ADD COLUMN time_limit_us INTEGER CHECK (time_limit_us > 0);
ALTER TABLE allocations ADD COLUMN ends_at_us INTEGER;
ALTER TABLE allocations ADD COLUMN reservation TEXT;
ALTER TABLE allocations ADD COLUMN shares INTEGER NOT NULL DEFAULT 1 CHECK (shares >= 1);
ALTER TABLE allocations ADD COLUMN slices TEXT NOT NULL DEFAULT '[]' CHECK (json_type(slices) = 'array');

CREATE INDEX grants_in_reservations ON allocations (reservation) WHERE reservation IS NOT NULL;

DROP TRIGGER allocation_is_made;
DROP TRIGGER allocation_is_released;
DROP TRIGGER allocation_holds_others;
ALTER TABLE held_gpus RENAME TO held_gpus_before;

-- Who holds each device now. The primary key is the last line of defence: the database itself refuses to grant a device
-- twice. Whoever has a device alone has its place 0; those who share one have the places above, and the trigger below
-- keeps both apart. A MIG instance that is made on demand is here too, by its place. Kept by the triggers alone.
CREATE TABLE held_gpus (
    gpu_uuid TEXT NOT NULL,
    place INTEGER NOT NULL,
    allocation_id TEXT NOT NULL REFERENCES allocations (id),
    shares INTEGER NOT NULL,
    PRIMARY KEY (gpu_uuid, place)
) WITHOUT ROWID;

INSERT INTO held_gpus (gpu_uuid, place, allocation_id, shares) SELECT gpu_uuid, 0, allocation_id, 1 FROM held_gpus_before;
DROP TABLE held_gpus_before;

CREATE TRIGGER device_is_taken BEFORE INSERT ON held_gpus
WHEN EXISTS (
    SELECT 1 FROM held_gpus AS held WHERE held.gpu_uuid = new.gpu_uuid AND (held.shares = 1 OR new.shares = 1)
) OR (
    new.shares > 1 AND (SELECT count(*) FROM held_gpus AS held WHERE held.gpu_uuid = new.gpu_uuid)
    >= min(new.shares, (SELECT coalesce(min(held.shares), new.shares) FROM held_gpus AS held WHERE held.gpu_uuid = new.gpu_uuid))
)
BEGIN
    SELECT RAISE(ABORT, 'the device is held');
END;

CREATE TRIGGER allocation_is_made AFTER INSERT ON allocations WHEN new.is_holding
BEGIN
    INSERT INTO held_gpus (gpu_uuid, place, allocation_id, shares)
    SELECT value, CASE new.shares WHEN 1 THEN 0 ELSE
        (SELECT coalesce(max(place), 0) + 1 FROM held_gpus WHERE gpu_uuid = value) END, new.id, new.shares
    FROM json_each(new.gpu_uuids);
END;

CREATE TRIGGER slices_are_made AFTER INSERT ON allocations WHEN new.is_holding AND new.slices <> '[]'
BEGIN
    INSERT INTO held_gpus (gpu_uuid, place, allocation_id, shares) SELECT value, 0, new.id, 1 FROM json_each(new.slices);
END;

CREATE TRIGGER allocation_is_released AFTER UPDATE OF is_holding, gpu_uuids, shares, slices ON allocations
WHEN NOT new.is_holding
BEGIN
    DELETE FROM held_gpus WHERE gpu_uuid IN (SELECT value FROM json_each(old.gpu_uuids)) AND allocation_id = new.id;
    DELETE FROM held_gpus WHERE gpu_uuid IN (SELECT value FROM json_each(old.slices)) AND allocation_id = new.id;
END;

CREATE TRIGGER allocation_holds_others AFTER UPDATE OF is_holding, gpu_uuids, shares, slices ON allocations
WHEN new.is_holding
BEGIN
    DELETE FROM held_gpus WHERE gpu_uuid IN (SELECT value FROM json_each(old.gpu_uuids)) AND allocation_id = new.id;
    DELETE FROM held_gpus WHERE gpu_uuid IN (SELECT value FROM json_each(old.slices)) AND allocation_id = new.id;
    INSERT INTO held_gpus (gpu_uuid, place, allocation_id, shares)
    SELECT value, CASE new.shares WHEN 1 THEN 0 ELSE
        (SELECT coalesce(max(place), 0) + 1 FROM held_gpus WHERE gpu_uuid = value) END, new.id, new.shares
    FROM json_each(new.gpu_uuids);
    INSERT INTO held_gpus (gpu_uuid, place, allocation_id, shares) SELECT value, 0, new.id, 1 FROM json_each(new.slices);
END;

-- Requests that wait for their GPUs, and for a day what became of those that ended.
CREATE TABLE queue (
    id TEXT PRIMARY KEY NOT NULL,
    uid INTEGER NOT NULL,
    user_group TEXT NOT NULL,
    container_name TEXT NOT NULL,
    request_count INTEGER NOT NULL CHECK (request_count >= 0),
    request_kind TEXT NOT NULL,
    request_memory_bytes INTEGER CHECK (request_memory_bytes > 0),
    priority INTEGER NOT NULL,
    time_limit_us INTEGER CHECK (time_limit_us > 0),
    queued_at_us INTEGER NOT NULL,
    gives_up_at_us INTEGER,
    not_before_us INTEGER,
    gpu_uuids TEXT NOT NULL CHECK (json_type(gpu_uuids) = 'array'),
    reservation TEXT,
    is_exclusive INTEGER NOT NULL,
    promised_at_us INTEGER,
    moved_to INTEGER,
    purpose TEXT NOT NULL CHECK (purpose IN ('create', 'start')),
    order_text TEXT NOT NULL,
    image TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'granted', 'done', 'failed', 'cancelled', 'expired')),
    changed_at_us INTEGER NOT NULL,
    allocation_id TEXT REFERENCES allocations (id),
    reason TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    -- a grant and its request come and go together
    CHECK (state <> 'waiting' OR allocation_id IS NULL),
    CHECK (state <> 'granted' OR allocation_id IS NOT NULL)
) WITHOUT ROWID;

-- One open request for a container, and what is read at every pass does not grow with what has ended.
CREATE UNIQUE INDEX open_requests ON queue (uid, container_name) WHERE state IN ('waiting', 'granted');
CREATE UNIQUE INDEX granted_requests ON queue (allocation_id) WHERE state = 'granted';
CREATE INDEX ended_requests ON queue (changed_at_us) WHERE state NOT IN ('waiting', 'granted');

CREATE TABLE reservations (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    uid INTEGER,
    user_group TEXT,
    request_count INTEGER NOT NULL CHECK (request_count >= 1),
    request_kind TEXT NOT NULL,
    request_memory_bytes INTEGER CHECK (request_memory_bytes > 0),
    start_at_us INTEGER NOT NULL,
    end_at_us INTEGER NOT NULL CHECK (end_at_us > start_at_us),
    reason TEXT NOT NULL,
    created_by_uid INTEGER,
    created_at_us INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('planned', 'active', 'ended', 'cancelled', 'no_show')),
    changed_at_us INTEGER,
    CHECK ((uid IS NULL) <> (user_group IS NULL))
) WITHOUT ROWID;

CREATE UNIQUE INDEX reservation_names ON reservations (name) WHERE state IN ('planned', 'active');

-- Gpu-equivalent-seconds of every user in every group, halved with every half-life up to `at_us`. Written in the
-- transaction that releases a grant, so each grant is counted once.
CREATE TABLE used (
    uid INTEGER NOT NULL,
    user_group TEXT NOT NULL,
    used_s REAL NOT NULL,
    at_us INTEGER NOT NULL,
    PRIMARY KEY (uid, user_group)
) WITHOUT ROWID;
