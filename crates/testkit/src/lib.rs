//! Tools for tests: a fake bus, scripted conversations in virtual time.
