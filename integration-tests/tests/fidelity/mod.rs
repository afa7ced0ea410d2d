//! What people get between the platforms, shown by real servers and real clients: `docs/fidelity.md` is what this test has seen, and the test
//! fails when it sees anything else. With `UPDATE_FIDELITY=1` in its environment it writes the page anew.
//!
//! Every row says the same of every pair of platforms: each person who has something of the kind sends it to each of the others, and the cell is what
//! the other's client shows. No cell is written here by hand.

mod beside;
mod failures;
mod formatted;
mod kinds;
mod page;
mod person;
mod presence;
mod receipts;
mod sessions;
mod texts;
mod world;

use std::path::Path;

use page::Page;
use world::World;

const WRITE_ANEW: &str =
    "cargo build --workspace --bins && UPDATE_FIDELITY=1 cargo test --workspace --test end_to_end fidelity::";

#[test]
fn the_page_is_what_people_get() {
    let mut world = World::start();
    let mut page = Page::default();
    page.add("Words", texts::rows(&mut world));
    page.add("Words", failures::rows(&mut world));
    page.add("How words look, and what stands beside them", formatted::rows(&mut world));
    page.add("How words look, and what stands beside them", beside::rows(&mut world));
    page.add("Typing and receipts", receipts::rows(&mut world));
    page.add("Sessions of SIP clients (MSRP)", sessions::rows(&mut world));
    page.add("Presence", presence::rows(&mut world));
    world.contoso.assert_no_faults();
    world.nothing_of_it_is_logged();
    let seen = page.write();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/fidelity.md");
    if std::env::var("UPDATE_FIDELITY").is_ok() {
        std::fs::write(&path, &seen).expect("docs/fidelity.md can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let differences = page::differences(&committed, &seen);
    assert!(
        differences.is_empty(),
        "docs/fidelity.md (-) is not what was seen (+):\n\n{}\n\nIf what was seen is right, `{WRITE_ANEW}` writes the page anew.",
        differences.join("\n")
    );
}
