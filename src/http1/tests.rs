//! Unit tests of the whole core.
