//! The executable specification of NetworkPolicy: pure, no I/O, no async
