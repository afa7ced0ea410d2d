//! The arrows test: who may import whom is stated once, in docs/architecture.md, and `cargo metadata` must agree.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Folder of each crate that the table names, with the folders it may import.
fn table(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let section =
        text.split("## Crates and arrows").nth(1).expect("the section is there").split("\n## ").next().unwrap_or_default();
    let mut allowed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let folders: Vec<String> = quoted(cells[1]).map(ToOwned::to_owned).collect();
        let imports = match cells[2] {
            "nothing" => BTreeSet::new(),
            "all of the above" => allowed.keys().filter(|folder| !folder.ends_with("testkit")).cloned().collect(),
            listed => quoted(listed).map(|name| format!("crates/{name}")).collect(),
        };
        for folder in folders {
            assert!(allowed.insert(folder.clone(), imports.clone()).is_none(), "{folder} has two rows");
        }
    }
    allowed
}

fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn the_arrows_are_those_of_the_architecture() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let allowed = table(&std::fs::read_to_string(root.join("docs/architecture.md")).expect("docs/architecture.md"));
    let metadata =
        MetadataCommand::new().manifest_path(root.join("Cargo.toml")).no_deps().other_options(vec!["--offline".into()]).exec();
    let metadata = metadata.expect("cargo metadata");
    let folder = |path: &Path| path.strip_prefix(root).ok().map(|folder| folder.display().to_string());
    let mut faults = Vec::new();
    for package in &metadata.packages {
        let own = folder(package.manifest_path.parent().expect("a folder").as_std_path()).expect("inside the workspace");
        if own == "integration-tests" {
            continue;
        }
        let Some(allowed) = allowed.get(&own) else {
            faults.push(format!("{own} has no row in docs/architecture.md"));
            continue;
        };
        for dependency in &package.dependencies {
            let Some(target) = dependency.path.as_ref().and_then(|path| folder(path.as_std_path())) else { continue };
            // Tests may use the test kit; everything else obeys the table.
            let of_tests = dependency.kind == DependencyKind::Development && target == "crates/testkit";
            if !of_tests && !allowed.contains(&target) {
                faults.push(format!("{own} imports {target}"));
            }
        }
        let forbidden = ["tokio", "rustls", "tokio-rustls"];
        for dependency in package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal) {
            if own.starts_with("adapters/") && forbidden.contains(&dependency.name.as_str()) {
                faults.push(format!("{own} is a machine without IO, and imports {}", dependency.name));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(allowed.len() >= 14, "the table was read: {allowed:?}");
}

#[test]
fn only_the_list_of_platforms_names_a_platform() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut faults = Vec::new();
    for crate_name in ["model", "adapter", "driver", "registry", "accounts", "bus", "bus-embedded", "bus-rabbit", "broker"] {
        let mut folders = vec![root.join("crates").join(crate_name).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a source folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).expect("a source file");
                let code = text.split("#[cfg(test)]").next().unwrap_or_default();
                faults.extend(
                    code.lines()
                        .filter(|line| {
                            line.contains("interchange_xmpp")
                                || line.contains("interchange_sip")
                                || line.contains("interchange_ocs")
                                || line.contains("PlatformName::from_static(\"")
                        })
                        .map(|line| format!("{}: {line}", path.display())),
                );
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
