-- Names of queues, and the numbers under which their envelopes are stored.
CREATE TABLE queue (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

-- One row for each envelope that is not settled. Sequence numbers rise within a queue; gaps mean nothing.
-- One tree, ordered by queue: a queue is read, and its head removed, in one place.
CREATE TABLE envelope (
    queue    INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    accepted INTEGER NOT NULL, -- milliseconds since 1970, by the hub's clock
    envelope TEXT NOT NULL,    -- JSON of interchange_model::Envelope
    PRIMARY KEY (queue, sequence)
) WITHOUT ROWID;

-- Envelopes that nobody could deal with, and records that could not be understood.
CREATE TABLE quarantine (
    id          INTEGER PRIMARY KEY,
    queue       INTEGER NOT NULL,
    sequence    INTEGER NOT NULL,
    accepted    INTEGER NOT NULL,
    envelope    TEXT NOT NULL,
    reason      TEXT NOT NULL,
    quarantined INTEGER NOT NULL -- milliseconds since 1970
);
CREATE INDEX quarantine_of_queue ON quarantine (queue);
