//! SIP messages, URIs and stream framing: bytes to typed values and back, no IO, no state.
