-- Version 3: cards whose MIG instances are made by grants. Every place on such a card, with the bits that it occupies:
-- memory slices, and what only one instance can have. Two places exclude each other when their bits meet.
CREATE TABLE mig_places (
    slice TEXT PRIMARY KEY NOT NULL,
    card_uuid TEXT NOT NULL,
    bits INTEGER NOT NULL CHECK (bits > 0)
) WITHOUT ROWID;

CREATE INDEX mig_places_of_a_card ON mig_places (card_uuid);

-- The last line of defence, as for whole devices: the database itself refuses places that meet, a place that such a card
-- does not have, and the whole card together with a place on it.
CREATE TRIGGER place_is_taken BEFORE INSERT ON held_gpus
WHEN EXISTS (
    SELECT 1 FROM mig_places AS ours
    JOIN mig_places AS theirs ON theirs.card_uuid = ours.card_uuid AND theirs.bits & ours.bits <> 0
    JOIN held_gpus AS held ON held.gpu_uuid = theirs.slice
    WHERE ours.slice = new.gpu_uuid
) OR EXISTS (
    SELECT 1 FROM mig_places AS ours JOIN held_gpus AS held ON held.gpu_uuid = ours.card_uuid
    WHERE ours.slice = new.gpu_uuid
) OR EXISTS (
    SELECT 1 FROM mig_places AS theirs JOIN held_gpus AS held ON held.gpu_uuid = theirs.slice
    WHERE theirs.card_uuid = new.gpu_uuid
) OR (
    instr(new.gpu_uuid, '/') > 0
    AND EXISTS (SELECT 1 FROM mig_places WHERE card_uuid = substr(new.gpu_uuid, 1, instr(new.gpu_uuid, '/') - 1))
    AND NOT EXISTS (SELECT 1 FROM mig_places WHERE slice = new.gpu_uuid)
)
BEGIN
    SELECT RAISE(ABORT, 'the place on the card is held, or does not exist');
END;
