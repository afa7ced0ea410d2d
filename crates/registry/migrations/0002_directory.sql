-- Members, domains, links, partnerships and users: one row each, its value as JSON. All of them together are read, checked and changed as one
-- whole, so the database needs to know no more of them than their names.
CREATE TABLE entry (
    kind  TEXT NOT NULL,            -- member, domain, link, partnership, user
    id    TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (kind, id)
);

-- Rises by one with every change. What a node has read is compared with it.
CREATE TABLE version (
    one     BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    version BIGINT NOT NULL
);
INSERT INTO version (one, version) VALUES (1, 0);

-- Who changed what: a row for each entry that a change made, altered or removed.
CREATE TABLE audit (
    version BIGINT NOT NULL,        -- the version that the change made
    kind    TEXT NOT NULL,
    id      TEXT NOT NULL,
    at      BIGINT NOT NULL,        -- milliseconds since 1970
    actor   TEXT NOT NULL,
    change  TEXT NOT NULL,          -- its name: add-member
    before  TEXT,
    after   TEXT,
    PRIMARY KEY (version, kind, id)
);
