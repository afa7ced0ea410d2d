//! SIP transactions without IO, on sip-codec.
