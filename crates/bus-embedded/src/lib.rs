//! The bus on a local SQLite store: one process, no service to install.
