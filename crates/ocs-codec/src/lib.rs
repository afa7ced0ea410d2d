//! What Microsoft's LCS, OCS, Lync and Skype for Business say in SIP in a way of their own, bytes to typed values and back: the font of a message
//! ([`font`]), the first text of a session in its INVITE ([`first_text`]), whether somebody writes ([`keyboard`]), the description of a session
//! ([`session`]) and its timer ([`timer`]), what became of a message ([`imdn`]), rich text ([`rtf`]), and the three forms of presence documents
//! ([`presence`]).
//!
//! Tolerant of what real clients write, strict in what it writes itself, and bounded. No state, no IO, and no decision about what anything
//! means for anybody. The forms are those of Microsoft's Open Specifications (MS-SIP, MS-PRES, MS-CONFIM) and of recorded conversations.
#![forbid(unsafe_code)]

pub mod first_text;
pub mod font;
pub mod imdn;
pub mod keyboard;
pub mod presence;
pub mod rtf;
pub mod session;
pub mod timer;
