//! Each product's guide, whole. `INSTA_UPDATE=always cargo test -p interchange-guide` writes them anew; read the difference.

mod common;

use interchange_guide::{Guide, Product, guide};

#[test]
fn guides_at_a_hub_with_its_own_authority() {
    for product in Product::ALL {
        insta::assert_snapshot!(format!("own-{product}"), guide(product, &common::own()).to_markdown());
    }
}

#[test]
fn guides_at_a_hub_with_public_certificates_and_other_ports() {
    for product in Product::ALL {
        insta::assert_snapshot!(format!("public-{product}"), guide(product, &common::public()).to_markdown());
    }
}

#[test]
fn a_guide_in_the_terminal() {
    insta::assert_snapshot!("terminal", guide(Product::Prosody, &common::own()).to_string());
}

#[test]
fn a_guide_survives_json() {
    for product in Product::ALL {
        for facts in [common::own(), common::public(), common::least()] {
            let before = guide(product, &facts);
            let text = serde_json::to_string(&before).unwrap();
            assert_eq!(serde_json::from_str::<Guide>(&text).unwrap(), before);
        }
    }
}

#[test]
fn facts_survive_json() {
    for facts in [common::own(), common::public(), common::least()] {
        let text = serde_json::to_string(&facts).unwrap();
        assert_eq!(serde_json::from_str::<interchange_guide::Facts>(&text).unwrap(), facts);
    }
}

#[test]
fn a_hub_without_the_listener_says_so_first() {
    for product in Product::ALL.into_iter().filter(|product| product.platform().is_some()) {
        let guide = guide(product, &common::least());
        assert_eq!(guide.steps[0].title, "Ask for a listener", "{product}");
    }
}

#[test]
fn only_what_the_tests_run_says_that_it_was_tried() {
    let tried: Vec<_> = Product::ALL.into_iter().filter(|product| guide(*product, &common::own()).tried).collect();
    assert_eq!(tried, [Product::Prosody, Product::Ejabberd, Product::Kamailio]);
    for product in Product::ALL {
        assert!(!guide(product, &common::own()).note.is_empty());
    }
}
