//! `[limits]`: how many texts are taken.

use interchange_broker::{Limits, Rate};
use toml::Spanned;

use super::Check;
use super::schema::LimitsEntry;

impl Check<'_> {
    pub(super) fn limits(&mut self, entry: &LimitsEntry) -> Limits {
        let mut rate = |name: &str, per_second: &Spanned<u32>, burst: &Spanned<u32>| {
            let rate = Rate { per_second: *per_second.get_ref(), burst: *burst.get_ref() };
            if rate.per_second > Rate::MOST {
                let help = "0 is without limit";
                self.fault(per_second.span(), format!("`{name}_rate` is at most {} a second", Rate::MOST), help);
            }
            if rate.burst > Rate::MOST || (rate.per_second > 0 && rate.burst == 0) {
                let help = format!("without limit: {name}_rate = 0");
                self.fault(burst.span(), format!("`{name}_burst` is from 1 to {}", Rate::MOST), help);
            }
            rate
        };
        let link = rate("link", &entry.link_rate, &entry.link_burst);
        let sender = rate("sender", &entry.sender_rate, &entry.sender_burst);
        let repeats = *entry.repeats.get_ref();
        if repeats > Limits::MOST_REPEATS {
            let message = format!("`repeats` is at most {}", Limits::MOST_REPEATS);
            self.fault(entry.repeats.span(), message, "0 is without limit; the default is 5");
        }
        Limits { link, sender, repeats }
    }
}
