//! Threads that neither poll nor run Python put the policy to the test.
