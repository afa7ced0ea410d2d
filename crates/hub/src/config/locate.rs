//! The place of a key inside free-form settings, which their platform reads without knowing about files.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A parsed file whose keys know where they stand.
pub(super) struct Document<'a>(Spanned<DeTable<'a>>);

impl<'a> Document<'a> {
    /// `None` when the text is not TOML.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        DeTable::parse(text).ok().map(Self)
    }

    /// The place that an error speaks of: the key at `prefix` and then the dotted `path`. Where the message names an
    /// unknown field, that field inside it. `None` when nothing of it stands in the file.
    pub(super) fn find(&self, prefix: &[&str], path: &str, message: &str) -> Option<Range<usize>> {
        let steps = prefix.iter().copied().chain(path.split(['.', '[', ']']).filter(|step| !step.is_empty()));
        let mut place = None;
        let mut at: Option<&DeValue<'a>> = None;
        for (depth, step) in steps.enumerate() {
            let found = if depth == 0 { entry(self.0.get_ref(), step) } else { at.and_then(|value| child(value, step)) };
            // A path may name a key that is missing: the deepest one that is there is the best place.
            let Some((span, value)) = found else { break };
            place = Some(span);
            at = Some(value);
        }
        let field = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
        let inner = field.and_then(|field| child(at?, field)).map(|(span, _)| span);
        inner.or(place)
    }
}

fn entry<'t, 'a>(table: &'t DeTable<'a>, key: &str) -> Option<(Range<usize>, &'t DeValue<'a>)> {
    table.iter().find(|(name, _)| name.get_ref() == key).map(|(name, value)| (name.span(), value.get_ref()))
}

fn child<'t, 'a>(value: &'t DeValue<'a>, step: &str) -> Option<(Range<usize>, &'t DeValue<'a>)> {
    match value {
        DeValue::Table(table) => entry(table, step),
        DeValue::Array(values) => values.get(step.parse::<usize>().ok()?).map(|value| (value.span(), value.get_ref())),
        _ => None,
    }
}
