//! Members, domains, links and partnerships: an immutable snapshot, and the routing decision.
