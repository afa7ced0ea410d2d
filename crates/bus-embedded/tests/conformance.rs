//! The embedded bus keeps the contract.

use interchange_bus::conformance::{self, Storage};
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

macro_rules! conforms {
    ($($name:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                conformance::$name(&Directory::new()).await;
            }
        )*
    };
}

conforms! {
    envelopes_come_in_the_order_in_which_they_were_published
    what_is_settled_is_gone
    dropping_a_queue_puts_back_what_is_not_settled
    settling_out_of_order_leaves_the_rest_in_order
    a_kill_loses_nothing_that_was_published
    what_was_flushed_stays_settled_after_a_kill
    a_full_bus_refuses_and_recovers
    a_queue_has_one_reader
    a_hundred_reopenings_change_nothing
    queues_are_apart
    a_waiting_reader_is_woken
    large_batches_come_whole
    concurrent_publishers_keep_each_publishers_order
    the_dead_are_kept_and_never_handed_out
    waiting_tells_where_things_are
    leases_are_told_apart
    a_dropped_next_has_leased_nothing
    a_slow_reader_misses_nothing
}
