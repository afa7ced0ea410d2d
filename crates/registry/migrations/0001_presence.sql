-- Who may see whose presence. The keys are addresses in their comparison form; beside them as they were written.
CREATE TABLE watch (
    watcher_key    TEXT NOT NULL,
    presentity_key TEXT NOT NULL,
    watcher        TEXT NOT NULL,
    presentity     TEXT NOT NULL,
    state          TEXT NOT NULL,   -- asked, granted, refused
    since          BIGINT NOT NULL, -- milliseconds since 1970: when it became so, or was last asked
    PRIMARY KEY (watcher_key, presentity_key)
);

-- What adapters need to go on with what they had begun.
CREATE TABLE remembered (
    link  TEXT NOT NULL,
    name  TEXT NOT NULL,
    value TEXT NOT NULL,            -- base64
    PRIMARY KEY (link, name)
);
