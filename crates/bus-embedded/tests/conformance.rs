//! The embedded bus keeps the contract.

use interchange_bus::conformance::Storage;
use interchange_bus::conformance_suite;
use interchange_bus_embedded::{EmbeddedBus, Options};
use tempfile::TempDir;

struct Directory(TempDir);

impl Directory {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }
}

impl Storage for Directory {
    type Bus = EmbeddedBus;

    async fn open(&self) -> EmbeddedBus {
        EmbeddedBus::open(self.0.path(), Options::default()).await.unwrap()
    }

    async fn open_small(&self) -> EmbeddedBus {
        EmbeddedBus::open(self.0.path(), Options { capacity: 500_000 }).await.unwrap()
    }
}

conformance_suite!(tests: Directory::new());
