"""The C and C++ face of the runtime: how its library is built, and what runs inside it."""
