//! Formatted text: XHTML-IM (XEP-0071) in and out, and what Message Styling (XEP-0393) must not take for marks.

use bytes::BytesMut;
use interchange_model::Text;
use interchange_rich_text::{Reading, from_xhtml, has_marks, to_xhtml};

use super::Outgoing;
use crate::codec::{Element, Namespace};

/// The namespace of XHTML-IM.
const XHTML_IM: &str = "http://jabber.org/protocol/xhtml-im";

/// What a message says in XHTML-IM. Of several languages, the one of the `body` that was chosen; none, where it may be in another.
pub(super) fn reading_of(message: Element<'_>, body: Option<Element<'_>>) -> Option<Reading> {
    let html = message.child(Namespace::XhtmlIm, "html")?;
    let around = html.language();
    let mut all = html.children().filter(|child| child.is(Namespace::Xhtml, "body"));
    let is_alone = message.children().filter(|child| child.is(Namespace::Server, "body")).count() <= 1;
    let first = all.next()?;
    let wanted = body.and_then(Element::language);
    let chosen =
        std::iter::once(first).chain(all).find(|body| body.language().or(around) == wanted).or(is_alone.then_some(first))?;
    let mut xhtml = BytesMut::new();
    chosen.write(&mut xhtml, XHTML_IM);
    Some(from_xhtml(std::str::from_utf8(&xhtml).ok()?))
}

/// Appends what another platform's text has beside its words. `words`: those of the `body`.
pub(super) fn push(out: &mut BytesMut, text: &Text, words: &str, how: Outgoing<'_>) {
    let Some(rich) = &text.rich else { return };
    // Words that say more than the formatted text does would be lost with clients that show only that.
    if how.xhtml_im && words == text.plain.as_str() {
        // Constants of ours and escaped text: well-formed, whatever the sender wrote.
        out.extend_from_slice(to_xhtml(rich).as_bytes());
    }
    // XEP-0393: where formatting was told in another way, these characters are only themselves.
    if has_marks(words) {
        out.extend_from_slice(b"<unstyled xmlns='urn:xmpp:styling:0'/>");
    }
}
